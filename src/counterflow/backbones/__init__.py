"""Adapters: what the library must know of a model family, one file each."""
