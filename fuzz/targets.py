"""Every reader of what comes from outside, as a function of bytes, with examples of what it reads.

Each takes any bytes and returns, or raises a CounterflowError; whatever else it raises is a fault.
`tests/test_readers.py` gives them bytes and JSON of hypothesis's choice, `fuzz/run.py` those that
reach new code.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from counterflow import carriers, images
from counterflow.backbones.registry import (
    bundled_folder,
    known_words,
    parts_without_weights,
    pipeline_class,
)
from counterflow.batch import manifest
from counterflow.batch.run import RECIPE, read_recipe
from counterflow.bench import results
from counterflow.bench.sets import cases
from counterflow.bench.sets.pie import decode_mask
from counterflow.bench.tune import record as tuned
from counterflow.cli.options import pairs
from counterflow.edit import store
from counterflow.edit.job import Job, ModelChoice
from counterflow.edit.plan import Plan
from counterflow.edit.recorded import checked
from counterflow.errors import CounterflowError, plain
from counterflow.methods.registry import METHODS, method, variant
from counterflow.outside import parse_json
from counterflow.trust.calibration import Calibration


@dataclass(frozen=True)
class Target:
    """A reader, and examples of what it reads."""

    read: Callable[[bytes], object]
    examples: Callable[[], list[bytes]]
    json: bool = False
    """Whether it reads JSON: examples are then spoiled value by value, too."""

    def __call__(self, data: bytes) -> None:
        """Read any bytes; any error but a typed one of a single plain line goes on its way."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.read(data)
            except CounterflowError as error:
                assert str(error) == plain(str(error)), "one plain line"


@contextmanager
def placed(name: str, data: bytes, **others: bytes) -> Iterator[Path]:
    """The path of a file with these bytes, in a folder of its own, beside others."""
    with TemporaryDirectory() as folder:
        for path, content in {**others, name: data}.items():
            whole = Path(folder) / path.replace("__", "/")
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.write_bytes(content)
        yield Path(folder) / name.replace("__", "/")


def as_json(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def encoded(kind: str, size: tuple[int, int] = (24, 20), **options: Any) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


# Pictures, and what they say


def read_picture(data: bytes) -> None:
    with placed("a.png", data) as path:
        for read in (images.load, images.read_settings, partial(images.load_mask, size=(24, 20))):
            with_any_end(partial(read, path))


def with_any_end(read: Callable[[], object]) -> None:
    """So that one reader's refusal does not keep the next from reading."""
    try:
        read()
    except CounterflowError as error:
        assert str(error) == plain(str(error))


def pictures() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = [encoded(kind) for kind in images.FORMATS]
    made += [carriers.encode(Image.new("RGB", (24, 20)), f"a{x}", {"a": 1}) for x in carriers.FORMS]
    made += [encoded("PNG", icc_profile=b"no profile"), encoded("JPEG", exif=exif)]
    return [*made, encoded("GIF", save_all=True, append_images=[Image.new("RGB", (24, 20))])]


def read_record(data: bytes) -> None:
    """As `replay` does before it opens what the record names."""
    settings = parse_json(data.decode("utf-8", "surrogateescape"))
    told = checked(settings if isinstance(settings, dict) else {}, Path("a.png"))
    model = ModelChoice.from_record(told)
    model.check()
    if told["command"] != "generate":
        Job.from_record(told, Path("a.png"), None, model)
    if told["command"] == "edit":
        Plan.from_record(told).check_prompts(method("paired"), told["source"])


def records() -> list[bytes]:
    model = {"model": "toybox", "device": "cpu", "dtype": "float32", "identity": "x", "seed": 0}
    source = {"image": "a.png", "mask": None, "image_sha256": "0", "mask_sha256": None}
    source |= {"source": "a cat", "auto_mask": False, "exact_background": False}
    how = {"method": "ftedit", "settings": method("ftedit").to_dict()}
    edit = {"command": "edit", "target": "a dog", "turns": ["a fox"], "noise_seed": None}
    old = {"invert": {"steps": 15, "window": [1, 2]}, "edit": {"guidance": 3.0}}
    generate = {"command": "generate", "prompt": "a cat", "steps": 2, "guidance": 3.0}
    return as_json(
        model | source | how | edit | {"trust": {"sentence": ""}},
        model | source | old | edit,
        model | source | how | {"command": "reconstruct", "compensate": True},
        model | generate | {"width": 64, "height": 64, "solver": "euler"},
    )


# Inversions


def inversion(header: dict[str, Any] | bytes) -> bytes:
    tensors = {
        "latents": torch.zeros(3, 4, 2, 2),
        "picture": torch.zeros(16, 16, 3, dtype=torch.uint8),
    }
    text = json.dumps(header) if isinstance(header, dict) else header.decode("utf-8", "replace")
    return save(tensors, {"counterflow": text})


def header() -> dict[str, Any]:
    return {
        "version": 2, "model": "a@b", "prompt": "a cat", "size": [16, 16],
        "sigmas": [1.0, 0.5, 0.0], "first": 0, "method": "ftedit",
        "settings": method("ftedit", steps=2).to_dict(), "forwards": 4, "seconds": 1.5,
        "recorded": False,
    }  # fmt: skip


def read_inversion(data: bytes) -> None:
    with placed("a.safetensors", data) as path:
        store.read(path)


# Benchmarks and their results

ITEM = {
    "image_path": "a.png", "original_prompt": "a [cat]", "editing_prompt": "a [dog]",
    "editing_type_id": "1", "mask": [0, 512], "editing_instruction": "", "blended_word": "cat dog",
}  # fmt: skip
SCENE = {"kind": "cat", "seed": 3}
LIST = b"- init_img: a.png\n  source_prompt: a cat\n  target_prompts: [a dog, 'a fox']\n"


def read_mask(data: bytes) -> None:
    runs = parse_json(data.decode("utf-8", "replace"))
    for published in (True, False):
        decode_mask(runs, 9, border=published, clip=published)


def read_set(name: str, data: bytes, **others: bytes) -> None:
    with placed(name, data, **others) as path:
        for profile in ("pie-compat", "corrected"):
            cases.read(path.parent, profile=profile)  # type: ignore[arg-type]


RESULT = {
    "bench.json": {
        "cases": "toypie", "seed": 1, "limit": 2, "profile": "corrected", "model": "a@b",
        "counterflow": "0", "judge": {"kind": 0.9}, "notes": ["a"], "device": None, "dtype": None,
        "uneven": False,
    },
    "m__method.json": {
        "name": "m", "title": "M", "paper": "P", "method": "ftedit", "settings": {"steps": 2},
        "compensated": None,
    },
    "m__c.json": {
        "case": "c", "category": 1, "source": "a", "target": "b", "image": "c.png",
        "figures": {"PSNR": "inf", "success": 1.0, "forwards": 3}, "error": None,
    },
}  # fmt: skip


def read_results(name: str, data: bytes) -> None:
    others = {path: json.dumps(value).encode() for path, value in RESULT.items() if path != name}
    with placed(name, data, **others) as path:
        results.read(path.parents[name.count("__")])


def read_tuned(data: bytes) -> None:
    with placed("tuned.json", data) as path:
        for name, settings in tuned.read(path, 10).items():
            variant(name, settings)


# Batches

LINE = {"image": "a.png", "source": "a cat", "target": "a dog", "mask": "m.png", "name": "cat"}
LINES = {"image": "a.png", "source": "a cat", "targets": ["a dog", "a fox"]}


def read_manifest(suffix: str, data: bytes) -> None:
    with placed(f"m.{suffix}", data) as path:
        list(manifest.read(path))


def parquets() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([LINE]), buffer)
    return [buffer.getvalue()]


def read_batch(data: bytes) -> None:
    with placed(RECIPE, data) as path:
        read_recipe(path.parent)


def recipes() -> list[bytes]:
    told = {
        "method": "ftedit",
        "settings": method("ftedit").to_dict(),
        "seed": 0,
        "model": "toybox",
    }
    told |= {"exact_background": False, "check": True, "threads": None, "identity": "a@b"}
    return as_json(told | {"device": "cpu", "dtype": "float32", "weights": None, "store": None})


# Models


def read_index(data: bytes) -> None:
    with placed("model_index.json", data) as path:
        pipeline_class(path.parent)
        parts_without_weights(path.parent)


def read_words(data: bytes) -> None:
    with placed("words.json", data) as path:
        known_words(path.parent)


@cache
def index() -> bytes:
    return (bundled_folder("toybox") / "model_index.json").read_bytes()


def read_calibration(data: bytes) -> None:
    with placed("c.json", data) as path:
        Calibration.read(path)


def calibrations() -> list[bytes]:
    scale = {"names": ["a"], "centre": [0.0], "spread": [1.0]}
    places = {"values": [0.0] * 51}
    logistic = {"scale": scale, "weights": [1.0], "bias": 0.0}
    picture = {"scale": scale, "inverse": [[1.0]], "places": places}
    told = {"version": 2, "model": "a", "made": "b", "usual": {"a": places}, "picture": picture}
    return as_json(told | {"success": logistic, "preserved": None, "method": "", "size": [1, 1]})


def read_setting(data: bytes) -> None:
    """A method and a setting of it, as `--set` gives it."""
    name, _, text = data.decode("utf-8", "surrogateescape").partition(":")
    variant(name if name in METHODS else "ftedit", pairs([text]))


def settings() -> list[bytes]:
    made = []
    for name in METHODS:
        how = method(name)
        made += [
            f"{name}:{each.name}={each.kind.write(getattr(how, each.name))}".encode()
            for each in how.declared()
        ]
    return made


def result(name: str) -> Target:
    return Target(partial(read_results, name), lambda: as_json(RESULT[name]), json=True)


TARGETS: dict[str, Target] = {
    "pictures": Target(read_picture, pictures),
    "records": Target(read_record, records, json=True),
    "inversions": Target(read_inversion, lambda: [inversion(header())]),
    "inversion-headers": Target(
        lambda data: read_inversion(inversion(data)), lambda: as_json(header()), json=True
    ),
    "masks": Target(read_mask, lambda: as_json([0, 5, 9, 2], [], [72, 9]), json=True),
    "mappings": Target(
        partial(read_set, "mapping_file.json"), lambda: as_json({"one": ITEM}), json=True
    ),
    "scenes": Target(
        partial(read_set, "scenes.json", **{"mapping_file.json": as_json({"one": ITEM})[0]}),
        lambda: as_json({"scenes": {"one": {"source": SCENE, "target": SCENE}}}),
        json=True,
    ),
    "yaml": Target(partial(read_set, "list.yaml"), lambda: [LIST]),
    "results": result("bench.json"),
    "result-methods": result("m__method.json"),
    "result-cases": result("m__c.json"),
    "tuned": Target(
        read_tuned,
        lambda: as_json({"methods": {"ftedit": [{"settings": {"steps": 2}, "forwards": 4}]}}),
        json=True,
    ),
    "manifests": Target(partial(read_manifest, "jsonl"), lambda: as_json(LINE, LINES), json=True),
    "manifest-tables": Target(
        partial(read_manifest, "csv"), lambda: [b'image,source,target\na.png,a cat,"a, dog"\n']
    ),
    "batches": Target(read_batch, recipes, json=True),
    "model-indexes": Target(read_index, lambda: [index()], json=True),
    "model-words": Target(read_words, lambda: as_json(["a"]), json=True),
    "calibrations": Target(read_calibration, calibrations, json=True),
    "settings": Target(read_setting, settings),
}
"""By name."""
if find_spec("pyarrow"):
    TARGETS["manifest-parquets"] = Target(partial(read_manifest, "parquet"), parquets)
