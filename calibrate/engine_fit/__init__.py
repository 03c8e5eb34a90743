"""Host overheads of a serving engine, fitted to logs of real servers."""
