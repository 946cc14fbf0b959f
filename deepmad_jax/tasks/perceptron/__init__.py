"""Perceptrons on flattened images, classified as any network's."""
