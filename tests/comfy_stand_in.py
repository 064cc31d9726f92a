"""A small stand-in for the part of ComfyUI's V3 schema that our nodes use, and a graph that runs.

Every input and output takes the arguments that ComfyUI's own takes and no others, so that a wrong
name fails here too. `run` does what ComfyUI does with a workflow in its API format: defaults are
the client's affair, so every required input must be there; bounds and options are checked; inputs
of the chosen option of a dynamic combo come as one mapping; nodes are called as classes.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from tools import SOURCE, TARGETS

FOLDER = Path(__file__).parents[1] / "plugins" / "comfyui"
"""What ComfyUI loads."""

COMMON = {"display_name", "optional", "tooltip", "lazy", "extra_dict", "raw_link", "advanced"}
WIDGET = COMMON | {"default", "socketless", "force_input"}
BOUNDS = {"min", "max", "step", "control_after_generate", "display_mode"}


def kind(io_type: str, allowed: set[str], *positional: str) -> Any:
    """A type with its `Input`, which refuses unknown arguments, and its `Output`."""

    class Input:
        type, widget = io_type, "default" in allowed

        def __init__(self, id: str, *args: Any, **options: Any) -> None:
            given = dict(zip(positional, args, strict=False)) | options
            if unknown := set(given) - allowed - set(positional):
                raise TypeError(f"{io_type}.Input takes no {', '.join(sorted(unknown))}")
            self.id, self.options = id, given

        @property
        def optional(self) -> bool:
            return bool(self.options.get("optional", False))

    class Output:
        type = io_type

        def __init__(
            self, id: str | None = None, display_name: str | None = None, tooltip: str | None = None
        ) -> None:
            self.id, self.display_name = id, display_name

    return SimpleNamespace(io_type=io_type, Input=Input, Output=Output)


@dataclass
class Option:
    key: str
    inputs: list[Any]


@dataclass
class Schema:
    node_id: str
    display_name: str
    category: str
    inputs: list[Any]
    outputs: list[Any]
    description: str = ""
    is_output_node: bool = False
    hidden: list[Any] = field(default_factory=list)


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui


class ComfyNode:
    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema: Schema = cls.define_schema()  # type: ignore[attr-defined]
        for ids in ([i.id for i in schema.inputs], [o.id for o in schema.outputs]):
            assert len(set(ids)) == len(ids), f"{schema.node_id}: {ids}"
        return schema


class ComfyExtension(ABC):
    @abstractmethod
    async def get_node_list(self) -> list[Any]:
        """The nodes."""


class PreviewText:
    def __init__(self, value: str) -> None:
        self.value = value


class ProgressBar:
    """Tells what it was told; `stop` is ComfyUI's cancelled run."""

    told: list[tuple[int, int]] = []
    stop: BaseException | None = None

    def __init__(self, total: int, node_id: str | None = None) -> None:
        self.total = total

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        self.told.append((value, total or self.total))
        if self.stop is not None:
            raise self.stop


def schema_module() -> ModuleType:
    """`comfy_api.latest.io`."""
    io = ModuleType("comfy_api.latest.io")
    dynamic = kind("COMFY_DYNAMICCOMBO_V3", COMMON | {"options"}, "options")
    dynamic.Option = Option
    vars(io).update(
        Schema=Schema,
        ComfyNode=ComfyNode,
        NodeOutput=NodeOutput,
        Custom=lambda name: kind(name, COMMON),
        DynamicCombo=dynamic,
        Image=kind("IMAGE", COMMON),
        Mask=kind("MASK", COMMON),
        Boolean=kind("BOOLEAN", WIDGET | {"label_on", "label_off"}),
        Int=kind("INT", WIDGET | BOUNDS),
        Float=kind("FLOAT", WIDGET | BOUNDS - {"control_after_generate"} | {"round"}),
        String=kind("STRING", WIDGET | {"multiline", "placeholder", "dynamic_prompts"}),
        Combo=kind("COMBO", WIDGET | {"options", "control_after_generate"}, "options"),
    )
    return io


def modules() -> dict[str, ModuleType]:
    """ComfyUI's modules, by name."""
    made = {n: ModuleType(n) for n in ("comfy_api", "comfy_api.latest", "comfy", "comfy.utils")}
    latest = made["comfy_api.latest"]
    vars(latest).update(io=schema_module(), ComfyExtension=ComfyExtension)
    vars(latest).update(ui=SimpleNamespace(PreviewText=PreviewText))
    vars(made["comfy.utils"])["ProgressBar"] = ProgressBar
    return made


# Running a workflow


class Refused(Exception):
    """What ComfyUI says before anything runs."""


def nodes_of(extension: Any) -> dict[str, Any]:
    """The nodes of what an entry point gave, by id."""
    assert isinstance(extension, ComfyExtension)
    nodes = asyncio.run(extension.get_node_list())
    return {node.GET_SCHEMA().node_id: node for node in nodes}


def run(prompt: dict[str, Any], nodes: dict[str, Any]) -> dict[str, NodeOutput]:
    """Every node's output, by its number; nodes before are run first, each once."""
    made: dict[str, NodeOutput] = {}

    def value(given: Any) -> Any:
        if not isinstance(given, list):
            return given
        return output(given[0]).args[given[1]]

    def output(number: str) -> NodeOutput:
        if number not in made:
            node = nodes[prompt[number]["class_type"]]
            given = prompt[number]["inputs"]
            checked(node, given)
            named = {name: value(each) for name, each in given.items()}
            made[number] = node.execute(**nested(node.GET_SCHEMA(), named))
        return made[number]

    for number in prompt:
        output(number)
    return made


def live(inputs: list[Any], given: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Inputs with their full names, those of a chosen option under its combo's name."""
    for each in inputs:
        name = prefix + each.id
        yield name, each
        for option in each.options.get("options", ()):
            if isinstance(option, Option) and option.key == given.get(name):
                yield from live(option.inputs, given, f"{name}.")


def checked(node: Any, given: dict[str, Any]) -> None:
    """Raise `Refused` as ComfyUI would."""
    for name, each in live(node.GET_SCHEMA().inputs, given):
        options = each.options
        if name not in given:
            if not each.optional:
                raise Refused(f"Required input is missing: {name}")
            continue
        value = given[name]
        if isinstance(value, list):
            continue
        low, high = options.get("min"), options.get("max")
        if low is not None and not low <= value <= high:
            raise Refused(f"Value {value} out of {low} to {high}: {name}")
        if each.type == "COMBO" and value not in options["options"]:
            raise Refused(f"Value not in list: {name}")
    if hasattr(node, "validate_inputs"):
        answer = node.validate_inputs(given["model"])
        if answer is not True:
            raise Refused(answer)


def nested(schema: Schema, given: dict[str, Any]) -> dict[str, Any]:
    """As `execute` gets them: what stands under a dynamic combo in one mapping."""
    known = dict(live(schema.inputs, given))
    plain = {n: v for n, v in given.items() if n in known and "." not in n}
    for name, each in known.items():
        if each.type.startswith("COMFY_DYNAMICCOMBO") and name in plain:
            inner = {n.removeprefix(f"{name}."): v for n, v in given.items() if "." in n}
            plain[name] = {name: plain[name], **inner}
            if not any(n.startswith(f"{name}.") for n in known):
                del plain[name]  # no such option: ComfyUI leaves it out
    return plain


# What tests put on the wires


def tensor(*pictures: Image.Image) -> torch.Tensor:
    """As ComfyUI holds pictures."""
    return torch.stack([torch.from_numpy(np.asarray(each, np.float32) / 255) for each in pictures])


class Given:
    """A node that gives what a test made."""

    value: Any = None

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        return Schema("Given", "", "", [], [])

    @classmethod
    def execute(cls) -> Any:
        return NodeOutput(cls.value)


def given(value: Any) -> Any:
    return type("Given", (Given,), {"value": value})


def widgets(nodes: dict[str, Any], node: str, method: str) -> dict[str, Any]:
    """What a fresh node holds, with this method chosen: its widgets' own values."""
    inputs = nodes[node].GET_SCHEMA().inputs
    shown = live(inputs, {"method": method})
    values = {name: each.options["default"] for name, each in shown if "default" in each.options}
    return values | ({"method": method} if any(i.id == "method" for i in inputs) else {})


def graph(nodes: dict[str, Any], method: str = "paired", **more: Any) -> dict[str, Any]:
    """A picture, a model and an edit, as an API workflow."""
    words = {"source": SOURCE, "target": TARGETS[0], "model": ["1", 0], "image": ["2", 0]}
    return {
        "1": {"class_type": "Model", "inputs": {}},
        "2": {"class_type": "Picture", "inputs": {}},
        "3": {
            "class_type": "CounterflowEdit",
            "inputs": widgets(nodes, "CounterflowEdit", method) | words | more,
        },
    }


def entry(folder: Path) -> Any:
    """The folder as ComfyUI imports it."""
    spec = importlib.util.spec_from_file_location("custom_nodes_x", folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def loaded() -> dict[str, Any]:
    """Our nodes, as ComfyUI loads them from their folder, once a process."""
    theirs = modules()
    sys.modules.update(theirs)
    before = {name: dict(vars(module)) for name, module in theirs.items()}
    found = nodes_of(asyncio.run(entry(FOLDER).comfy_entrypoint()))
    assert {name: vars(module) for name, module in theirs.items()} == before, "patched"
    return found
