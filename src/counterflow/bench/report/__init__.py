"""Results as pages and sheets of pictures."""
