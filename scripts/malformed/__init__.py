"""Malformed inputs, thousands of them, for `scripts/faults.py`."""
