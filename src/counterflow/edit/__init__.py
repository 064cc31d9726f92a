"""The editor: pictures and prompts in, edited pictures out."""
