"""Measurements over many edits, and the demo."""
