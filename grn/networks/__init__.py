"""The networks and their configs: nothing here knows of files, names or the formats of pictures."""
