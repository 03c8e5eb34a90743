"""The table of raw measured points: its columns, appending to it and reading it."""
