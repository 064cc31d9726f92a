"""Controls: what the target branch takes from the source while an edit runs."""
