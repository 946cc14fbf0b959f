"""Action recognition: a class for a video, from some of its frames."""
