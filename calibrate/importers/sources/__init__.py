"""One file per tool: `read(options) -> Collection`. Its name is what `--from` takes; _x.py belongs to another."""
