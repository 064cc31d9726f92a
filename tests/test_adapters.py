"""What an adapter says of its model, on a tiny pipeline of each family."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from counterflow.backbones.autoencoders import FrameAutoencoder, OpaqueAutoencoder
from counterflow.backbones.base import stacked
from counterflow.backbones.families import FAMILIES, few_steps, told
from counterflow.backbones.opening import load_adapter, load_backbone
from counterflow.backbones.registry import adapter_of
from counterflow.bench.vital import bypassed
from counterflow.edit.editor import Editor
from counterflow.errors import ModelError
from counterflow.methods.support import advice
from counterflow.prompts import tokenize_inside
from tiny import TINY
from tiny.parts import qwen_tokenizer
from tools import SOURCE, TARGETS, distance, noise


def test_every_family_is_here() -> None:
    assert {each.family for each in TINY.values()} == set(FAMILIES)


def test_its_facts_are_those_of_its_adapter(its: Editor, named: str) -> None:
    """The pipeline's class finds the adapter; guidance has a form that the facts name."""
    facts = FAMILIES[TINY[named].family]
    assert its.backbone.family == TINY[named].family
    assert adapter_of(facts.pipeline) == facts.adapter and facts.checkpoints
    assert type(its.backbone.pipeline).__name__ == facts.pipeline
    assert its.backbone.guidance(3.0).forwards == TINY[named].forwards
    assert ("embedded" in facts.guidance) or TINY[named].forwards == 2
    names = [each.name for each in its.backbone.sites()]
    kinds = {(each.stream, each.part) for each in its.backbone.sites()}
    assert len(set(names)) == len(names) == len(kinds) * len(its.backbone.blocks())
    assert (("text", "modulated") in kinds) == ("modulated text" not in facts.lacks)
    compared = {(each.stream, each.part) for each in its.backbone.sites() if each.compared}
    sought = {("image", "q"), ("image", "k"), ("text", "k")}
    assert (sought <= compared) == ("joint attention" not in facts.lacks)
    assert sought <= kinds and {("image", "v"), ("text", "v")} <= kinds


def test_its_grid_is_even_levels_shifted(its: Editor) -> None:
    """From 1 to 0, one step too; a larger picture never has smaller levels."""
    backbone = its.backbone
    assert backbone.grid(1, (64, 64)).sigmas == (1.0, 0.0)
    small, large = (backbone.grid(6, size).sigmas for size in ((64, 64), (1024, 1024)))
    assert small[0] == large[0] == 1 and small[-1] == large[-1] == 0
    assert all(a <= b + 1e-6 for a, b in zip(small, large, strict=True))


def test_rows_of_text_are_their_words(its: Editor, named: str) -> None:
    """Before the first word that differs tokens have equal features, its own token has others; the
    prompt is all in the segments.
    """
    prompts = ("a red cat at night", "a red dog at night")
    first, second = map(its.backbone.embed, prompts)
    pairs = zip(first.segments, second.segments, strict=True)
    for one, two in ((one, two) for one, two in pairs if one.ids):  # none of a quotation
        spans = [one.offsets[row] for row, kind in enumerate(one.kinds) if kind == "content"]
        assert "".join(prompts[0][a:b].strip() for a, b in spans) == "aredcatatnight"
        at = next(
            row for row, ids in enumerate(zip(one.ids, two.ids, strict=False)) if ids[0] != ids[1]
        )
        assert prompts[0][slice(*one.offsets[at])].strip()[0] == "c"
        apart = [
            distance(*(TINY[named].row(each, one.start + row) for each in (first, second)))
            for row in range(at + 1)
        ]
        assert max(apart[:-1]) <= 1e-6 and apart[-1] > 1e-3


def test_segments_spell_the_prompt(its: Editor) -> None:
    """All that is no space is in some token's span, quotation marks and apostrophes too."""
    prompt = """it's a "red cat", (I don't) 'say so'"""
    letters = {n for n, letter in enumerate(prompt) if letter != " "}
    for segment in its.backbone.embed(prompt).segments:
        covered = {n for a, b in segment.offsets for n in range(a, b)}
        if segment.name == "byt5":  # which reads quotations alone
            assert {prompt.index(letter) for letter in "\"'rcs"} <= covered
        else:
            assert covered >= letters, segment.name


@pytest.mark.parametrize(
    "prompt", ["", "a", " a red  cat ", "(a cat), it's big", "a\ncat", "{} cat 🐱 é 猫"]
)
def test_a_template_around_a_prompt_is_no_part_of_it(prompt: str) -> None:
    """Its tokens come first and last, the prompt's between them spell it, whatever it is."""
    template = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = qwen_tokenizer(64)
    whole = tokenize_inside(tokenizer, prompt, template, "qwen", 64)
    assert [*whole.kinds] == sorted(whole.kinds, key=["begin", "content", "end"].index)
    covered = {n for a, b in whole.offsets for n in range(a, b)}
    assert covered == set(range(len(prompt))) and whole.cut == ""
    assert whole.ids == tuple(tokenizer(template.replace("{}", prompt, 1))["input_ids"])
    begun = whole.kinds.count("begin")
    dropped = tokenize_inside(tokenizer, prompt, template, "qwen", 64, begun)
    assert dropped.ids == whole.ids[begun:] and "begin" not in dropped.kinds


def test_a_prompt_that_is_too_long_is_cut_and_told(its: Editor) -> None:
    long = " ".join(["a red cat on the grass and"] * 100)
    embedded = its.backbone.embed(long)
    assert embedded.cut and all(long.endswith(rest) for rest in embedded.cut.values())
    assert torch.isfinite(its.backbone.velocity(noise(its, 1), 0.5, embedded)).all()


def test_a_picture_keeps_its_scale(its: Editor) -> None:
    """Decoding scales back what encoding scaled: the autoencoder's own way there and back.

    In float64: Qwen-Image's decoder in float32 is 2e-5 from it by rounding alone.
    """
    backbone: Any = its.backbone
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    vae = backbone.vae.double()
    try:
        latent = backbone.encode(pixels)
        assert latent.shape == (1, *backbone.latent_shape((96, 64)))
        video = isinstance(backbone.autoencoder, FrameAutoencoder)
        framed = pixels[:, :, None] if video else pixels
        if isinstance(backbone.autoencoder, OpaqueAutoencoder):
            framed = torch.cat([framed, torch.ones_like(framed[:, :1])], 1)
        with torch.no_grad():
            encoded = vae.encode(framed)
            own = encoded.latent if "latent" in encoded else encoded.latent_dist.mode()
            plain = vae.decode(own).sample
        made = backbone.decode(latent)
    finally:
        vae.float()
    assert distance(made, plain[:, :3].reshape(pixels.shape)) <= 1e-5


def test_what_is_computed_once_changes_no_velocity(its: Editor) -> None:
    """To the bit, at changing levels, prompts, rows and sizes."""
    backbone: Any = its.backbone
    first, second = map(backbone.embed, (SOURCE, TARGETS[0]))
    asked = [
        (noise(its, seed, rows), sigma, prompts)
        for seed, (rows, prompts) in enumerate([(1, first), (2, stacked([first, second]))])
        for sigma in (0.9, 0.5)
        for _ in range(2)
    ]
    asked.append((torch.randn(1, *backbone.latent_shape((96, 64))), 0.5, first))
    plain = [backbone.velocity(*each) for each in asked]
    before = {name: id(module) for name, module in backbone.transformer.named_modules()}
    with backbone.steady():
        steady = [backbone.velocity(*each) for each in asked]
    assert all(torch.equal(a, b) for a, b in zip(plain, steady, strict=True))
    assert before == {n: id(module) for n, module in backbone.transformer.named_modules()}


def test_each_block_can_be_left_out(its: Editor) -> None:
    x, prompt = noise(its, 2), its.backbone.embed(SOURCE)
    whole = its.backbone.velocity(x, 0.7, prompt)
    for block in its.backbone.blocks():
        with bypassed(block):
            assert distance(its.backbone.velocity(x, 0.7, prompt), whole) > 1e-5
    assert torch.equal(its.backbone.velocity(x, 0.7, prompt), whole)


def test_a_saved_pipeline_is_loaded(its: Editor, tmp_path: Path) -> None:
    """By its folder, in the adapter, with the same velocities; distilled models are told of."""
    backbone: Any = its.backbone
    backbone.pipeline.save_pretrained(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        loaded: Any = Editor.load(str(tmp_path), device="cpu").backbone
    said = [str(each.message) for each in told if "distilled" in str(each.message)]
    assert said == ([advice(backbone.distilled)] if backbone.distilled else [])
    assert type(loaded) is type(backbone) and loaded.family == backbone.family
    x = noise(its, 1)
    ours, theirs = (each.velocity(x, 0.5, each.embed(SOURCE)) for each in (backbone, loaded))
    assert distance(ours, theirs) <= 1e-6


@pytest.mark.parametrize("how", [{"offload": "group"}, {"cast": True}], ids=["offload", "cast"])
def test_saving_memory_changes_no_velocity(
    its: Editor, tmp_path: Path, how: dict[str, Any]
) -> None:
    """Weights in eight bits do, coarsely."""
    its.backbone.pipeline.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saving = load_backbone(str(tmp_path), device="cpu", **how)
    x = noise(its, 1)
    mine, theirs = (each.velocity(x, 0.5, each.embed(SOURCE)) for each in (its.backbone, saving))
    off = distance(mine, theirs)
    assert 0 < off <= 0.2 * mine.abs().max() if "cast" in how else off <= 1e-6


def test_rows_beyond_those_attended_do_not_matter(its: Editor, named: str) -> None:
    """What stands in them changes no velocity; what stands in the last word's row does."""
    backbone = its.backbone
    prompt = backbone.embed("a red cat")
    x, last = noise(its, 3), prompt.attended or prompt.length
    plain = backbone.velocity(x, 0.5, prompt)

    def changed(rows: range) -> float:
        told = replace(prompt, tensors={k: v.clone() for k, v in prompt.tensors.items()})
        for row in rows:
            features = TINY[named].row(told, row)
            features += torch.randn(features.shape)
        return distance(backbone.velocity(x, 0.5, told), plain)

    assert changed(range(last, prompt.length)) <= 1e-6
    content = [
        each.start + row
        for each in prompt.segments
        for row, kind in enumerate(each.kinds)
        if kind == "content"
    ]
    assert max(content) < last and changed(range(content[-1], content[-1] + 1)) > 1e-5


def test_a_model_of_mean_velocities_is_refused() -> None:
    pipeline = TINY["hunyuan-image"].build()
    pipeline.transformer.register_to_config(use_meanflow=True)
    with pytest.raises(ModelError, match="distilled to mean velocities"):
        load_adapter(pipeline)


def test_it_works_in_half_precision(its: Editor, tmp_path: Path) -> None:
    """Latents stay float32; a velocity is that of full precision, coarsely."""
    its.backbone.pipeline.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half: Any = load_backbone(str(tmp_path), device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    x = noise(its, 1)
    guidance = half.guidance(3.0)
    asked, negative = guidance.condition(half.embed(SOURCE)), half.embed("")
    mine = its.backbone.velocity(x, 0.5, guidance.condition(its.backbone.embed(SOURCE)))
    theirs = half.velocity(x, 0.5, asked)
    assert theirs.dtype == torch.float32
    assert distance(theirs, mine) <= 0.1 * mine.abs().max()
    guided = guidance(theirs, half.velocity(x, 0.5, negative) if guidance.forwards == 2 else None)
    assert guided.isfinite().all()
    latent = half.encode(torch.zeros(1, 3, 64, 96))
    assert latent.dtype == half.decode(latent).dtype == torch.float32


@pytest.mark.parametrize(
    ("family", "name", "steps"),
    [
        ("flux", "black-forest-labs/FLUX.1-schnell@0123", 4),
        ("flux", "black-forest-labs/FLUX.1-dev@0123", None),
        ("z-image", "/models/z-image-turbo/@0123", 8),
        ("z-image", "Tongyi-MAI/Z-Image", None),
        ("flux2-klein", "black-forest-labs/FLUX.2-klein-base-4B", None),
        ("sd3", "", None),
    ],
)
def test_distilled_models_are_known_by_name(family: str, name: str, steps: int | None) -> None:
    assert few_steps(family, name) == steps
    assert ("distilled for about" in told(steps)) == (steps is not None)
