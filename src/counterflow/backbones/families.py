"""Facts of each family of models, as data: what opens it, its weights with their licences.

Nothing here imports torch. A family is known to the package, and enters its tests, by its entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from counterflow.backbones import sizes

GuidanceForm = Literal["classifier-free", "embedded", "rescaled"]
"""`embedded`: the model is told the scale, in one forward. `rescaled`: classifier-free, and then as
long as the conditional velocity, token by token or row by row."""

Feature = Literal["modulated text", "joint attention"]
"""What some families have and others not. `modulated text`: features of the text after the adaptive
LayerNorm, which FTEdit's text control holds. `joint attention`: the image attends to the text and
to itself in one attention, by which words are found in the picture."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights that people have, in the hub."""

    repository: str
    licence: str
    """As the repository names it."""
    size: sizes.Size
    few_steps: int | None = None
    """How many steps it was distilled for, without guidance; None for a model that was not."""


@dataclass(frozen=True)
class Family:
    """Models that one adapter serves."""

    title: str
    pipeline: str
    """The pipeline class of diffusers."""
    adapter: str
    """As `module:class`."""
    guidance: tuple[GuidanceForm, ...]
    """The forms that its models have; which one is a matter of the model's own configuration."""
    checkpoints: tuple[Checkpoint, ...]
    unused: tuple[str, ...] = ()
    """Components of the pipeline that nothing here needs; they are not loaded."""
    lacks: tuple[Feature, ...] = ()
    """What its architecture does not have; methods that need it refuse its models."""
    plainly: tuple[tuple[str, float | bool], ...] = (
        ("guidance_scale", 1.0),
        ("true_cfg_scale", 1.0),
    )
    """How its own call is asked for a picture without guidance, as far as it takes these."""
    differs: str = ""
    """Why its own call's picture of a seed is another than ours; empty where it is the same."""


STABILITY = "stabilityai-ai-community"
APACHE = "apache-2.0"
NSCL = "nscl-v2-custom"
HUNYUAN = "tencent-hunyuan-community"
FLUX_DEV = "flux-1-dev-non-commercial-license"
FLUX2_DEV = "flux-dev-non-commercial-license"
FLUX_KLEIN = "flux-non-commercial-license"
QWEN_RESEARCH = "qwen-research"
KREA = "krea-2-community-license"

SQUARES = "it draws the same noise in another order, by squares of cells"

FAMILIES: dict[str, Family] = {
    "sd3": Family(
        "Stable Diffusion 3 and 3.5",
        "StableDiffusion3Pipeline",
        "counterflow.backbones.sd3:SD3",
        ("classifier-free",),
        (
            Checkpoint("stabilityai/stable-diffusion-3-medium-diffusers", STABILITY, sizes.SD3),
            Checkpoint("stabilityai/stable-diffusion-3.5-medium", STABILITY, sizes.SD35_MEDIUM),
            Checkpoint("stabilityai/stable-diffusion-3.5-large", STABILITY, sizes.SD35_LARGE),
            Checkpoint(
                "stabilityai/stable-diffusion-3.5-large-turbo", STABILITY, sizes.SD35_LARGE, 4
            ),
        ),
    ),
    "flux": Family(
        "FLUX.1",
        "FluxPipeline",
        "counterflow.backbones.flux:Flux",
        ("embedded", "classifier-free"),
        (
            Checkpoint("black-forest-labs/FLUX.1-dev", FLUX_DEV, sizes.FLUX),
            Checkpoint("black-forest-labs/FLUX.1-Krea-dev", FLUX_DEV, sizes.FLUX),
            Checkpoint("black-forest-labs/FLUX.1-schnell", APACHE, sizes.SCHNELL, 4),
        ),
    ),
    "flux2": Family(
        "FLUX.2",
        "Flux2Pipeline",
        "counterflow.backbones.flux2:Flux2",
        ("embedded",),
        (Checkpoint("black-forest-labs/FLUX.2-dev", FLUX2_DEV, sizes.FLUX2),),
        differs=SQUARES,
    ),
    "flux2-klein": Family(
        "FLUX.2 Klein",
        "Flux2KleinPipeline",
        "counterflow.backbones.flux2:Klein",
        ("classifier-free",),
        (
            Checkpoint("black-forest-labs/FLUX.2-klein-base-4B", APACHE, sizes.KLEIN_4B),
            Checkpoint("black-forest-labs/FLUX.2-klein-base-9B", FLUX_KLEIN, sizes.KLEIN_9B),
            Checkpoint("black-forest-labs/FLUX.2-klein-4B", APACHE, sizes.KLEIN_4B, 4),
            Checkpoint("black-forest-labs/FLUX.2-klein-9B", FLUX_KLEIN, sizes.KLEIN_9B, 4),
        ),
        differs=SQUARES,
    ),
    "chroma": Family(
        "Chroma",
        "ChromaPipeline",
        "counterflow.backbones.chroma:Chroma",
        ("classifier-free",),
        (
            Checkpoint("lodestones/Chroma1-HD", APACHE, sizes.CHROMA),
            Checkpoint("lodestones/Chroma1-Base", APACHE, sizes.CHROMA),
        ),
        differs="its mask adds to the logits and hides no padding (diffusers issue 12116)",
    ),
    "z-image": Family(
        "Z-Image",
        "ZImagePipeline",
        "counterflow.backbones.z_image:ZImage",
        ("classifier-free",),
        (
            Checkpoint("Tongyi-MAI/Z-Image", APACHE, sizes.Z_IMAGE),
            Checkpoint("Tongyi-MAI/Z-Image-Turbo", APACHE, sizes.Z_IMAGE, 8),
        ),
        plainly=(("guidance_scale", 0.0),),
    ),
    "qwen-image": Family(
        "Qwen-Image",
        "QwenImagePipeline",
        "counterflow.backbones.qwen_image:QwenImage",
        ("rescaled",),
        (Checkpoint("Qwen/Qwen-Image", APACHE, sizes.QWEN),),
    ),
    "qwen-image-2.1": Family(
        "Qwen-Image 2.1",
        "QwenImage21Pipeline",
        "counterflow.backbones.qwen_image21:QwenImage21",
        ("classifier-free",),
        (Checkpoint("Qwen/Qwen-Image-2.1", QWEN_RESEARCH, sizes.QWEN21),),
    ),
    "aura-flow": Family(
        "AuraFlow",
        "AuraFlowPipeline",
        "counterflow.backbones.aura_flow:AuraFlow",
        ("classifier-free",),
        (
            Checkpoint("fal/AuraFlow-v0.3", APACHE, sizes.AURA_FLOW),
            Checkpoint("fal/AuraFlow-v0.2", APACHE, sizes.AURA_FLOW),
            Checkpoint("fal/AuraFlow", APACHE, sizes.AURA_FLOW),
        ),
    ),
    "krea-2": Family(
        "Krea 2",
        "Krea2Pipeline",
        "counterflow.backbones.krea2:Krea2",
        ("classifier-free",),
        (
            Checkpoint("krea/Krea-2-Raw", KREA, sizes.KREA2),
            Checkpoint("krea/Krea-2-Turbo", KREA, sizes.KREA2, 8),
        ),
        plainly=(("guidance_scale", 0.0),),
    ),
    "longcat-image": Family(
        "LongCat-Image",
        "LongCatImagePipeline",
        "counterflow.backbones.longcat_image:LongCatImage",
        ("rescaled",),
        (Checkpoint("meituan-longcat/LongCat-Image", APACHE, sizes.LONGCAT),),
        unused=("text_processor",),
        plainly=(("guidance_scale", 1.0), ("enable_prompt_rewrite", False)),
    ),
    "ovis-image": Family(
        "Ovis-Image",
        "OvisImagePipeline",
        "counterflow.backbones.ovis_image:OvisImage",
        ("classifier-free",),
        (Checkpoint("AIDC-AI/Ovis-Image-7B", APACHE, sizes.OVIS),),
    ),
    "hunyuan-image": Family(
        "HunyuanImage 2.1",
        "HunyuanImagePipeline",
        "counterflow.backbones.hunyuan_image:HunyuanImage",
        ("classifier-free",),
        (Checkpoint("hunyuanvideo-community/HunyuanImage-2.1-Diffusers", HUNYUAN, sizes.HUNYUAN),),
        unused=("guider", "ocr_guider"),
    ),
    "lumina2": Family(
        "Lumina-Image 2.0",
        "Lumina2Pipeline",
        "counterflow.backbones.lumina2:Lumina2",
        ("rescaled",),
        (Checkpoint("Alpha-VLLM/Lumina-Image-2.0", APACHE, sizes.LUMINA2),),
    ),
    "ernie-image": Family(
        "ERNIE-Image",
        "ErnieImagePipeline",
        "counterflow.backbones.ernie_image:ErnieImage",
        ("classifier-free",),
        (
            Checkpoint("baidu/ERNIE-Image", APACHE, sizes.ERNIE),
            Checkpoint("baidu/ERNIE-Image-Turbo", APACHE, sizes.ERNIE, 8),
        ),
        differs=SQUARES,
    ),
    "sana": Family(
        "Sana",
        "SanaPipeline",
        "counterflow.backbones.sana:Sana",
        ("classifier-free",),
        (
            Checkpoint("Efficient-Large-Model/Sana_1600M_1024px_BF16_diffusers", NSCL, sizes.SANA),
            Checkpoint("Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers", NSCL, sizes.SANA),
            Checkpoint(
                "Efficient-Large-Model/SANA1.5_4.8B_1024px_diffusers", NSCL, sizes.SANA_LARGE
            ),
        ),
        lacks=("modulated text", "joint attention"),
        plainly=(("guidance_scale", 1.0), ("use_resolution_binning", False)),
    ),
    "hidream": Family(
        "HiDream-I1",
        "HiDreamImagePipeline",
        "counterflow.backbones.hidream:HiDream",
        ("classifier-free",),
        (
            Checkpoint("HiDream-ai/HiDream-I1-Full", "mit", sizes.HIDREAM),
            Checkpoint("HiDream-ai/HiDream-I1-Dev", "mit", sizes.HIDREAM, 28),
            Checkpoint("HiDream-ai/HiDream-I1-Fast", "mit", sizes.HIDREAM, 16),
        ),
    ),
    "bria-fibo": Family(
        "Bria FIBO",
        "BriaFiboPipeline",
        "counterflow.backbones.bria_fibo:BriaFibo",
        ("classifier-free",),
        (Checkpoint("briaai/FIBO", "bria-fibo", sizes.FIBO),),
    ),
    "prx": Family(
        "PRX",
        "PRXPipeline",
        "counterflow.backbones.prx:PRX",
        ("classifier-free",),
        (
            Checkpoint("Photoroom/prx-512-t2i-sft", APACHE, sizes.PRX),
            Checkpoint("Photoroom/prx-512-t2i-sft-distilled", APACHE, sizes.PRX, 8),
        ),
        lacks=("modulated text",),
        plainly=(("guidance_scale", 1.0), ("use_resolution_binning", False)),
    ),
}
"""By the adapter's `family`."""

ADAPTERS = {each.pipeline: each.adapter for each in FAMILIES.values()}
"""The adapter of each pipeline class."""

UNUSED = {each.pipeline: each.unused for each in FAMILIES.values()}
"""The components of each pipeline class that are not loaded."""


def few_steps(family: str, identity: str) -> int | None:
    """How many steps a model was distilled for, by its repository's or folder's name, if known."""
    name = identity.partition("@")[0].rstrip("/").rpartition("/")[2].lower()
    known = {
        each.repository.rpartition("/")[2].lower(): each.few_steps
        for each in FAMILIES[family].checkpoints
    }
    return known.get(name)


def told(steps: int | None) -> str:
    """What to know of a model distilled for so many steps; empty for None."""
    if steps is None:
        return ""
    return (
        f"by its name or configuration this model was distilled for about {steps} steps without "
        "guidance, so set guidance to 1 and few steps; its velocities are no flow between picture "
        "and noise, and a grid of few steps is coarse, so expect rough inversions (reasoned, not "
        "measured)"
    )
