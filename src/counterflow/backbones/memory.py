"""How much a pipeline takes, and what saves it, by diffusers' own means: offloading, 8 bits, tiles.

The backbone's own features of the source go where `Features` keeps them; nothing here knows them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from counterflow.backbones.loading import Loading
from counterflow.errors import InputError, ModelError


def place(pipeline: Any, how: Loading, device: torch.device, dtype: torch.dtype) -> Any:
    """Move a pipeline to its device, or have diffusers move its parts as they run.

    Raises ModelError where it does not fit, and InputError for offloading without a GPU to
    offload from (`group` works on a CPU, too: it is how it is tested).
    """
    if how.cast:
        pipeline.transformer.enable_layerwise_casting(torch.float8_e4m3fn, dtype)
    if how.tiles:
        for name in ("enable_tiling", "enable_slicing"):
            if not hasattr(pipeline.vae, name):
                raise InputError(f"{type(pipeline.vae).__name__} cannot work in tiles")
            getattr(pipeline.vae, name)()
    if how.offload in ("model", "sequential") and device.type == "cpu":
        raise InputError(f"--offload {how.offload} needs a GPU: the model runs on the CPU")
    try:
        return _placed(pipeline, how.offload, device)
    except torch.OutOfMemoryError:
        raise ModelError(
            f"{how.model} does not fit the memory of {device} as {str(dtype).partition('.')[2]}: "
            "try --offload model, or group, --cast, --quantize, or a file of fewer bits (--weights)"
        ) from None


def weight_bytes(pipeline: Any) -> int:
    """Of all networks of a pipeline, each tensor once."""
    modules = [each for each in pipeline.components.values() if isinstance(each, nn.Module)]
    tensors = {id(each): each for m in modules for each in (*m.parameters(), *m.buffers())}
    return sum(map(_bytes, tensors.values()))


def _bytes(tensor: Any) -> int:
    """Of a tensor as it is stored: torchao's say the number format that they stand for."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return int(tensor.numel() * tensor.element_size())


def _placed(pipeline: Any, offload: str | None, device: torch.device) -> Any:
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    elif offload == "group":
        pipeline.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=device.type == "cuda",
        )
    else:
        return pipeline.to(device)
    return pipeline
