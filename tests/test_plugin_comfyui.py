"""The ComfyUI nodes on a stand-in of its schema: methods and settings, edits, refusals."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

import comfy_stand_in
from comfy_stand_in import ProgressBar, Refused, given, graph, run, tensor, widgets
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.methods import registry
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS, hooks

PICTURE = render(SCENE)
INSIDE = np.zeros((PICTURE.height, PICTURE.width), bool)
INSIDE[:, :64] = True


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    return comfy_stand_in.loaded()


@pytest.fixture(scope="module")
def toybox() -> Editor:
    return Editor.load("toybox", "cpu")


@pytest.fixture(scope="module")
def known(nodes: dict[str, Any], toybox: Editor) -> dict[str, Any]:
    """The nodes, a model that is there, a picture and a mask."""
    mask = torch.from_numpy(INSIDE).float()[None]
    here = {"Model": given(toybox), "Picture": given(tensor(PICTURE)), "Mask": given(mask)}
    return nodes | here


# The schema


def test_methods_and_settings_are_those_of_the_registry(nodes: dict[str, Any]) -> None:
    """Every method, the default first; its widgets hold the method as the registry has it, with
    the declared bounds, and give it back.
    """
    method_of = sys.modules["counterflow.plugins.comfyui.methods"].method_of
    for node in ("CounterflowEdit", "CounterflowInvert"):
        (combo,) = [each for each in nodes[node].GET_SCHEMA().inputs if each.id == "method"]
        options = combo.options["options"]
        assert options[0].key == registry.DEFAULT
        assert {each.key for each in options} == set(registry.entries())
        for option in options:
            how = registry.method(option.key)
            values = {each.id: each.options["default"] for each in option.inputs}
            assert list(values) == [each.name for each in how.declared()]
            assert method_of({"method": option.key, **values}) == how
            for each, declared in zip(option.inputs, how.declared(), strict=True):
                assert each.options["tooltip"].startswith(declared.help)
                assert each.options.get("min") == getattr(declared.kind, "low", None)
                assert each.options.get("max") == getattr(declared.kind, "high", None)


def test_text_settings_are_read_as_the_command_line_reads_them(nodes: dict[str, Any]) -> None:
    method_of = sys.modules["counterflow.plugins.comfyui.methods"].method_of
    made = method_of({"method": "ftedit", "text_ratio": "0.2-0.8", "steps": 4, "solver": "ddim"})
    assert made == registry.method("ftedit", text_ratio=(0.2, 0.8), steps=4, solver="ddim")
    for wrong, word in (
        ({"method": "ftedit", "text_ratio": "0.8-0.2"}, "text_ratio"),
        ({"method": "ftedit", "iteration": 2}, "no setting iteration"),
        ({"method": "gone"}, "no method 'gone'"),
        (None, "no method is chosen"),
        ({"method": None}, "no method is chosen"),
    ):
        with pytest.raises(InputError, match=word):
            method_of(wrong)


# Edits


@pytest.mark.parametrize("method", ["paired", "flowedit"])
def test_an_edit_is_the_editors_own(known: dict[str, Any], toybox: Editor, method: str) -> None:
    steps = {"method.steps": 3, "seed": 5}
    made = run(graph(known, method, **steps), known)["3"]
    inversion = toybox.invert(PICTURE, SOURCE, method, seed=5, steps=3)
    expected = toybox.edit(inversion, TARGETS[0], seed=5)
    assert torch.equal(made.args[0], tensor(expected.image))
    (edited,) = made.args[1]
    assert torch.equal(edited.edit.latent, expected.latent)
    assert not edited.source.inversion.features.kept, "kept for nobody"
    assert hooks(toybox.backbone) == 0


def test_masks_and_batches(known: dict[str, Any], toybox: Editor) -> None:
    """Each picture of a batch is edited, under its own mask or the only one; outside, with
    `exact_background`, every pixel is the picture's; a grey mask mixes.
    """
    other = render(SCENE.but(color="blue"))
    pictures = {"Picture": given(tensor(PICTURE, other))}
    more = {"method.steps": 2, "mask": ["4", 0], "exact_background": True}
    prompt = graph(known, **more) | {"4": {"class_type": "Mask", "inputs": {}}}
    images = run(prompt, known | pictures)["3"].args[0]
    assert images.shape == (2, PICTURE.height, PICTURE.width, 3)
    for image, before in zip(images, tensor(PICTURE, other), strict=True):
        assert torch.equal(image[~INSIDE], before[~INSIDE])
        assert not torch.equal(image[INSIDE], before[INSIDE])

    grey = torch.from_numpy(INSIDE).float() * 0.5
    soft = run(prompt, known | pictures | {"Mask": given(torch.stack([grey, 2 * grey]))})
    first, second = soft["3"].args[0]
    assert torch.equal(second, images[1])
    low, high = (
        torch.minimum(images[0], tensor(PICTURE)[0]),
        torch.maximum(images[0], tensor(PICTURE)[0]),
    )
    assert (first >= low - 0.02).all() and (first <= high + 0.02).all()


def test_one_inversion_serves_several_targets(known: dict[str, Any], toybox: Editor) -> None:
    """The editor's own batch, and again from the same inversion; a report of both."""
    inverting = {"method.steps": 3, "method.iterations": 1, "seed": 2}
    words = {"source": SOURCE, "model": ["1", 0], "image": ["2", 0]}
    fresh = widgets(known, "CounterflowInvert", "ftedit") | words | inverting
    prompt = {k: v for k, v in graph(known).items() if k != "3"} | {
        "5": {"class_type": "CounterflowInvert", "inputs": fresh},
        "6": {
            "class_type": "CounterflowEditSeveral",
            "inputs": {"inversion": ["5", 0], "targets": "\n".join([*TARGETS, " "])},
        },
        "7": {"class_type": "CounterflowReport", "inputs": {"edits": ["6", 1], "check": True}},
    }
    ProgressBar.told = []
    made = run(prompt, known)
    assert ProgressBar.told == [(1, 3), (2, 3), (3, 3)] * 2
    inversion = toybox.invert(PICTURE, SOURCE, "ftedit", seed=2, steps=3, iterations=1)
    expected = toybox.edit_batch(inversion, TARGETS, seed=2)
    assert torch.equal(made["6"].args[0], tensor(*(each.image for each in expected)))

    (text,) = made["7"].args
    assert made["7"].ui.value == text
    first, *targets = text.split("\n\n")
    assert SOURCE in first and toybox.backbone.identity in first
    assert f"inverted: {inversion.forwards} forwards" in first
    for told, edit in zip(targets, expected, strict=True):
        assert told.startswith(f"ftedit,iterations=1,steps=3: {edit.target}") or "steps=3" in told
        assert f"{edit.forwards} forwards" in told
        changed = ", ".join(edit.target[a:b] for a, b in edit.changed)
        assert f"changed words: {changed}" in told
    assert "never learned by the model: look" in targets[0]


def test_a_report_may_leave_the_check_out(known: dict[str, Any]) -> None:
    prompt = graph(known, **{"method.steps": 2})
    report = {"class_type": "CounterflowReport", "inputs": {"edits": ["3", 1], "check": False}}
    text = run(prompt | {"4": report}, known)["4"].args[0]
    checked = {**report, "inputs": {"edits": ["3", 1], "check": True}}
    longer = run(prompt | {"4": checked}, known)["4"].args[0]
    assert "success" not in text and ("success" in longer or "not known" in longer)


def test_a_model_is_loaded_as_the_editor_loads_it(nodes: dict[str, Any], model: str) -> None:
    fresh = widgets(nodes, "CounterflowLoadModel", "")
    assert fresh["model"] == "toybox"
    chosen = fresh | {"model": f" {model} ", "device": "cpu", "dtype": "bfloat16", "negative": "a"}
    made = run({"1": {"class_type": "CounterflowLoadModel", "inputs": chosen}}, nodes)["1"].args[0]
    assert made.backbone.dtype == torch.bfloat16 and made.negative.prompt == "a"
    assert made.backbone.identity == Editor.load(model, "cpu").backbone.identity
    for change, word in (
        ({"model": "nowhere"}, "no model at nowhere"),
        ({"device": "tpu"}, "not in list"),
    ):
        with pytest.raises(Refused, match=word):
            run({"1": {"class_type": "CounterflowLoadModel", "inputs": chosen | change}}, nodes)
    with pytest.raises(InputError, match="LoRA"):
        absent = chosen | {"loras": "absent.safetensors=0.5"}
        run({"1": {"class_type": "CounterflowLoadModel", "inputs": absent}}, nodes)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"source": " "}, "source is empty"),
        ({"target": ""}, "target is empty"),
        ({"method": "gone"}, "no method is chosen"),
        ({"method": "kv-edit"}, "edits inside a mask"),
        ({"method.steps": 0}, "out of 1 to"),
        ({"exact_background": True}, "needs a mask"),
        ({"mask": ["none", 0]}, "nothing is inside mask"),
        ({"mask": ["small", 0]}, "draw it at the picture"),
        ({"mask": ["three", 0]}, "3 masks for 1 pictures"),
    ],
    ids=str,
)
def test_what_cannot_be_edited_is_refused_before_a_forward(
    known: dict[str, Any], toybox: Editor, change: dict[str, Any], word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(toybox.backbone.transformer, "forward", None)
    size = PICTURE.height, PICTURE.width
    masks = {"none": torch.zeros(1, 64, 64), "small": torch.ones(1, 8, 8)}
    masks["three"] = torch.ones(3, *size)
    prompt = graph(known, **change)
    prompt |= {name: {"class_type": name, "inputs": {}} for name in masks}
    with pytest.raises((InputError, Refused), match=word):
        run({"3": prompt["3"]} | prompt, known | {name: given(m) for name, m in masks.items()})


def test_several_pictures_are_not_inverted_as_one(known: dict[str, Any]) -> None:
    words = {"source": SOURCE, "model": ["1", 0], "image": ["2", 0]}
    fresh = widgets(known, "CounterflowInvert", "paired") | words
    prompt = graph(known) | {"3": {"class_type": "CounterflowInvert", "inputs": fresh}}
    with pytest.raises(InputError, match="holds 2 pictures"):
        run(prompt, known | {"Picture": given(tensor(PICTURE, PICTURE))})


def test_a_cancelled_run_stops_and_leaves_the_model_whole(
    known: dict[str, Any], toybox: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ComfyUI raises through its progress bar."""
    prompt = graph(known, "ftedit", **{"method.steps": 2, "method.iterations": 0})
    expected = run(prompt, known)["3"].args[0]
    monkeypatch.setattr(ProgressBar, "stop", KeyboardInterrupt("cancelled"))
    with pytest.raises(KeyboardInterrupt, match="cancelled"):
        run(prompt, known)
    assert hooks(toybox.backbone) == 0
    monkeypatch.setattr(ProgressBar, "stop", None)
    assert torch.equal(run(prompt, known)["3"].args[0], expected)


def test_nodes_keep_nothing(known: dict[str, Any]) -> None:
    """Neither the classes nor their modules are changed by a run."""
    ours = [n for n in sys.modules if n.startswith("counterflow.plugins.comfyui")]
    held = [known["CounterflowEdit"], *(sys.modules[name] for name in ours)]
    before = [dict(vars(each)) for each in held]
    run(graph(known, **{"method.steps": 2}), known)
    assert [dict(vars(each)) for each in held] == before
