"""`demo`, `models` and `doctor`."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.cli import show
from counterflow.cli.outputs import check_output

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "pillow", "numpy")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (demo, models, doctor):
        app.command()(command)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The labelled grid.")] = Path(
        "out/demo.png"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the first scene; training never uses it.")] = 7,
    model: Annotated[str, typer.Option(help="toybox, or another model folder.")] = "toybox",
    json: Annotated[bool, typer.Option("--json", help="Print figures as JSON.")] = False,
) -> None:
    """Edit scenes that the bundled model never saw, and draw a labelled grid."""
    from counterflow.backbones.registry import check_options

    check_output(output)
    check_options(model, None, None)
    with show.progress() as progress:
        from counterflow.bench.demo import run
        from counterflow.edit.editor import Editor
        from counterflow.images import save_png

        result = run(Editor.load(model), seed, progress)
    save_png(result.sheet, output, {"command": "demo", "seed": seed, "model": model})
    if json:
        show.as_json({"image": str(output), "edits": result.rows})
        return
    header = ("edit", "change", "forwards", "seconds", "background PSNR")
    show.table(header, [[row[name] for name in header] for row in result.rows])
    print(f"\n{output}")


def models(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the models that can be used here: the bundled one, and pipelines in the hub cache."""
    from counterflow.backbones.registry import ADAPTERS

    found = [_model("toybox", _toybox())] + [_model(name, path) for name, path in _cached()]
    if json:
        show.as_json({"models": found, "supported": list(ADAPTERS)})
        return
    show.table(
        ["model", "pipeline", "MB", "state"],
        [[m["model"], m["pipeline"], m["megabytes"], m["state"]] for m in found],
    )
    print(
        f"\nSupported pipelines: {', '.join(ADAPTERS)}. Give --model a folder or repository of one."
    )


def doctor(json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Check the installation: versions, devices, model folders."""
    lines: dict[str, str] = {
        "counterflow": _version("counterflow"),
        "python": platform.python_version(),
    }
    lines |= {name: _version(name) for name in PACKAGES}
    lines["devices"] = _devices()
    for name, path in [("toybox", _toybox()), *_cached()]:
        model = _model(name, path)
        lines[f"model {name}"] = f"{model['state']}, {model['pipeline']}, {model['megabytes']} MB"
    healthy = not any("missing" in line or "incomplete" in line for line in lines.values())
    if json:
        show.as_json({"healthy": healthy, "checks": lines})
    else:
        for name, line in lines.items():
            print(f"{name}: {line}")
    if not healthy:
        raise typer.Exit(3)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing: pip install it"


def _devices() -> str:
    try:
        import torch
    except ImportError:
        return "unknown without torch"
    names = [f"cpu ({torch.get_num_threads()} threads)"]
    names += [
        f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        names.append("mps")
    return ", ".join(names)


def _toybox() -> Path:
    from counterflow.backbones.registry import toybox_folder

    return toybox_folder()


def _cached() -> list[tuple[str, Path]]:
    """Pipelines that the hub's cache holds, as repository and snapshot folder."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    indices = sorted(cache.glob("models--*/snapshots/*/model_index.json"))
    return [
        (i.parents[2].name.removeprefix("models--").replace("--", "/"), i.parent) for i in indices
    ]


def _model(name: str, folder: Path) -> dict[str, Any]:
    """What a model folder holds: pipeline class, size, and whether a component lacks weights."""
    entry: dict[str, Any] = {"model": name, "folder": str(folder), "pipeline": None, "megabytes": 0}
    index = folder / "model_index.json"
    if not index.is_file():
        return entry | {"state": "missing"}
    try:
        parts = json.loads(index.read_text())
    except ValueError:
        return entry | {"state": "incomplete: its index cannot be read"}
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    networks = [
        n
        for n, v in parts.items()
        if isinstance(v, list) and v[1] and n.startswith(("transformer", "vae", "text_encoder"))
    ]
    lacking = [n for n in networks if not list((folder / n).glob("*.safetensors"))]
    return entry | {
        "pipeline": parts.get("_class_name"),
        "megabytes": round(size / 1e6),
        "state": f"incomplete: no weights of {', '.join(lacking)}" if lacking else "ready",
    }
