"""A small synthetic data set: scenes, pictures and captions, and edits whose result is known."""
