"""Model folders: what is in one, read and written."""
