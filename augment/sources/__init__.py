"""Raw logs in, clean splits out."""
