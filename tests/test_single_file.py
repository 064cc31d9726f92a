"""A transformer from one file, in place of a pipeline's own: of every family, in two formats."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from counterflow.backbones.base import Backbone
from counterflow.backbones.opening import load_backbone
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from tiny import TINY
from tools import SOURCE, distance, noise

UNREAD = ("prx", "longcat-image", "ovis-image", "hunyuan-image", "bria-fibo")
"""Families whose transformers diffusers reads from no single file."""


def opened(its: Editor, tmp_path: Path, state: dict[str, Tensor]) -> Backbone:
    """The family's pipeline, its own transformer spoilt, with the one of a file."""
    backbone: Any = its.backbone
    folder = tmp_path / "model"
    backbone.pipeline.save_pretrained(folder)
    for path in (folder / "transformer").glob("*.safetensors"):
        path.write_bytes(b"")  # nothing is read of it
    file = tmp_path / "weights.safetensors"
    save_file({name: value.clone().contiguous() for name, value in state.items()}, file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_backbone(str(folder), "cpu", weights=str(file))


def same(its: Editor, other: Backbone) -> bool:
    """Whether velocities are equal to rounding."""
    x = noise(its, 1)
    ours, theirs = (each.velocity(x, 0.5, each.embed(SOURCE)) for each in (its.backbone, other))
    return distance(ours, theirs) <= 1e-6


def test_a_file_in_diffusers_format(its: Editor, named: str, tmp_path: Path) -> None:
    """Its velocities, whatever the folder's own weights; or a refusal that names the class."""
    backbone: Any = its.backbone
    state = backbone.transformer.state_dict()
    if TINY[named].family in UNREAD:
        kind = type(backbone.transformer).__name__
        with pytest.raises(InputError, match=f"diffusers reads no single file of a {kind}"):
            opened(its, tmp_path, state)
        return
    assert same(its, opened(its, tmp_path, state))


# The formats that models are first released in, made by undoing what diffusers does to them


def fused(state: dict[str, Tensor], names: tuple[str, str, str], name: str) -> dict[str, Tensor]:
    """With q, k and v in one matrix."""
    kept = {key: value for key, value in state.items() if not key.endswith(names)}
    for key in state:
        if key.endswith(names[0]):
            stem = key.removesuffix(names[0])
            kept[stem + name] = torch.cat([state[stem + each] for each in names])
    return kept


def renamed(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """With parts of names exchanged, in order."""
    found = {}
    for key, value in state.items():
        for old, new in names.items():
            key = re.sub(old, new, key)
        found[key] = value
    return found


FLUX2 = {
    r"^x_embedder": "img_in",
    r"^context_embedder": "txt_in",
    r"^time_guidance_embed\.timestep_embedder\.linear_1": "time_in.in_layer",
    r"^time_guidance_embed\.timestep_embedder\.linear_2": "time_in.out_layer",
    r"^time_guidance_embed\.guidance_embedder\.linear_1": "guidance_in.in_layer",
    r"^time_guidance_embed\.guidance_embedder\.linear_2": "guidance_in.out_layer",
    r"(stream_modulation.*)\.linear\.": r"\1.lin.",
    r"^proj_out": "final_layer.linear",
    r"^single_transformer_blocks": "single_blocks",
    r"^transformer_blocks": "double_blocks",
    r"attn\.to_qkv_mlp_proj": "linear1",
    r"(single.*)attn\.to_out": r"\1linear2",
    r"(single.*)attn\.norm_q\.weight": r"\1norm.query_norm.scale",
    r"(single.*)attn\.norm_k\.weight": r"\1norm.key_norm.scale",
    r"attn\.norm_q\.weight": "img_attn.norm.query_norm.scale",
    r"attn\.norm_k\.weight": "img_attn.norm.key_norm.scale",
    r"attn\.norm_added_q\.weight": "txt_attn.norm.query_norm.scale",
    r"attn\.norm_added_k\.weight": "txt_attn.norm.key_norm.scale",
    r"attn\.to_out\.0": "img_attn.proj",
    r"attn\.to_add_out": "txt_attn.proj",
    r"ff_context\.linear_in": "txt_mlp.0",
    r"ff_context\.linear_out": "txt_mlp.2",
    r"ff\.linear_in": "img_mlp.0",
    r"ff\.linear_out": "img_mlp.2",
}


def flux2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As Black Forest Labs release FLUX.2; shift and scale of the last norm are the other way."""
    state = fused(
        state, ("attn.to_q.weight", "attn.to_k.weight", "attn.to_v.weight"), "img_attn.qkv.weight"
    )
    names = ("attn.add_q_proj.weight", "attn.add_k_proj.weight", "attn.add_v_proj.weight")
    state = renamed(fused(state, names, "txt_attn.qkv.weight"), FLUX2)
    scale, shift = state.pop("norm_out.linear.weight").chunk(2)
    return state | {"final_layer.adaLN_modulation.1.weight": torch.cat([shift, scale])}


Z_IMAGE = {
    r"all_final_layer\.2-1\.": "final_layer.",
    r"all_x_embedder\.2-1\.": "x_embedder.",
    r"\.attention\.to_out\.0\.": ".attention.out.",
    r"\.attention\.norm_([qk])\.": r".attention.\1_norm.",
    r"^": "model.diffusion_model.",
}


def z_image(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As ComfyUI keeps Z-Image."""
    names = ("attention.to_q.weight", "attention.to_k.weight", "attention.to_v.weight")
    return renamed(fused(state, names, "attention.qkv.weight"), Z_IMAGE)


ORIGINAL = {"flux2": flux2, "flux2-klein": flux2, "z-image": z_image}
"""FLUX.1's is not here: its width is written into diffusers' conversion, so none can be tiny."""


def test_a_file_in_its_makers_format(its: Editor, named: str, tmp_path: Path) -> None:
    backbone: Any = its.backbone
    if TINY[named].family not in ORIGINAL:
        pytest.skip("in diffusers' format only")
    state = backbone.transformer.state_dict()
    original = ORIGINAL[TINY[named].family](state)
    assert not set(original) & {key for key in state if "block" in key}
    assert same(its, opened(its, tmp_path, original))
