"""One folder a task; each joins data, a network and the training engine."""
