"""Turn profiles that others measured into ours, marked as imported."""
