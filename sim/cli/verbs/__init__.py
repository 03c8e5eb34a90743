"""One file per verb, or group of verbs: a function under `app.command()`. A new file here is a new verb."""
