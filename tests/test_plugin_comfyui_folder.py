"""The folder that ComfyUI loads: what it says where something is missing, its fields, its examples,
and a run by ComfyUI itself where a copy is named.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import comfy_stand_in
import counterflow
from comfy_stand_in import FOLDER, entry, given, graph, run, tensor, widgets
from counterflow.edit.editor import Editor
from counterflow.errors import InputError
from counterflow.plugins import comfyui
from counterflow.toybox.render import render
from tools import SCENE, SOURCE, TARGETS

PICTURE = render(SCENE)
COMFYUI = "COUNTERFLOW_COMFYUI"
"""The variable that names a folder with ComfyUI, to run the nodes in it."""


@pytest.fixture(scope="module")
def nodes() -> dict[str, Any]:
    return comfy_stand_in.loaded()


def fresh(file: str) -> Any:
    """A file of the nodes, run again."""
    spec = importlib.util.spec_from_file_location("again", Path(comfyui.__path__[0]) / file)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


class Absent:
    """A finder that finds no Counterflow."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "counterflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_what_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counterflow without ComfyUI, with too old a ComfyUI, and ComfyUI without Counterflow."""
    monkeypatch.setitem(sys.modules, "comfy_api.latest", None)
    with pytest.raises(InputError, match="run inside ComfyUI"):
        fresh("schema.py")
    old = comfy_stand_in.modules()
    del vars(vars(old["comfy_api.latest"])["io"])["DynamicCombo"]
    for name, module in old.items():
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(InputError, match="need ComfyUI 0"):
        fresh("schema.py")
    for name in [each for each in sys.modules if each.partition(".")[0] == "counterflow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(ImportError, match="need the package counterflow"):
        entry(FOLDER)


def test_the_registry_finds_its_fields() -> None:
    data = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))
    assert data["project"]["version"] == counterflow.__version__
    assert data["project"]["dependencies"] == ["counterflow>=0.1"]
    assert data["project"]["license"] == {"text": "Apache-2.0"}
    assert set(data["tool"]["comfy"]) >= {"PublisherId", "DisplayName", "requires-comfyui"}


def api(workflow: dict[str, Any], nodes: dict[str, Any]) -> dict[str, Any]:
    """A workflow as its page saves it, in the form in which it is run."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        wired = {i["name"]: links[i["link"]] for i in node["inputs"] if i["link"] is not None}
        held = dict(node["widgets_values_named"])
        if node["type"] in nodes:
            live = comfy_stand_in.live(nodes[node["type"]].GET_SCHEMA().inputs, held)
            order = [name for name, each in live if each.widget or "options" in each.options]
            assert list(held) == order and list(held.values()) == node["widgets_values"]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": held | wired}
    return prompt


@pytest.mark.parametrize("name", ["edit", "several_targets"])
def test_the_example_workflows_run(nodes: dict[str, Any], name: str) -> None:
    """Their widgets are the nodes' own, and the edits are made."""
    workflow = json.loads((FOLDER / "example_workflows" / f"{name}.json").read_text("utf-8"))
    theirs = {"SaveImage", "PreviewAny"}
    prompt = {n: e for n, e in api(workflow, nodes).items() if e["class_type"] not in theirs}
    made = run(prompt, nodes | {"LoadImage": given(tensor(PICTURE))})
    reports = [n for n, each in prompt.items() if each["class_type"] == "CounterflowReport"]
    assert all("forwards" in made[n].args[0] for n in reports) and reports


@pytest.mark.skipif(COMFYUI not in os.environ, reason=f"{COMFYUI} names no folder with ComfyUI")
def test_comfyui_itself_runs_a_workflow(nodes: dict[str, Any], tmp_path: Path) -> None:
    """Its loader, its checks, its executor: the editor's picture, to the bit, and a report."""
    (tmp_path / "input").mkdir()
    PICTURE.save(tmp_path / "input" / "picture.png")
    loader = widgets(nodes, "CounterflowLoadModel", "") | {"device": "cpu"}
    prompt = graph(nodes, "flowedit", seed=5, **{"method.steps": 3}) | {
        "1": {"class_type": "CounterflowLoadModel", "inputs": loader},
        "2": {"class_type": "LoadImage", "inputs": {"image": "picture.png"}},
        "4": {
            "class_type": "SaveImage",
            "inputs": {"images": ["3", 0], "filename_prefix": "edit"},
        },
        "5": {"class_type": "CounterflowReport", "inputs": {"edits": ["3", 1], "check": True}},
    }
    (tmp_path / "prompt.json").write_text(json.dumps(prompt))
    script = Path(__file__).with_name("comfyui_itself.py")
    command = [sys.executable, str(script), os.environ[COMFYUI], str(FOLDER), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = json.loads((tmp_path / "outputs.json").read_text())
    toybox = Editor.load("toybox", "cpu")
    inversion = toybox.invert(PICTURE, SOURCE, "flowedit", seed=5, steps=3)
    expected = toybox.edit(inversion, TARGETS[0], seed=5)
    (saved,) = outputs["4"]["images"]
    image = Image.open(tmp_path / "output" / saved["filename"])
    assert np.array_equal(np.asarray(image), np.asarray(expected.image))
    assert f"{expected.forwards} forwards" in outputs["5"]["text"][0]
