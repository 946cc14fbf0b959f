"""Object detection: boxes and masks around the things in an image."""
