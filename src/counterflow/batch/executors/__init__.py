"""Ways to work through many tasks: in this process, on several, on a Ray cluster."""
