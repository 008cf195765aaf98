"""Measuring: the machine's read bandwidth, calls timed against each other, and a user's own model."""
