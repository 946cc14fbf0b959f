"""Image classification: one label an image, top-1 and top-5 accuracy."""
