"""What every candidate must pass."""
