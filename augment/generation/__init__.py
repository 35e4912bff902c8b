"""Where the samples of one task are made."""
