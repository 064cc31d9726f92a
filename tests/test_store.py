"""Inversions as files: the same afterwards, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from counterflow import images
from counterflow.edit.editor import Editor
from counterflow.errors import CounterflowError, InputError, ModelError
from counterflow.methods.base import Method
from counterflow.methods.registry import method
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, distance, inverted


@pytest.mark.parametrize("half", [False, True])
def test_what_is_loaded_edits_as_what_was_saved(editor: Editor, half: bool, tmp_path: Path) -> None:
    """Bit for bit in full precision; in half the file is smaller and the source still exact."""
    inversion = editor.invert(
        render(SCENE).resize((90, 128)), SOURCE, steps=4, iterations=1, average_span=(0, 1)
    )
    editor.save(inversion, tmp_path / "new" / "a.safetensors", half)
    loaded = editor.open(tmp_path / "new" / "a.safetensors")
    for name in ("prompt", "size", "method", "model", "forwards", "seconds", "recorded"):
        assert getattr(loaded, name) == getattr(inversion, name), name
    assert loaded.trajectory.grid == inversion.trajectory.grid
    assert np.array_equal(np.asarray(loaded.picture), np.asarray(inversion.picture))
    a, b = (editor.edit(each, TARGETS[0]).latent for each in (inversion, loaded))
    assert torch.equal(a, b) if not half else distance(a, b) < 0.05
    assert editor.reconstruct(loaded).latent_error <= 1e-5


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    "how",
    [
        method("uniedit", steps=5),
        method("dnaedit", steps=5, skip_steps=2),
        method("rf-inversion", steps=5),
        method("rf-solver", steps=5),
        method("fireflow", steps=5, inject=2),
        method("steerflow", steps=5),
    ],
    ids=lambda how: how.name,
)
def test_what_methods_of_the_field_need_is_stored(
    one: Editor, how: Method, half: bool, tmp_path: Path
) -> None:
    """Partial trajectories, where an inversion asked, and V of the source, which is made again for
    a forward for each evaluation.
    """
    inversion = one.invert(render(SCENE), SOURCE, how)
    one.save(inversion, tmp_path / "a.safetensors", half)
    loaded = one.open(tmp_path / "a.safetensors")
    known, got = inversion.trajectory, loaded.trajectory
    assert (got.first, got.grid) == (known.first, known.grid) and loaded.method == how
    assert (got.queries is None) == (known.queries is None) == (how.name != "dnaedit")
    a, b = (one.edit(each, TARGETS[0]) for each in (inversion, loaded))
    assert distance(a.latent, b.latent) <= (0.05 if half else 2e-5)
    more = {"rf-solver": 4, "fireflow": 2}.get(how.name, 0)
    assert b.forwards - a.forwards == more
    again = [one.edit(each, TARGETS[0]).forwards for each in (inversion, loaded)]
    assert again[0] == again[1] <= a.forwards
    for k in range(known.first, known.grid.steps):
        assert distance(got.asked(k), known.asked(k)) <= (0.01 if half else 0)


def test_half_precision_halves_the_latents(one: Editor, tmp_path: Path) -> None:
    inversion = inverted(one, steps=8, iterations=0)
    sizes = []
    for half in (False, True):
        one.save(inversion, tmp_path / "a.safetensors", half)
        with safe_open(tmp_path / "a.safetensors", "pt") as file:
            latents = file.get_tensor("latents")
            sizes.append(latents.numel() * latents.element_size())
    assert sizes[0] == 2 * sizes[1]


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _rewritten(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with safe_open(path, "pt") as file:
            known = json.loads(file.metadata()["counterflow"])
        change(known)
        save_file(_tensors(path), path, {"counterflow": json.dumps(known)})

    return damage


def _nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


def _spoken(text: str) -> Callable[[Path], None]:
    return lambda path: save_file(_tensors(path), path, {"counterflow": text})


def _with(**tensors: torch.Tensor) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(_tensors(path) | tensors, path, metadata)

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], object], type[CounterflowError], str]] = {
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-100]), InputError, "damaged"),
    "empty": (lambda p: p.write_bytes(b""), InputError, "damaged"),
    "gone": (lambda p: p.unlink(), InputError, "No such file"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), InputError, "is no file"),
    "text": (lambda p: p.write_text("no tensors" * 99), InputError, "damaged"),
    "no metadata": (lambda p: save_file({"latents": torch.zeros(1)}, p), InputError, "damaged"),
    "version": (_rewritten(lambda k: k.update(version=99)), InputError, "version 99"),
    "model": (_rewritten(lambda k: k.update(model="other@123")), ModelError, "other@123"),
    "sigmas": (_rewritten(lambda k: k.update(sigmas=[1, 0])), InputError, "damaged"),
    "rising": (_rewritten(lambda k: k.update(sigmas=[0, 1, 2])), InputError, "damaged"),
    "size": (_rewritten(lambda k: k.update(size=[32, 64])), InputError, "latents"),
    "settings": (_rewritten(lambda k: k.update(settings={"steps": "x"})), InputError, "steps"),
    "steps": (_rewritten(lambda k: k["settings"].update(steps=9)), InputError, "steps"),  # type: ignore[attr-defined]
    "prompt": (_rewritten(lambda k: k.pop("prompt")), InputError, "prompt"),
    "blank": (_rewritten(lambda k: k.update(prompt=" ")), InputError, "prompt must say something"),
    "half": (_rewritten(lambda k: k.update(prompt="a \ud83d")), InputError, "half a character"),
    "no text": (_rewritten(lambda k: k.update(prompt=None)), InputError, "prompt must be"),
    "endless": (_rewritten(lambda k: k.update(size=[math.inf, 64])), InputError, "no number"),
    "sides": (_rewritten(lambda k: k.update(size=[-64, 64])), InputError, r"size\[0\] must be"),
    "first": (_rewritten(lambda k: k.update(first=10**400)), InputError, "first must be"),
    "forwards": (_rewritten(lambda k: k.update(forwards=-1)), InputError, "forwards must be"),
    "seconds": (_rewritten(lambda k: k.update(seconds=-1.0)), InputError, "seconds must be"),
    "recorded": (_rewritten(lambda k: k.update(recorded="x")), InputError, "recorded must be"),
    "no mapping": (_rewritten(lambda k: k.update(settings=[])), InputError, "settings must be"),
    "deep": (_rewritten(lambda k: k.update(settings=_nested(500))), InputError, "not JSON"),
    "deeper": (_spoken("[" * 100_000), InputError, "not JSON"),
    "no object": (_spoken("[1]"), InputError, "must be an object"),
    "no picture": (_with(picture=torch.zeros(0, 0, 3, dtype=torch.uint8)), InputError, "RGB"),
    "rgba": (_with(picture=torch.zeros(128, 128, 4, dtype=torch.uint8)), InputError, "RGB"),
    "floats": (_with(picture=torch.zeros(128, 128, 3)), InputError, "RGB picture"),
    "grey": (_with(picture=torch.zeros(128, 128, dtype=torch.uint8)), InputError, "RGB picture"),
    "shape": (_with(picture=torch.zeros(64, 128, 3, dtype=torch.uint8)), InputError, "a picture"),
    "no latents": (_with(latents=torch.zeros(3)), InputError, "are no latents"),
    "integers": (_with(latents=torch.zeros(3, 4, 8, 8, dtype=torch.int32)), InputError, "latents"),
}


@pytest.fixture(scope="module")
def stored(one: Editor, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("stored") / "a.safetensors"
    one.save(inverted(one, steps=2, iterations=0), path)
    return path.read_bytes()


@pytest.mark.fault("26", "F9", "F10", "F11", "F12")
@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_no_inversion_is_refused(
    one: Editor, stored: bytes, name: str, tmp_path: Path
) -> None:
    """In one line that names the file, and both sides where they differ."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(stored)
    damage, kind, words = DAMAGE[name]
    damage(path)
    with pytest.raises(kind, match=words) as told:
        one.open(path)
    if name == "model":
        assert one.backbone.identity in str(told.value)


@pytest.mark.fault("F12")
def test_an_inversion_of_no_prompt_is_not_stored(one: Editor, tmp_path: Path) -> None:
    inversion = one.invert(render(SCENE), "", steps=2, iterations=0)
    with pytest.raises(InputError, match="is empty"):
        one.save(inversion, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(90, 128), (31, 200), (128, 128), (1000, 130)])
def test_a_picture_fits_the_size_it_was_worked_on(size: tuple[int, int]) -> None:
    """Whatever the area; another shape does not."""
    for area in (2_000, 16_384, 300_000):
        worked = images.fit(size, area, 16)
        assert images.fits(size, worked, 16)
        assert not images.fits((size[0] * 3, size[1]), images.fit(size, 300_000, 16), 16)


def test_latents_that_are_not_finite_are_refused(one: Editor, tmp_path: Path) -> None:
    inversion = inverted(one, steps=2, iterations=0)
    inversion.trajectory.latents[1, 0, 0, 0] = float("nan")
    asked = one.invert(render(SCENE), SOURCE, "dnaedit", steps=2, skip_steps=0)
    asked.trajectory.queries[1, 0, 0, 0] = float("nan")
    for each in (inversion, asked):
        one.save(each, tmp_path / "a.safetensors")
        with pytest.raises(InputError, match="finite"):
            one.open(tmp_path / "a.safetensors")


def test_queries_of_another_number_are_refused(one: Editor, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    one.save(one.invert(render(SCENE), SOURCE, "dnaedit", steps=3, skip_steps=1), path)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = file.metadata()
    save_file(tensors | {"queries": tensors["queries"][:1].clone()}, path, known)
    with pytest.raises(InputError, match="query"):
        one.open(path)


def test_a_model_that_moved_is_the_same(one: Editor, tmp_path: Path) -> None:
    """The digest counts, not the folder's name; another ending is refused."""
    path, backbone = tmp_path / "a.safetensors", one.backbone
    before = backbone.identity
    try:
        backbone.identity = "/here/tiny@abc"
        one.save(inverted(one, steps=2, iterations=0), path)
        backbone.identity = "/there/tiny@abc"
        one.open(path)
    finally:
        backbone.identity = before
    with pytest.raises(InputError, match="safetensors"):
        one.save(inverted(one, steps=2, iterations=0), tmp_path / "a.pt")
