"""One file per tool: `read(options) -> Collection`. Its name is what `--from` takes; files named _x belong to others."""
