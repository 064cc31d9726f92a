"""A world small enough to ship: scenes, their pictures and captions, and true edits of them."""
