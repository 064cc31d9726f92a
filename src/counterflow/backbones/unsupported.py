"""Pipelines beside those of our families that have no adapter: why, and what to open instead."""

from __future__ import annotations

import re

from counterflow.backbones.families import FAMILIES

TRIGFLOW = (
    "its path from picture to noise is a circle (TrigFlow, sampled by the SCM scheduler) and no "
    "rectified flow, so no inversion or edit here would hold"
)

OTHERS: dict[str, tuple[str, str]] = {
    "SanaSprintPipeline": ("sana", TRIGFLOW),
    "SanaSprintImg2ImgPipeline": ("sana", TRIGFLOW),
    "FluxPriorReduxPipeline": ("flux", "it only embeds a picture for another pipeline"),
    "Flux2KleinKVPipeline": ("flux2-klein", "its model keeps what it computed of pictures shown"),
    "QwenImageLayeredPipeline": ("qwen-image", "it takes a picture apart into layers"),
    "ZImageOmniPipeline": ("z-image", "its model is shown pictures through an encoder of them"),
    "HunyuanImageRefinerPipeline": ("hunyuan-image", "it only refines pictures of another model"),
    "LuminaPipeline": ("lumina2", "Lumina-Next is another architecture"),
    "BriaPipeline": ("bria-fibo", "Bria 3 is another architecture"),
    "BriaFibo2Pipeline": ("bria-fibo", "FIBO 2 is another architecture"),
    "PRXPixelPipeline": ("prx", "it draws pixels, without an autoencoder"),
}
"""Its family, and why it is not opened, by pipeline class."""

SHOWN = "its model was trained to be shown a picture, which nothing here does"
SAME = "it samples the same weights in another way"
KINDS = {
    "ControlNet": "it draws under a ControlNet, which nothing here uses",
    "Kontext|Edit|Fill|Control": SHOWN,
    "Img2Img|Inpaint|PAG": SAME,
}
"""Why a pipeline of a family is not opened, by a part of its class's name; the first counts."""

STEMS = {each.pipeline.removesuffix("Pipeline"): name for name, each in FAMILIES.items()}


def family_of(name: str) -> str | None:
    """The family that a pipeline class without adapter is beside, or None."""
    if name in OTHERS:
        return OTHERS[name][0]
    stems = [stem for stem in STEMS if name.startswith(stem)]
    if not stems or not any(re.search(part, name) for part in KINDS):
        return None
    return STEMS[max(stems, key=len)]


def why_not(name: str) -> str:
    """Why a pipeline class has no adapter, and what to take, in one line; empty if unknown."""
    family = family_of(name)
    if family is None:
        return ""
    base, model = FAMILIES[family].pipeline, FAMILIES[family].checkpoints[0].repository
    kinds = (said for part, said in KINDS.items() if re.search(part, name))
    reason = OTHERS[name][1] if name in OTHERS else next(kinds)
    if reason == SAME:
        return f"{reason}: write {base} as _class_name in its model_index.json, or take {model}"
    return f"{reason}; take a folder or repository of {base}, as {model}"


def beside(family: str) -> dict[str, str]:
    """Those of a family that differ by more than how they sample or what they are shown."""
    return {name: reason for name, (of, reason) in OTHERS.items() if of == family}
