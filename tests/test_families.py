"""Every family that is registered, on a tiny pipeline of random weights: the same suite for all."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from counterflow.backbones.base import Site, stacked
from counterflow.backbones.families import FAMILIES, Feature
from counterflow.controls.align import text_map
from counterflow.controls.attention import AttentionControl
from counterflow.controls.base import Part, attach
from counterflow.controls.features import Features
from counterflow.controls.looking import attention_to_text
from counterflow.controls.rows import row_map
from counterflow.controls.text import TextControl
from counterflow.controls.tokens import token_side
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.flow import Step
from counterflow.methods.registry import METHODS, method
from counterflow.methods.support import refusals
from counterflow.toybox.render import render
from tiny import TINY
from tools import MOVING, SCENE, SOURCE, TARGETS, distance, hooks, inverted, mapped, noise, watched

HERE = Step(1, 4, 0.7)
shapes = pytest.mark.parametrize("shape", ["square", "wide"])
guidances = pytest.mark.parametrize("guidance", [1.0, 3.5], ids=str)


def fitting(its: Editor, size: tuple[int, int]) -> tuple[int, int]:
    """The next larger size that the model takes."""
    multiple = its.backbone.multiple
    return -(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple


def needs(named: str, feature: Feature) -> None:
    """Skip a family without a feature: what needs it is refused, which has a test of its own."""
    if feature in FAMILIES[TINY[named].family].lacks:
        pytest.skip(f"{named} lacks {feature}")


# The model's own pipeline


@shapes
@guidances
def test_without_control_it_generates_what_its_pipeline_does(
    its: Editor, named: str, guidance: float, shape: str
) -> None:
    size = fitting(its, TINY[named].wide if shape == "wide" else (64, 64))
    start = its.noise(5, size)
    options = {"num_inference_steps": 4, "width": size[0], "height": size[1]}
    expected = TINY[named].own(its.backbone.pipeline, [SOURCE], start, guidance, options)
    picture, made = its.generate(SOURCE, steps=4, guidance=guidance, seed=5, size=size)
    assert picture.size == size and distance(made[-1], expected) <= 1e-4
    assert distance(made[-1], start) > 0.1


@shapes
@guidances
def test_two_prompts_in_a_batch_are_its_pipelines_two(
    its: Editor, named: str, guidance: float, shape: str
) -> None:
    """Of different length, each with noise of its own."""
    prompts = ['a red cat says "hi"', SOURCE]
    size = fitting(its, TINY[named].wide if shape == "wide" else (64, 64))
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


def test_guidance_and_prompt_matter(its: Editor) -> None:
    made = [
        its.generate(prompt, steps=2, guidance=guidance)[1][-1]
        for prompt, guidance in ((SOURCE, 1), (SOURCE, 4), (TARGETS[0], 1))
    ]
    assert distance(made[0], made[1]) > 1e-3 and distance(made[0], made[2]) > 1e-3


def test_a_size_that_does_not_fit_is_refused(its: Editor) -> None:
    """With the sizes that do: no multiple of the model's on a side, or too long."""
    multiple, longest = its.backbone.multiple, its.backbone.longest
    half = 64 + multiple // 2
    for size in ((half, 64), (64, half), (100, 100), (longest + multiple, 64)):
        said = f"multiples of {multiple} up to {longest}|from 16 to {longest}, not"
        with pytest.raises(InputError, match=said):
            its.generate(SOURCE, steps=1, size=size)


# Inversion and controls


def test_a_compensated_reconstruction_is_exact(its: Editor) -> None:
    inversion = inverted(its, steps=4, text_ratio=0.0)
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
    modules = {
        site.name: site
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


def test_a_text_control_changes_the_mapped_rows_alone(its: Editor, named: str) -> None:
    """In every block, the target's text rows that have a partner, and nothing else."""
    needs(named, "modulated text")
    source, target = its.backbone.embed(SOURCE), its.backbone.embed(TARGETS[0])
    rows = text_map(source.segments, target.segments, target.length)
    control = TextControl(padding=True)
    raw, seen, moved = controlled(its, control, (SOURCE, TARGETS[0]))
    sites = {site.name: site for site in its.backbone.sites()}
    replaced = []
    for name in raw:
        before, after = whole(raw[name]).clone(), whole(seen[name])
        features = sites[name].read(before).clone()
        own = features[1:2].clone()
        features[1:2] = mapped(own, features[0:1], rows)
        assert own.shape[1] == target.length
        replaced.append(distance(features[1:2], own))
        assert torch.equal(after, sites[name].write(before, features)), name
        if isinstance(raw[name], tuple):
            pairs = zip(raw[name][1:], seen[name][1:], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    assert min(replaced[1:]) > 1e-3  # in the first block they may be alike: words not yet mixed
    assert moved[0] == 0 and moved[1] > 1e-4 and moved[2] == 0


def test_a_text_control_between_equal_prompts_changes_nothing(its: Editor, named: str) -> None:
    needs(named, "modulated text")
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
    source, target = its.backbone.embed(SOURCE), its.backbone.embed(TARGETS[0])
    text = {name: target.tensors[name] for name in TINY[named].text}
    swapped = replace(target, tensors=source.tensors | text)
    inversion = inverted(its, steps=3, invert_guidance=guidance, text_ratio=0.0)
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


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Queries, keys and masks that the attention function gets."""
    called: list[tuple[Tensor, Tensor, Tensor | None]] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, *rest: Any, **named: Any) -> Tensor:
        called.append((query, key, named.get("attn_mask")))
        return plain(query, key, *rest, **named)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    return called


def test_compared_features_are_those_of_attention(its: Editor, named: str, attended: Any) -> None:
    """Queries and keys, normalised and turned; and what is found by them is the model's own mean
    attention from image tokens to the prompt's rows, masks included.
    """
    needs(named, "joint attention")
    backbone: Any = its.backbone
    sites = {each.name: each for each in backbone.sites() if each.compared is not None}
    prompt, features = backbone.embed(SOURCE), Features()
    attended.clear()  # of the text encoders
    x = torch.randn(1, *backbone.latent_shape(TINY[named].looked))
    image = x.shape[2] * x.shape[3] // token_side(backbone) ** 2
    with watched({name: site.module for name, site in sites.items()}) as seen:
        backbone.velocity(x, HERE.sigma, prompt)
    for name, output in seen:
        features.put(HERE, sites[name], sites[name].read(output))

    def at(name: str, there: Tensor) -> int | None:
        """The first row of a site's features in those of a call, zeros that fill them left out."""
        mine, rows = sites[name].compared(features.get(HERE, sites[name])), there.shape[2]
        count = min(mine.shape[2], rows - image if sites[name].stream == "text" else image)
        mine = mine[:, :, :count]
        if mine.shape[1] != there.shape[1] or not 0 < count <= rows:
            return None
        near = [n for n in (0, rows - count) if distance(mine, there[:, :, n : n + count]) <= 1e-5]
        return near[0] if near else None

    total = []
    for block in range(len(backbone.blocks())):
        names = [f"{block}.{each}" for each in ("image.q", "image.k", "text.k")]
        calls = [
            (call, places)
            for call in attended
            if None not in (places := [at(n, call["qk".index(n[-1])]) for n in names])
        ]
        assert len(calls) == 1, block
        (query, key, mask), (first, _, text) = calls[0]
        own = f"{block}.text.q"  # text may ask for nothing
        assert own not in sites or any(at(own, call[0]) is not None for call in attended)
        logits = query @ key.mT * query.shape[-1] ** -0.5
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        end = text + min(prompt.length, key.shape[2] - image)
        shares = logits.softmax(-1)[0, :, first : first + image, text:end]
        total.append(shares.mean(0))
    mine = attention_to_text(backbone.sites(), features, HERE, prompt.attended)
    expected = torch.stack(total).mean(0)
    assert distance(mine, expected[:, : mine.shape[1]]) <= 1e-6
    assert expected[:, mine.shape[1] :].sum() == 0 and mine.sum(1).min() > 0.01


# Every method


@pytest.mark.parametrize(
    ("feature", "name", "settings"),
    [
        ("modulated text", "ftedit", {}),
        ("modulated text", "ftedit", {"text_ratio": 0.0, "text_words": {"red": 0.5}}),
        ("modulated text", "ftedit-reference", {}),
        ("joint attention", "consistedit", {}),
    ],
)
def test_what_a_family_lacks_is_refused_by_name(
    its: Editor, named: str, feature: Feature, name: str, settings: dict[str, Any]
) -> None:
    """And what it has is not; without the text control nothing is."""
    facts = FAMILIES[TINY[named].family]
    refusal = pytest.raises(InputError, match=f"{name} needs {feature}, which {facts.title} lacks")
    with refusal if feature in facts.lacks else nullcontext():
        method(name, **settings).check_model(its.backbone)
    method("ftedit", text_ratio=0.0).check_model(its.backbone)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_or_refuses_by_name(
    its: Editor, named: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite, with its forwards counted, and no hook left; and as `counterflow models` says."""
    refused = name in refusals(TINY[named].family)
    counted: list[int] = []
    velocity = its.backbone.velocity

    def counting(x: Tensor, *rest: Any) -> Tensor:
        counted.append(len(x))
        return velocity(x, *rest)

    how = method(name, **{"steps": 3} | MOVING.get(name, {}))
    try:
        how.check_model(its.backbone)
    except InputError as refusal:
        assert refused and how.name in str(refusal)
        return
    assert not refused
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
