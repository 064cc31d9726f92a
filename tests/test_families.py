"""Every family that is registered, on a tiny pipeline of random weights: the same suite for all."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterflow.backbones.base import Site, stacked
from counterflow.backbones.families import FAMILIES
from counterflow.backbones.registry import adapter_of, load_adapter, load_backbone
from counterflow.bench.vital import bypassed
from counterflow.controls.align import text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Part, attach
from counterflow.controls.rows import row_map
from counterflow.controls.text import TextControl
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.flow import Step
from counterflow.methods.registry import METHODS, method
from counterflow.toybox.render import render
from families import TINY
from tools import SCENE, SOURCE, TARGETS, distance, hooks, inverted, mapped, noise, watched

HERE = Step(1, 4, 0.7)
FEW: dict[str, dict[str, Any]] = {
    "chordedit": {"steps": 1},
    "dnaedit": {"skip_steps": 1},
    "kv-edit": {"skip_steps": 1},
}
"""What methods need, that a few steps of them can be made."""
sizes = pytest.mark.parametrize("size", [(64, 64), (96, 48)], ids=str)
guidances = pytest.mark.parametrize("guidance", [1.0, 3.5], ids=str)


@pytest.fixture(scope="module", params=TINY)
def named(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def its(named: str) -> Editor:
    """An editor on a pipeline of each family."""
    backbone = load_adapter(TINY[named].build(), named)
    backbone.area = 64 * 64
    return Editor(backbone)


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
    assert len(set(names)) == len(names) == 7 * len(its.backbone.blocks())


# The model's own pipeline


@sizes
@guidances
def test_without_control_it_generates_what_its_pipeline_does(
    its: Editor, named: str, guidance: float, size: tuple[int, int]
) -> None:
    start = its.noise(5, size)
    options = {"num_inference_steps": 4, "width": size[0], "height": size[1]}
    expected = TINY[named].own(its.backbone.pipeline, [SOURCE], start, guidance, options)
    picture, made = its.generate(SOURCE, steps=4, guidance=guidance, seed=5, size=size)
    assert picture.size == size and distance(made[-1], expected) <= 1e-4
    assert distance(made[-1], start) > 0.1


@sizes
@guidances
def test_two_prompts_in_a_batch_are_its_pipelines_two(
    its: Editor, named: str, guidance: float, size: tuple[int, int]
) -> None:
    """Of different length, each with noise of its own."""
    prompts = ["a red cat", SOURCE]
    start = torch.cat([its.noise(seed, size) for seed in (5, 6)])
    options = {"num_inference_steps": 3, "width": size[0], "height": size[1]}
    expected = TINY[named].own(its.backbone.pipeline, prompts, start, guidance, options)
    backbone, how, x = its.backbone, its.backbone.guidance(guidance), start
    both = stacked([how.condition(backbone.embed(prompt)) for prompt in prompts])
    grid = backbone.grid(3, size)
    for k in grid.toward_image():
        u = backbone.velocity(x, grid[k], its.negative) if how.forwards == 2 else None
        x = x + grid.width(k) * how(backbone.velocity(x, grid[k], both), u)
    assert distance(x, expected) <= 1e-4


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
    text = [each.tensors[TINY[named].text][0] for each in (first, second)]
    for one, two in zip(first.segments, second.segments, strict=True):
        spans = [one.offsets[row] for row, kind in enumerate(one.kinds) if kind == "content"]
        assert "".join(prompts[0][a:b].strip() for a, b in spans) == "aredcatatnight"
        at = next(
            row for row, ids in enumerate(zip(one.ids, two.ids, strict=False)) if ids[0] != ids[1]
        )
        assert prompts[0][slice(*one.offsets[at])].strip()[0] == "c"
        rows = slice(one.start, one.start + at)
        assert distance(text[0][rows], text[1][rows]) <= 1e-6
        row = one.start + at
        assert distance(text[0][row], text[1][row]) > 1e-3


def test_a_prompt_that_is_too_long_is_cut_and_told(its: Editor) -> None:
    long = " ".join(["a red cat on the grass and"] * 40)
    embedded = its.backbone.embed(long)
    assert embedded.cut and all(long.endswith(rest) for rest in embedded.cut.values())
    assert torch.isfinite(its.backbone.velocity(noise(its, 1), 0.5, embedded)).all()


def test_guidance_and_prompt_matter(its: Editor) -> None:
    made = [
        its.generate(prompt, steps=2, guidance=guidance)[1][-1]
        for prompt, guidance in ((SOURCE, 1), (SOURCE, 4), (TARGETS[0], 1))
    ]
    assert distance(made[0], made[1]) > 1e-3 and distance(made[0], made[2]) > 1e-3


def test_a_picture_keeps_its_scale(its: Editor) -> None:
    """Decoding scales back what encoding scaled: the autoencoder's own way there and back."""
    backbone: Any = its.backbone
    pixels = torch.rand(1, 3, 48, 64) * 2 - 1
    latent = backbone.encode(pixels)
    assert latent.shape == (1, *backbone.latent_shape((64, 48)))
    vae = backbone.vae
    framed = pixels if type(vae).__name__ == "AutoencoderKL" else pixels[:, :, None]
    with torch.no_grad():
        plain = vae.decode(vae.encode(framed).latent_dist.mode()).sample
    assert distance(backbone.decode(latent), plain.reshape(pixels.shape)) <= 1e-5


# Inversion and controls


def test_a_compensated_reconstruction_is_exact(its: Editor) -> None:
    inversion = inverted(its, steps=4)
    assert its.reconstruct(inversion).latent_error <= 1e-5
    assert its.reconstruct(inversion, compensate=False).latent_error > 1e-4


def controlled(its: Editor, control: Any, prompts: tuple[str, str]) -> Any:
    """One forward of source, target and negative prompt: what the modules of text sites put out
    before and after the control, and by how much each row's velocity moves.
    """
    backbone: Any = its.backbone
    source, target = map(backbone.embed, prompts)
    both = stacked([source, target, its.negative])
    x = noise(its, 3).expand(3, -1, -1, -1)
    modules: dict[str, nn.Module] = {
        site.name: site.module
        for site in backbone.sites()
        if (site.stream, site.part) == ("text", "modulated")
    }
    parts = [
        Part("source", slice(0, 1), HERE),
        Part("target", slice(1, 2), HERE, [row_map(source, target)]),
        Part("negative", slice(2, 3), HERE),
    ]
    plain = backbone.velocity(x, HERE.sigma, both)
    with (
        watched(modules) as raw,
        attach(backbone, [control]) as session,
        watched(modules) as seen,
        session.running(HERE, parts),
    ):
        out = backbone.velocity(x, HERE.sigma, both)
    assert hooks(backbone) == 0
    assert torch.equal(backbone.velocity(x, HERE.sigma, both), plain)
    return dict(raw), dict(seen), (out - plain).flatten(1).abs().amax(1)


def test_a_text_control_changes_the_mapped_rows_alone(its: Editor) -> None:
    """In every block, the target's text rows that have a partner, and nothing else."""
    source, target = its.backbone.embed(SOURCE), its.backbone.embed(TARGETS[0])
    rows = text_map(source.segments, target.segments, target.length)
    control = TextControl(padding=True)
    raw, seen, moved = controlled(its, control, (SOURCE, TARGETS[0]))
    sites = {site.name: site for site in its.backbone.sites()}
    replaced = []
    for name in raw:
        before, after = whole(raw[name]).clone(), whole(seen[name])
        own = sites[name].read(before[1:2])
        expected = mapped(own, sites[name].read(before[0:1]), rows)
        assert own.shape[1] == target.length
        replaced.append(distance(expected, own))
        before[1:2] = sites[name].write(before[1:2], expected)
        assert torch.equal(after, before), name
        if isinstance(raw[name], tuple):
            pairs = zip(raw[name][1:], seen[name][1:], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    assert min(replaced[1:]) > 1e-3  # in the first block they may be alike: words not yet mixed
    assert moved[0] == 0 and moved[1] > 1e-4 and moved[2] == 0


def test_a_text_control_between_equal_prompts_changes_nothing(its: Editor) -> None:
    *_, moved = controlled(its, TextControl(padding=True), (SOURCE, SOURCE))
    assert moved.max() <= 1e-6


def whole(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_attention_injected_everywhere_gives_the_source(
    its: Editor, named: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the text stream is another: what else a prompt decides (a pooled vector, a mask)
    is the source's. Another site left out, it does not.
    """
    source, name = its.backbone.embed(SOURCE), TINY[named].text
    target = its.backbone.embed(TARGETS[0])
    text = target.tensors[name]
    swapped = replace(target, tensors=source.tensors | {name: text})
    inversion = inverted(its, steps=3, invert_guidance=guidance)
    monkeypatch.setattr(its, "embed", lambda _prompt: swapped)
    settings = {"text_ratio": 0.0, "attention_ratio": 1.0, "attention_tokens": "all"}
    settings |= {"guidance": guidance, "compensate": "both"}
    made = {
        parts: its.edit(inversion, TARGETS[0], attention_parts=parts, **settings).latent
        for parts in (("q", "k", "v"), ("q", "k"))
    }
    assert distance(made["q", "k", "v"], inversion.image) <= 2e-5
    assert distance(made["q", "k"], inversion.image) > 1e-4
    assert hooks(its.backbone) == 0


def test_a_control_of_one_stream_leaves_the_others_rows(its: Editor) -> None:
    """In modules that both streams pass, image features are injected without the text's."""
    backbone: Any = its.backbone
    source, target = map(backbone.embed, (SOURCE, TARGETS[0]))
    sites: list[Site] = [each for each in backbone.sites() if each.part == "v"]
    modules = {site.name: site.module for site in sites}
    parts = [
        Part("source", slice(0, 1), HERE),
        Part("target", slice(1, 2), HERE, [row_map(source, target)]),
    ]
    x = torch.cat([noise(its, 1), noise(its, 2)])
    control = AttentionControl(1.0, ("v",), "image")
    with (
        watched(modules) as raw,
        attach(backbone, [control]) as session,
        watched(modules) as seen,
        session.running(HERE, parts),
    ):
        backbone.velocity(x, HERE.sigma, stacked([source, target]))
    raw, seen = dict(raw), dict(seen)
    for site in sites:
        before, after = site.read(raw[site.name]), site.read(seen[site.name])
        expected = before[[0, 0]] if site.stream == "image" else before
        assert torch.equal(after, expected), site.name


def test_compared_features_are_those_of_attention(
    its: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries and keys, normalised and turned, as the attention function gets them."""
    backbone: Any = its.backbone
    sites = [each for each in backbone.sites() if each.compared is not None]
    prompt = backbone.embed(SOURCE)
    called: list[tuple[Tensor, ...]] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, *rest: Any, **named: Any) -> Tensor:
        called.append((query, key))
        return plain(query, key, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    with watched({site.name: site.module for site in sites}) as seen:
        backbone.velocity(noise(its, 4), 0.6, prompt)
    outputs = dict(seen)
    assert len(sites) == 4 * len(backbone.blocks()) and called
    for site in sites:
        mine = site.compared(site.read(outputs[site.name]))
        theirs = [call["qk".index(site.part)] for call in called]
        heads, count = mine.shape[1], mine.shape[2]
        near = [
            min(distance(mine, each[:, :, :count]), distance(mine, each[:, :, -count:]))
            for each in theirs
            if each.shape[1] == heads and each.shape[2] > count
        ]
        assert min(near) <= 1e-5, site.name


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
    asked.append((torch.randn(1, *backbone.latent_shape((96, 48))), 0.5, first))
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


# Every method


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_or_refuses_by_name(
    its: Editor, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite, with its forwards counted, and no hook left."""
    counted: list[int] = []
    velocity = its.backbone.velocity

    def counting(x: Tensor, *rest: Any) -> Tensor:
        counted.append(len(x))
        return velocity(x, *rest)

    how = method(name, **{"steps": 3} | FEW.get(name, {}))
    try:
        how.check_model(its.backbone)
    except InputError as refusal:
        assert how.name in str(refusal)
        return
    picture = render(SCENE).resize((64, 48))
    mask = np.ones((48, 64), bool) if how.needs_mask else None
    if mask is not None:
        mask[:, :16] = False
    monkeypatch.setattr(its.backbone, "velocity", counting)
    inversion = its.invert(picture, SOURCE, how)
    edit = its.edit(inversion, TARGETS[0], mask=mask, seed=5)
    assert torch.isfinite(edit.latent).all() and edit.image.size == (64, 48)
    assert distance(edit.latent, inversion.image) > 1e-4
    assert inversion.forwards + edit.forwards == sum(counted) > 0
    assert hooks(its.backbone) == 0


# Files


def test_a_saved_pipeline_is_loaded(its: Editor, tmp_path: Path) -> None:
    """By its folder, in the adapter, with the same velocities; distilled models are told of."""
    backbone: Any = its.backbone
    backbone.pipeline.save_pretrained(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        loaded = load_backbone(str(tmp_path), device="cpu")
    said = [str(each.message) for each in told if "distilled" in str(each.message)]
    assert said == ([backbone.distilled] if backbone.distilled else [])
    assert type(loaded) is type(backbone) and loaded.family == backbone.family
    x = noise(its, 1)
    ours, theirs = (each.velocity(x, 0.5, each.embed(SOURCE)) for each in (backbone, loaded))
    assert distance(ours, theirs) <= 1e-6
