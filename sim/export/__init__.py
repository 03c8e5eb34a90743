"""Results for other people and other programs: a page for the browser, timelines, benchmark files, metrics."""
