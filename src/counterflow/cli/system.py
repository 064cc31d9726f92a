"""`demo` and `doctor`."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from counterflow.backbones.loading import Loading
from counterflow.cli import show
from counterflow.cli.models import entry
from counterflow.cli.options import TOYBOX, Json, opens_a_model
from counterflow.cli.outputs import check_output
from counterflow.errors import ModelError

MISSING = "missing: pip install it"
PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "pillow", "numpy")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (demo, doctor):
        app.command()(command)


@opens_a_model
def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The PNG of the labelled grid.")
    ] = Path("out/demo.png"),
    seed: Annotated[
        int, typer.Option(help="Seed of the first scene, one that training never used.")
    ] = 7,
    loading: Loading = TOYBOX,
    json: Json = False,
) -> None:
    """Edit scenes that the bundled model was not trained on, and draw a labelled grid."""
    from counterflow.toybox.scene import check_fresh

    check_output(output)
    check_fresh(seed, 2)
    loading.check()
    with show.progress() as progress:
        from counterflow.bench.demo import run
        from counterflow.edit.editor import Editor
        from counterflow.images import save_png

        result = run(Editor.load(loading), seed, progress)
    save_png(result.sheet, output, {"command": "demo", "seed": seed, "model": loading.model})
    if json:
        show.as_json({"image": str(output), "edits": result.rows})
        return
    header = ("method", "edit", "change", "forwards", "seconds", "background PSNR")
    show.table(header, [[row[name] for name in header] for row in result.rows])
    show.line(f"\n{output}")


@opens_a_model
def doctor(json: Json = False, loading: Loading | None = None) -> None:
    """Check the installation: versions, devices, model folders; with --model a model, too.

    It is loaded, draws the picture that its own pipeline draws, its control sites are counted, and
    a small picture is inverted and edited.
    """
    if loading is not None:
        _examine(loading, json)
        return
    from counterflow.backbones.registry import bundled, cached

    lines = {"counterflow": _version("counterflow"), "python": platform.python_version()}
    lines |= {name: _version(name) for name in PACKAGES}
    ours = [entry(name, path) for name, path in bundled()]
    # Models in the hub's cache are shown, but do not decide whether the installation is healthy.
    healthy = all(each["state"] == "ready" for each in ours) and MISSING not in lines.values()
    lines["devices"] = _devices()
    for model in [*ours, *(entry(name, path) for name, path in cached())]:
        what = f"{model['state']}, {model['pipeline']}, {model['megabytes']} MB"
        lines[f"model {model['model']}"] = f"{what}, {model['folder']}"
    if json:
        show.as_json({"healthy": healthy, "checks": lines})
    else:
        for name, line in lines.items():
            show.line(f"{name}: {line}")
    if not healthy:
        raise ModelError("a package or the bundled model is missing; install counterflow again")


def _examine(loading: Loading, json: bool) -> None:
    """Print what is found of a model as it is found; ModelError if something does not work."""
    loading.check()
    from counterflow.edit.editor import Editor
    from counterflow.edit.examine import examine

    found = []
    for each in examine(Editor.load(loading)):
        found.append(each)
        if not json:
            show.line(f"{'ok' if each.works else 'NO'}  {each.what}: {each.said}")
    failed = [each.what for each in found if not each.works]
    if json:
        show.as_json({"healthy": not failed, "findings": [asdict(each) for each in found]})
    if failed:
        raise ModelError(f"{loading.model} does not work here: {', '.join(failed)}")


def _version(name: str) -> str:
    """The version of an installed package, or `MISSING`."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return MISSING


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
