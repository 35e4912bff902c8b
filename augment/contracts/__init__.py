"""The interfaces between folders, the values that pass them, and the registry of plug-ins."""
