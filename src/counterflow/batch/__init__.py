"""Many edits: manifests, executors, and a folder in which every result is published once."""
