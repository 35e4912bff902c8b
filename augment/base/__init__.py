"""Errors, files and progress: what every folder may use."""
