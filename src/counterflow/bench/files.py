"""A benchmark's files: what others wrote is of bounded size and checked as it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from counterflow.errors import InputError


def read_text(path: Path, most: int) -> str:
    """The UTF-8 text of a file. Raises InputError for over `most` bytes or what is no such file."""
    try:
        if not path.is_file():  # before opening: a pipe would hang
            raise InputError(f"{path} is no file; check the path")
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise InputError(f"{path} is over {most >> 20} MiB; split it")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as such") from None


def read_dict(path: Path, most: int = 64 << 20) -> dict[str, Any]:
    """The dict of a JSON file. Raises InputError as `read_text` does, and for anything else."""
    try:
        data = json.loads(read_text(path, most))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); write it again") from None
    if not isinstance(data, dict):
        raise InputError(f"{path} must hold a dict, not a {type(data).__name__}")
    return data


def text_of(item: dict[Any, Any], key: str) -> str:
    """The text under a key. Raises InputError where it is missing or of another type."""
    if key not in item:
        raise InputError(f"lacks {key}; add it")
    value = item[key]
    if not is_text(value):
        raise InputError(f"{key} is {value!r:.40}, not text; put it in quotes")
    return str(value)


def is_text(value: Any) -> bool:
    """Whether it is a string that UTF-8 can write: JSON and YAML may hold half characters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}


class Reader:
    """A JSON object on disk, whose entries are checked as they are taken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise self.wrong(f"cannot be read as JSON ({error})") from None
        if not isinstance(self.data, dict):
            raise self.wrong("must hold a JSON object")

    def get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """An entry that must be there. A bool is no number."""
        if name not in self.data:
            raise self.wrong(f"lacks {name}")
        value = self.data[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            wanted = " or ".join(KINDS[each] for each in kinds)
            raise self.wrong(f"{name} must be {wanted}, not {value!r:.60}")
        return value

    def maybe(self, name: str, kind: type) -> Any:
        """An entry that may be null or absent."""
        return None if self.data.get(name) is None else self.get(name, kind)

    def wrong(self, what: str) -> InputError:
        """The error to raise; it names the file and says what to do."""
        return InputError(f"{self.path}: {what}; delete the file and run the benchmark again")
