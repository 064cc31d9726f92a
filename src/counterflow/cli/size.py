"""`bench size`: what an edit takes at a released model's size."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from counterflow.backbones.loading import DTYPES
from counterflow.cli import show
from counterflow.cli.options import Json
from counterflow.errors import InputError

NAMES = ("sd3.5-medium", "flux.1-dev")
COLUMNS = ("size", "forwards", "s inverting", "s editing", "peak GB", "weights GB", "kept MB")


def size(
    model: Annotated[str, typer.Argument(help="sd3.5-medium or flux.1-dev.")],
    sizes: Annotated[
        list[str] | None,
        typer.Option("--size", help="Pixels, as 512x512; may be repeated. Default that, 512x384."),
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="Blocks of the transformer, as 24, or 4,8 for FLUX.1.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the weights.")] = "bfloat16",
    json: Json = False,
) -> None:
    """Invert and edit a picture by a model of a released one's size, whose weights are random.

    FTEdit in two steps, with its text control and the source's V in both. It needs no download.
    """
    if model not in NAMES:
        raise InputError(f"the model is {' or '.join(NAMES)}, not {model!r:.80}")
    if dtype not in DTYPES:
        raise InputError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r:.80}")
    wanted = [_numbers(each, "x", 2, "--size") for each in sizes or ("512x512", "512x384")]
    for width, height in wanted:
        if width % 16 or height % 16 or not 64 <= min(width, height) <= max(width, height) <= 2048:
            raise InputError(f"--size is of multiples of 16 from 64 to 2048, not {width}x{height}")
    count = 1 if model == NAMES[0] else 2
    some = None if blocks is None else _numbers(blocks, ",", count, "--blocks")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    from counterflow.bench.size import measure, opened

    with show.progress() as progress:
        editor = opened(model, some, dtype)
        rows = []
        for n, each in enumerate(wanted):
            rows.append(measure(editor, (each[0], each[1])))
            progress("measuring", n + 1, len(wanted))
    if json:
        show.as_json({"model": model, "blocks": blocks, "dtype": dtype, "sizes": rows})
        return
    header = (
        "size",
        "forwards",
        "seconds inverting",
        "editing",
        "peak GB",
        "weights GB",
        "kept MB",
    )
    show.table(header, [_row(each) for each in rows])


def _row(found: dict[str, Any]) -> list[Any]:
    forwards, seconds = found["forwards"], found["seconds"]
    memory = [found[name] / 1e9 if name in found else None for name in ("peak", "weights")]
    cells = [found["size"], f"{forwards['invert']}+{forwards['edit']}"]
    return [*cells, seconds["invert"], seconds["edit"], *memory, found["kept"] / 1e6]


def _numbers(text: str, between: str, count: int, option: str) -> tuple[int, ...]:
    parts = text.split(between)
    if len(parts) != count or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(
            f"{option} is {count} whole numbers with {between!r} between, not {text!r:.40}"
        )
    return tuple(map(int, parts))
