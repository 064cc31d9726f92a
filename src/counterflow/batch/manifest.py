"""Manifests: what is to be edited, line by line, as JSONL, CSV or Parquet, or a folder of pictures.

    {"image": "cat.png", "source": "a cat on a mat", "target": "a dog on a mat"}
    {"image": "cat.png", "source": "a cat on a mat", "targets": ["a fox on a mat", "a cat"],
     "mask": "cat-mask.png", "name": "cat"}

`mask` and `name` may be left out. Paths are relative to the manifest's folder, or to another root,
and stay inside it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from counterflow.batch.items import Item
from counterflow.batch.recorded import RECIPE
from counterflow.errors import InputError
from counterflow.files import inside
from counterflow.outside import Prompt, Record, parse_json

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
LONGEST = 1 << 20
"""Bytes of a line."""
MANIFESTS = (".jsonl", ".ndjson", ".csv", ".parquet")


class _Line(Record):
    """A line; another field than these is a mistake in its name, perhaps."""

    model_config = ConfigDict(extra="forbid")

    image: Prompt
    source: Prompt
    target: Prompt | None = None
    targets: Annotated[list[Prompt], Field(min_length=1)] | None = None
    mask: Prompt | None = None
    name: Prompt | None = None


def read(path: Path, root: Path | None = None) -> Iterator[Item]:
    """The items of a manifest, in its order, read line by line.

    Raises InputError, naming the line, for what is malformed, lacks a text or leaves the root.
    Pictures are not opened: one that is missing or damaged fails its own item, later.
    """
    suffix = path.suffix.lower()
    if suffix not in MANIFESTS:
        raise InputError(
            f"{path} is no manifest: give a {', '.join(MANIFESTS)} file, a folder of pictures with "
            "--source and --target, or a PIE-Bench folder"
        )
    if not path.is_file():
        raise InputError(f"{path} is no file; check the path")
    lines = {".csv": _csv, ".parquet": _parquet}.get(suffix, _jsonl)
    home = path.absolute().parent if root is None else root
    last = 0
    try:
        for last, line in lines(path):
            try:
                items = _items(_parsed(line) if isinstance(line, bytes) else line, home)
            except InputError as error:
                raise InputError(f"{path.name}, line {last}: {error}") from None
            yield from items
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}, after line {last}: cannot be read ({why})") from None
    if not last:
        raise InputError(f"{path} holds no items; give a manifest that does")


def folder(
    path: Path, source: str, targets: Sequence[str], results: Path | None = None
) -> Iterator[Item]:
    """Every picture of a folder and of those inside it, by name, with the same prompts.

    Hidden ones are left out, and those in the folder of `results` or of another batch. Raises
    InputError where there is none, and for a name that is no text.
    """
    found, away = False, None if results is None else results.resolve()
    try:
        paths = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        batches = {each.parent for each in path.rglob(f"*/{RECIPE}")}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    for picture in paths:
        relative = picture.relative_to(path)
        if any(part.startswith(".") for part in relative.parts):
            continue
        if not batches.isdisjoint(picture.parents):
            continue
        if away is not None and picture.resolve().is_relative_to(away):
            continue
        if not str(relative).isprintable():
            raise InputError(f"{str(relative)!r:.80} is no readable name; rename the picture")
        found = True
        name = relative.with_suffix("").as_posix().replace("/", "-")
        for target in targets:
            yield Item(inside(path, str(relative)), source, target, None, name)
    if not found:
        raise InputError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")


def _jsonl(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while data := file.readline(LONGEST):
            number += 1
            if data.strip() or len(data) == LONGEST:
                yield number, data


def _parsed(data: bytes) -> Any:
    """The data of a line of JSON."""
    if len(data) == LONGEST:
        raise InputError(f"is over {LONGEST >> 20} MiB")
    try:
        return parse_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError("is not JSON, nor UTF-8 text") from None


def _csv(path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    csv.field_size_limit(LONGEST)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        names = reader.fieldnames or ()
        if len(names) == 1 and (other := next((c for c in ";\t|" if c in names[0]), None)):
            raise InputError(f"{path.name}: columns are separated by commas, not by {other!r}")
        for row in reader:
            yield reader.line_num, {name: value for name, value in row.items() if value}


def _parquet(path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError("a Parquet needs pyarrow: pip install pyarrow") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = [each for each in file.schema_arrow.names if not each.startswith("__index")]
            if unknown := [name for name in names if name not in _Line.model_fields]:
                raise InputError(f"{path.name} has {unknown[0]!r:.40}, which is no field of it")
            for batch in file.iter_batches(1024, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: value for name, value in row.items() if value is not None}
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path.name} is no Parquet that can be read ({error})") from None


def _items(data: Any, home: Path) -> list[Item]:
    if isinstance(data, dict) and None in data:  # as CSV gives what is beyond the columns
        raise InputError("has more fields than the first; quote it")
    line = _Line.of(data)
    if (line.target is None) == (line.targets is None):
        raise InputError("needs a target, or a list of targets")
    targets = [line.target] if line.target is not None else line.targets or []
    image = inside(home, line.image)
    mask = None if line.mask is None else inside(home, line.mask)
    return [Item(image, line.source, target, mask, line.name or "") for target in targets]
