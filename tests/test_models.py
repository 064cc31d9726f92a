"""`models`: what it says of families, and of pipelines that have no adapter."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import (
    BriaFiboTransformer2DModel,
    ErnieImageTransformer2DModel,
    Flux2Transformer2DModel,
    LongCatImageTransformer2DModel,
    SanaTransformer2DModel,
)

from counterflow.backbones import sizes
from counterflow.backbones.families import ADAPTERS, FAMILIES, told
from counterflow.backbones.registry import adapter_of, check_model
from counterflow.backbones.unsupported import family_of, why_not
from counterflow.errors import ModelError
from counterflow.methods.registry import METHODS, method
from counterflow.methods.support import advice, refusals, without_inversion

DOCS = Path(__file__).parents[1] / "docs"
MODELS = [each for family in FAMILIES.values() for each in family.checkpoints]


def count(kind: Any, **options: Any) -> float:
    """Billions of weights of a network."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in kind(**options).parameters()) / 1e9


# What the command says


def test_all_of_a_family_is_said(run: Any) -> None:
    """Every model with its licence and memory, in lines of a terminal; nothing is fetched."""
    code, out, err = run("models")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) <= 96
    plain = re.sub(r"\s+", " ", out)
    for name, family in FAMILIES.items():
        assert f"{name}: {family.title}. Guidance: {', '.join(family.guidance)}." in plain
    for each in MODELS:
        row = next(line.split() for line in out.splitlines() if each.repository in line.split())
        weights = [f"{each.size.weights():.1f}", f"{each.size.weights(cast=True):.1f}"]
        assert row[-4:-2] == weights and each.licence in plain
        assert not each.few_steps or row[1] == str(each.few_steps)
    assert f"Sana. Guidance: classifier-free. Refuses: {', '.join(refusals('sana'))}." in plain
    assert "computed from the published configuration, not measured" in plain
    assert f"which invert nothing, make more sense (reasoned, not measured): {NAMES}." in plain


NAMES = ", ".join(without_inversion())


@pytest.mark.parametrize("name", FAMILIES)
def test_one_family_whole(run: Any, name: str) -> None:
    code, out, _ = run("models", name)
    plain, family = re.sub(r"\s+", " ", out), FAMILIES[name]
    assert code == 0 and family.pipeline in out
    assert all(f"{method}: {why}" in plain for method, why in refusals(name).items())
    assert f"lacks: {', '.join(family.lacks) or 'nothing'}" in plain
    distilled = any(each.few_steps for each in family.checkpoints)
    assert (NAMES in plain) == distilled
    assert all(each.repository in out and each.licence in out for each in family.checkpoints)


def test_json_has_all(run: Any) -> None:
    families = json.loads(run("models", "--json")[1])["families"]
    assert list(families) == list(FAMILIES)
    assert json.loads(run("models", "sana", "--json")[1]) == families["sana"]
    controls = {"text": False, "attention": True, "words found in the picture": False}
    assert families["sana"]["controls"] == controls
    assert families["sana"]["refuses"] == refusals("sana")
    assert next(iter(families["sana"]["not_opened"])) == "SanaSprintPipeline"
    schnell = families["flux"]["checkpoints"][2]
    assert schnell["few_steps_advice"] == advice(told(4))
    assert schnell["memory"]["bfloat16"] == pytest.approx(2 * (11.9 + 0.12 + 4.76 + 0.08), abs=0.01)
    assert schnell["memory"]["eight_bits"] == pytest.approx(33.72 - 11.9, abs=0.01)
    assert schnell["memory"]["pictures"]["1024"]["adds"] == 2.15
    assert families["qwen-image"]["checkpoints"][0]["memory"]["pictures"]["512"]["adds"] is None


def test_another_name_is_refused(run: Any) -> None:
    code, _, err = run("models", "sdxl")
    assert code == 2 and "no family 'sdxl'; there are sd3, flux" in err


# Methods


def test_what_is_refused_is_what_the_family_lacks() -> None:
    """`test_families` holds it to every model's own refusals."""
    for name, family in FAMILIES.items():
        assert bool(refusals(name)) == bool(family.lacks)
    assert "consistedit" in refusals("sana") and "consistedit" not in refusals("prx")
    assert "ftedit" in refusals("prx") and "fixed-point" not in refusals("prx")


def test_models_of_few_steps_are_told_which_methods_suit() -> None:
    names = without_inversion()
    assert {"flowedit", "sdedit", "chordedit"} <= set(names) and "ftedit" not in names
    assert all(method(name).inversion is None and not METHODS[name].settings for name in names)
    page = re.sub(r"\s+", " ", (DOCS / "your-pictures.md").read_text("utf-8"))
    assert f"make more sense**: {', '.join(f'`{name}`' for name in names)}." in page
    said = advice(told(4))
    assert said.endswith(NAMES) and "guidance to 1" in said and "reasoned, not measured" in said
    assert "\n" not in said and advice("") == ""


# Memory


def test_sizes_are_those_of_diffusers_own_defaults() -> None:
    """Of transformers whose default configuration is the released model's."""
    default = "flux flux2 chroma z-image qwen-image qwen-image-2.1 aura-flow krea-2 ovis-image prx"
    for family in [*default.split(), "hunyuan-image", "lumina2"]:
        pipeline = getattr(diffusers, FAMILIES[family].pipeline)
        kind = inspect.signature(pipeline.__init__).parameters["transformer"].annotation
        billions = count(getattr(diffusers, kind) if isinstance(kind, str) else kind)
        said = {each.size.transformer for each in FAMILIES[family].checkpoints}
        assert said == {round(billions, 1)}, family


@pytest.mark.parametrize(
    ("size", "kind", "options"),
    [
        (
            sizes.KLEIN_4B,
            Flux2Transformer2DModel,
            {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24}
            | {"joint_attention_dim": 7680, "guidance_embeds": False},
        ),
        (
            sizes.KLEIN_9B,
            Flux2Transformer2DModel,
            {"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32}
            | {"joint_attention_dim": 12288, "guidance_embeds": False},
        ),
        (
            sizes.LONGCAT,
            LongCatImageTransformer2DModel,
            {"num_layers": 10, "num_single_layers": 20},
        ),
        (
            sizes.ERNIE,
            ErnieImageTransformer2DModel,
            {"hidden_size": 4096, "num_layers": 36}
            | {"num_attention_heads": 32, "ffn_hidden_size": 12288},
        ),
        (
            sizes.FIBO,
            BriaFiboTransformer2DModel,
            {"num_layers": 8, "num_single_layers": 38, "in_channels": 48},
        ),
        (sizes.SANA, SanaTransformer2DModel, {}),
        (sizes.SANA_LARGE, SanaTransformer2DModel, {"num_layers": 60}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_sizes_are_those_of_published_configurations(
    size: sizes.Size, kind: Any, options: dict[str, Any]
) -> None:
    blocks = sum(value for name, value in options.items() if name.endswith("_layers"))
    assert round(count(kind, **options), 1) == size.transformer
    assert size.blocks == (blocks or 20)


def test_formulas_are_near_what_was_measured() -> None:
    """Peak and kept features of `bench size`, in two steps, of all of SD3.5 medium and of two parts
    of FLUX.1, as docs/results.md has them.
    """
    some = {
        blocks: sizes.Size(0, blocks, sizes.FLUX.width, encoders=sizes.FLUX.encoders)
        for blocks in (12, 36)
    }
    of = {
        "SD3.5 medium, all 24 blocks": sizes.SD35_MEDIUM,
        "FLUX.1 dev, 4 of 19 and 8 of 38 blocks": some[12],
        "FLUX.1 dev, 12 of 19 and 24 of 38 blocks": some[36],
    }
    row = r"\| (\S+ \w+, .* blocks).* \| 512×512 \| .* \| (\S+) GB \| (\S+) GB \| (\d+) MB"
    measured = re.findall(row, (DOCS / "results.md").read_text("utf-8"))
    assert [name for name, *_ in measured] == list(of)
    for name, peak, weights, kept in measured:
        added = float(peak) - float(weights) - int(kept) / 1000
        assert of[name].decoding(512) == pytest.approx(
            added, rel=0.1
        )  # of two rows a forward is less
        assert max(0.95 * added, 2 * of[name].forward(512)) <= (of[name].picture(512) or 0)
        assert 2 * of[name].kept(512) >= 0.99 * int(kept) / 1000


# Pipelines without an adapter


def of_our_families() -> list[str]:
    """The pipelines in the folders of diffusers where ours are, and near them."""
    folders = {getattr(diffusers, name).__module__.rpartition(".")[0] for name in ADAPTERS}
    folders |= {f"diffusers.pipelines.{name}" for name in ("controlnet_sd3", "bria_fibo2", "bria")}
    names = [name for name in dir(diffusers) if name.endswith("Pipeline")]
    return [
        name
        for name in names
        if name not in ADAPTERS
        and getattr(getattr(diffusers, name), "__module__", "").rpartition(".")[0] in folders
    ]


def test_every_other_pipeline_of_our_families_is_refused_with_a_reason() -> None:
    names = of_our_families()
    assert len(names) > 35 and "FluxKontextPipeline" in names and "SanaSprintPipeline" in names
    for name in names:
        family = family_of(name)
        assert family is not None, name
        with pytest.raises(ModelError) as error:
            adapter_of(name)
        said = str(error.value)
        assert said.startswith(f"no adapter for {name}; {why_not(name)}") and "\n" not in said
        assert FAMILIES[family].pipeline in said and "supported:" not in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SanaSprintPipeline", r"circle \(TrigFlow.*SCM.*no rectified flow.*of SanaPipeline"),
        ("FluxKontextPipeline", "trained to be shown a picture.*repository of FluxPipeline"),
        ("FluxFillPipeline", "trained to be shown a picture.*repository of FluxPipeline"),
        ("FluxImg2ImgPipeline", "same weights.*write FluxPipeline as _class_name"),
        ("Flux2KleinInpaintPipeline", "same weights.*write Flux2KleinPipeline as _class_name"),
        ("QwenImageEditPlusPipeline", "shown a picture.*of QwenImagePipeline, as Qwen/Qwen-Image$"),
        ("StableDiffusion3ControlNetPipeline", "ControlNet.*of StableDiffusion3Pipeline"),
        ("StableDiffusionXLPipeline", "supported: StableDiffusion3Pipeline"),
    ],
)
def test_a_folder_of_another_pipeline(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(ModelError, match=f"no adapter for {name}; .*{said}"):
        check_model(str(tmp_path))


def test_what_samples_the_same_weights_has_all_parts() -> None:
    """So its folder opens as its family's own pipeline, as is said."""
    for name in of_our_families():
        if "as _class_name" in why_not(name):
            family = family_of(name)
            assert family is not None
            base = getattr(diffusers, FAMILIES[family].pipeline)
            wanted = inspect.signature(base.__init__).parameters.values()
            needed = {each.name for each in wanted if each.default is inspect.Parameter.empty}
            assert needed <= set(inspect.signature(getattr(diffusers, name).__init__).parameters)
