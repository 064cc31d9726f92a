"""`models`: those on this machine, and the families that people have, or one of these whole."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from counterflow.backbones.families import ADAPTERS, FAMILIES, Checkpoint, Family, told
from counterflow.backbones.sizes import ROWS, SIDES, Size
from counterflow.cli import completing, show
from counterflow.cli.options import Json
from counterflow.errors import InputError, ModelError

WIDTH = 96
HOW = (
    "GB, computed from the published configuration, not measured. bf16: all weights, text encoders "
    "and autoencoder included; 8 bits: of the transformer alone, with --cast or --quantize int8. "
    f"+512 and +1024: what a square picture adds, the larger of decoding it and of a forward of "
    f"{ROWS} rows; --tiles lessens the first, --rows the second. Kept features come on top: "
    "`counterflow models NAME`. --offload or --free-text keeps away what does not run."
)
FEW = (
    "steps: distilled for about so many, without guidance. Set guidance to 1; inversions are "
    "rough there, so these methods, which invert nothing, make more sense (reasoned, not "
    "measured): "
)


def register(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(models)


def models(
    name: Annotated[
        str | None,
        typer.Argument(help="A family, to see all of it.", autocompletion=completing.families),
    ] = None,
    json: Json = False,
) -> None:
    """List the models on this machine and those that people have, by family; or one family whole.

    What a family supports, its memory, hub ids with their licences. Nothing is fetched.
    """
    if name is not None and name not in FAMILIES:
        raise InputError(f"no family {name!r:.80}; there are {', '.join(FAMILIES)}")
    if name is not None:
        show.as_json(_facts(name)) if json else _whole(name)
        return
    from counterflow.backbones.registry import bundled, cached

    entries = [entry(name, path) for name, path in [*bundled(), *cached()]]
    if json:
        families = {name: _facts(name) for name in FAMILIES}
        show.as_json({"models": entries, "supported": list(ADAPTERS), "families": families})
        return
    show.table(
        ["model", "pipeline", "MB", "state"],
        [[m["model"], m["pipeline"], m["megabytes"], m["state"]] for m in entries],
    )
    show.line("\nSupported families. Give --model a folder or a repository of one.")
    show.line(f"{textwrap.fill(HOW, WIDTH)}\n{_few()}")
    for name in FAMILIES:
        _brief(name)


def _few() -> str:
    """What to know of models of few steps."""
    from counterflow.methods.support import without_inversion

    return textwrap.fill(f"{FEW}{', '.join(without_inversion())}.", WIDTH)


def _brief(name: str) -> None:
    """A family with its models, in a few lines."""
    from counterflow.methods.support import refusals

    family = FAMILIES[name]
    said = (
        f"{name}: {family.title}. Guidance: {', '.join(family.guidance)}. "
        f"Refuses: {', '.join(refusals(name)) or 'nothing'}. Licence: {_licences(family)}."
    )
    show.line("\n" + _filled(said))
    _table(family)


def _licences(family: Family) -> str:
    """Its one licence, or each with its models."""
    by: dict[str, list[str]] = {}
    for each in family.checkpoints:
        by.setdefault(each.licence, []).append(each.repository.rpartition("/")[2])
    if len(by) == 1:
        return next(iter(by))
    return "; ".join(f"{licence} ({', '.join(names)})" for licence, names in by.items())


def _table(family: Family) -> None:
    """Memory of each of a family's models."""
    header = ["  model", "steps", " bf16", "8 bits", *(f" +{side}" for side in SIDES)]
    show.table(header, [_row(each) for each in family.checkpoints])


def _row(model: Checkpoint) -> list[Any]:
    size = model.size
    gigabytes = [size.weights(), size.weights(True), *map(size.picture, SIDES)]
    return [f"  {model.repository}", model.few_steps or "", *map(_rounded, gigabytes)]


def _rounded(gigabytes: float | None) -> str:
    return f"{'n/a' if gigabytes is None else format(gigabytes, '.1f'):>5}"


def _facts(name: str) -> dict[str, Any]:
    """All that is known of a family, JSON-ready."""
    from counterflow.backbones.unsupported import beside
    from counterflow.methods.support import advice, refusals

    family = FAMILIES[name]
    refused = refusals(name)
    return asdict(family) | {
        "name": name,
        "controls": {
            "text": "modulated text" not in family.lacks,
            "attention": True,
            "words found in the picture": "joint attention" not in family.lacks,
        },
        "refuses": refused,
        "not_opened": beside(name),
        "checkpoints": [
            asdict(each)
            | {"memory": _memory(each), "few_steps_advice": advice(told(each.few_steps))}
            for each in family.checkpoints
        ],
    }


def _memory(model: Checkpoint) -> dict[str, Any]:
    """GB by the published configuration."""
    size = model.size
    pictures = {
        str(side): {
            "adds": _number(size.picture(side)),
            "decoding": _number(size.decoding(side)),
            "forward_of_a_row": _number(size.forward(side)),
            "kept_of_a_step_at_most": _number(size.kept(side)),
        }
        for side in SIDES
    }
    return {
        "computed": "in GB from the published configuration, not measured",
        "bfloat16": _number(size.weights()),
        "eight_bits": _number(size.weights(cast=True)),
        "pictures": pictures,
    }


def _number(gigabytes: float | None) -> float | None:
    return None if gigabytes is None else round(gigabytes, 2)


def _whole(name: str) -> None:
    """All of a family, line by line."""
    family, facts = FAMILIES[name], _facts(name)
    show.line(f"{name}: {family.title}, {family.pipeline}\n")
    show.line(f"guidance: {', '.join(family.guidance)}")
    show.line(f"controls: {', '.join(each for each, has in facts['controls'].items() if has)}")
    show.line(f"lacks: {', '.join(family.lacks) or 'nothing'}")
    show.line(f"methods: all{' but those refused below' if facts['refuses'] else ''}")
    show.line(textwrap.fill(f"licence: {_licences(family)}", WIDTH, subsequent_indent="  "))
    for heading, what in (("Refused methods", "refuses"), ("Not opened", "not_opened")):
        if reasons := facts[what]:
            show.line(f"\n{heading}")
            show.line("\n".join(_filled(f"  {each}: {why}") for each, why in reasons.items()))
    show.line()
    _table(family)
    show.line("\nGB kept of the source for each step at most (--keep bounds it); a row's forward")
    rows: dict[Size, str] = {}
    for each in family.checkpoints:
        rows.setdefault(each.size, each.repository)
    show.table(
        ["  model", *(f"{what} {side}" for side in SIDES for what in ("kept", "forward"))],
        [
            [f"  {repository}", *(gb(side) for side in SIDES for gb in (size.kept, size.forward))]
            for size, repository in rows.items()
        ],
    )
    show.line(f"\n{textwrap.fill(HOW, WIDTH)}")
    if any(each.few_steps for each in family.checkpoints):
        show.line(_few())


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def entry(name: str, folder: Path) -> dict[str, Any]:
    """The entry of a model folder: pipeline class, size, and whether it can be used."""
    from counterflow.backbones.registry import parts_without_weights, pipeline_class
    from counterflow.backbones.unsupported import why_not

    facts = {"model": name, "folder": str(folder), "pipeline": None, "megabytes": 0}
    try:
        facts["pipeline"] = kind = pipeline_class(folder)
    except ModelError as error:
        return facts | {"state": f"unusable: {error}"}
    facts["megabytes"] = round(
        sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
    )
    if kind not in ADAPTERS:
        why = why_not(kind)
        return facts | {"state": f"unsupported: {why}" if why else "unsupported"}
    missing = parts_without_weights(folder)
    return facts | {"state": f"incomplete: no {', '.join(missing)}" if missing else "ready"}
