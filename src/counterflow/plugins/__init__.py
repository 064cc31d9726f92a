"""Counterflow inside diffusers and ComfyUI. Nothing else in the package imports this."""
