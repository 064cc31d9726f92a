"""What comes from outside is checked here, once: files of others, and the records in them.

A file is a regular file of bounded size; its JSON or YAML is bounded in depth. A record is a class
of declared fields with types and bounds, whose texts have no half characters:

    class Step(Record):
        prompt: Prompt
        seed: Seed = 0

    Step.of({"prompt": "a cat", "seed": -1})  # InputError: seed must be …, not -1

Nothing is converted on the way: "3" is no number, and neither is true. Fields that are not declared
are ignored. Whatever is wrong is an InputError of one line.
"""

from __future__ import annotations

import json
import re
import reprlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from counterflow.errors import InputError, why
from counterflow.prompts import is_text

R = TypeVar("R", bound="Record")

MOST = 64 << 20
"""Bytes of a file, unless a reader says otherwise."""
DEPTH = 32
"""Most lists and dicts inside each other."""
EVENTS = 400_000
"""Most values in YAML, the beginning and the end of each list and dict counting as one, too."""
LONGEST = 100_000
"""Most characters of one value in YAML: a longer number would take minutes to convert."""


def _says_something(text: str) -> str:
    if not is_text(text) or not text.strip():
        raise ValueError("Input should say something")
    return text


def _names_a_path(text: str) -> str:
    if not is_text(text) or not text or "\0" in text:
        raise ValueError("Input should be a path")
    return text


PathName = Annotated[str, AfterValidator(_names_a_path)]
Prompt = Annotated[str, AfterValidator(_says_something)]
"""A text that is not blank."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What generators of random numbers take."""
Count = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=65_536)]
"""Pixels."""
Size = Annotated[list[Side], Field(min_length=2, max_length=2)]
"""Width and height."""


class Record(BaseModel):
    """Base of what is read from outside: its annotated fields say what, and within which bounds."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="ignore")

    @classmethod
    def of(cls: type[R], data: Any) -> R:
        """The record in data as JSON or YAML gives it; InputError naming the first wrong field."""
        if not isinstance(data, dict):
            raise InputError(f"must be an object, not {reprlib.repr(data)}")
        try:
            for part in _parts(data):
                if isinstance(part, str) and not is_text(part):
                    raise InputError(f"has half a character in {part!r:.60}")
            return cls.model_validate(data)
        except ValidationError as error:
            raise InputError(_first(error)) from None
        except ValueError as error:  # too deep
            raise InputError(f"has {error}") from None

    @classmethod
    def read(cls: type[R], path: Path, remedy: str) -> R:
        """The record in a JSON file; InputError names the file and says the remedy."""
        try:
            return cls.of(read_json(path))
        except InputError as error:
            said = str(error).removeprefix(f"{path} ")
            raise InputError(f"{path}: {said}; {remedy}") from None


def check_file(path: Path) -> None:
    """Raise InputError for what is no file: before opening, since a pipe would hang."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path} cannot be read ({why(error)}); check the path") from None
    raise InputError(f"{path} is no file; check the path")


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """The content of a file. Raises InputError as `check_file` does, and for over `most` bytes."""
    check_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({why(error)}); check the path") from None
    if len(data) > most:
        raise InputError(f"{path} is over {most >> 20} MiB; split it")
    return data


def read_text(path: Path, most: int = MOST) -> str:
    """The UTF-8 text of a file; InputError as `read_bytes`, and for bytes that are no text."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as such") from None


def read_json(path: Path, most: int = MOST) -> Any:
    """The data of a JSON file; InputError as `read_text` and `parse_json`."""
    text = read_text(path, most)
    try:
        return parse_json(text)
    except InputError as error:
        raise InputError(f"{path} {error}; write it again") from None


def read_dict(path: Path, most: int = MOST) -> dict[str, Any]:
    """The dict of a JSON file; InputError as `read_json`, and for anything else."""
    data = read_json(path, most)
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold a dict, not a {type(data).__name__}")
    return data


def parse_json(text: str) -> Any:
    """The data of strict JSON (NaN is none); InputError for other text, and beyond `DEPTH`."""
    try:
        return _bounded(json.loads(text, parse_constant=_no_number))
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({error})") from None


def read_yaml(path: Path, most: int) -> Any:
    """The data of a YAML file; InputError as `read_text` and `parse_yaml`."""
    text = read_text(path, most)
    try:
        return parse_yaml(text)
    except InputError as error:
        raise InputError(f"{path} {error}") from None


def parse_yaml(text: str) -> Any:
    """The data of YAML without aliases, of which a few can stand for gigabytes.

    InputError for other text, and beyond `DEPTH`, `EVENTS` and `LONGEST`.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            if count > EVENTS:
                raise InputError(f"has over {EVENTS} values; split it")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH or isinstance(event, yaml.AliasEvent):
                raise InputError("nests deeply or has *aliases; write it out")
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > LONGEST:
                raise InputError(f"has a value of over {LONGEST} characters; shorten it")
        return _bounded(yaml.load(text, Loader=loader))
    except InputError:
        raise
    except Exception as error:  # beside YAMLError whatever a hostile tag or number provokes
        raise InputError(f"is not YAML ({error}); correct it") from None


def _bounded(data: Any) -> Any:
    """The same data; ValueError beyond `DEPTH`."""
    for _ in _parts(data):
        pass
    return data


def _parts(data: Any) -> Iterator[Any]:
    """All that is in lists and dicts, the keys too; ValueError beyond `DEPTH`."""
    level, depth = [data] if isinstance(data, dict | list) else [], 0
    while level:
        if depth == DEPTH:
            raise ValueError(f"over {DEPTH} lists and objects inside each other")
        inner: list[Any] = []
        for each in level:
            parts = [*each, *each.values()] if isinstance(each, dict) else each
            yield from parts
            inner += [part for part in parts if isinstance(part, dict | list)]
        level, depth = inner, depth + 1


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, as "seed must be greater than or equal to 0, not -1"."""
    what = error.errors(include_url=False)[0]
    place = "".join(f"[{n}]" if isinstance(n, int) else f".{n}" for n in what["loc"]).lstrip(".")
    if what["type"] == "missing":
        return f"lacks {place}"
    if what["type"] == "extra_forbidden":
        return f"has {place!r:.40}, which is no field of it"
    said = re.sub(r"^(Value error, )?\w+ should", f"{place} must", what["msg"])
    return said if ", not " in said else f"{said}, not {reprlib.repr(what['input'])}"
