"""A colour for every class, as the pictures of all tasks draw them."""

import colorsys


def colour_of(label: int, classes: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255; hues are spread evenly over the classes."""
    red, green, blue = colorsys.hsv_to_rgb(label / classes, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
