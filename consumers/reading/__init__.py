"""Published samples for training jobs."""
