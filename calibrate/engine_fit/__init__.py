"""Host overheads of a serving engine, fitted by simulation to the log of a real run."""
