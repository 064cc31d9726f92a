"""Counterflow's nodes for ComfyUI: this folder belongs into ComfyUI's custom_nodes."""

try:
    from counterflow.plugins.comfyui.nodes import comfy_entrypoint
except ModuleNotFoundError as error:
    if error.name != "counterflow":
        raise
    raise ImportError(
        "these nodes need the package counterflow: install it with the Python that runs ComfyUI"
    ) from error

__all__ = ["comfy_entrypoint"]
