"""Counterflow's nodes for ComfyUI (docs/comfyui.md); what ComfyUI loads is `plugins/comfyui/`."""
