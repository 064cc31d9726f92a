"""The one place that checks what comes from outside: records, files, JSON and YAML."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from counterflow import outside
from counterflow.errors import InputError, plain
from counterflow.outside import Prompt, Record, Seed, parse_json, parse_yaml


class Step(Record):
    prompt: Prompt
    seed: Seed = 0
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    names: list[str] | None = None
    on: bool = False


def test_a_record_keeps_what_is_declared() -> None:
    told = Step.of({"prompt": "a cat", "share": 1, "names": ["a"], "else": object})
    assert (told.prompt, told.seed, told.share, told.names) == ("a cat", 0, 1.0, ["a"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": 3}, "prompt must be a valid string, not 3"),
        ({"prompt": " "}, "prompt must say something, not ' '"),
        ({"prompt": "a \ud83d"}, r"has half a character in 'a \ud83d'"),
        ({"seed": -1}, "seed must be greater than or equal to 0, not -1"),
        ({"seed": True}, "seed must be a valid integer, not True"),
        ({"seed": "3"}, "seed must be a valid integer, not '3'"),
        ({"seed": 2**63}, "seed must be less than 9223372036854775808"),
        ({"share": float("nan")}, "share must be a finite number, not nan"),
        ({"share": 10**400}, "share must be a valid number"),
        ({"names": ["a", None]}, "names[1] must be a valid string, not None"),
        ({"names": "abc"}, "names must be a valid list, not 'abc'"),
        ({"on": 1}, "on must be a valid boolean, not 1"),
    ],
)
def test_what_a_record_refuses(change: dict[str, Any], said: str) -> None:
    """Naming the field; nothing is converted, and no long value is repeated."""
    with pytest.raises(InputError) as error:
        Step.of({"prompt": "a cat"} | change)
    assert str(error.value).startswith(said) and len(str(error.value)) < 120


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_what_is_no_record(data: Any) -> None:
    with pytest.raises(InputError, match="must be an object"):
        Step.of(data)
    with pytest.raises(InputError, match="lacks prompt"):
        Step.of({"seed": 3})


@pytest.mark.fault("F10", "F20")
@pytest.mark.parametrize("read", [parse_json, parse_yaml])
@pytest.mark.parametrize("depth", [33, 900, 100_000])
def test_depth_is_bounded(read: Callable[[str], Any], depth: int) -> None:
    text = "[" * 30 + "]" * 30
    assert read(text) is not None
    with pytest.raises(InputError):
        read("[" * depth + "]" * depth)


@pytest.mark.parametrize("text", ["NaN", "[1, -Infinity]", "9" * 5000, "{", "", "\0", "'a'"])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(InputError, match="is not JSON"):
        parse_json(text)


EDIT = "- init_img: a.png\n  source_prompt: a bear by the river\n  target_prompts: [a dog, a cat]\n"


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    "text",
    [
        EDIT * (2**20 // len(EDIT)),
        f"[{'[],' * 349_000}]",
        "".join(f"k{n}: 1\n" for n in range(100_000)),
        "- 1" + ":00" * 300_000,
        "- 1" + "_" * 900_000,
        "{" * 2**20,
        "'" * 2**20,
        "%TAG ! tag:x,2000:\n" * 50_000,
    ],
    ids=["list", "lists", "keys", "sexagesimal", "underscores", "braces", "quotes", "tags"],
)
def test_a_megabyte_of_yaml_is_soon_told(text: str) -> None:
    """In at most 60 times what libyaml takes for an ordinary eighth of it, on any machine.

    Measured: 28 for keys, 21 for a list; without libyaml 97 to 199.
    """

    def seconds(work: Callable[[], Any]) -> float:
        began = time.process_time()
        try:
            work()
        except InputError as error:
            assert len(str(error)) < 1000
        return time.process_time() - began

    ordinary = EDIT * (2**17 // len(EDIT))
    loaded = [seconds(lambda: yaml.load(ordinary, Loader=yaml.CSafeLoader)) for _ in range(3)]
    assert seconds(lambda: parse_yaml(text)) < 60 * sum(loaded) / len(loaded)


@pytest.mark.fault("4")
@pytest.mark.parametrize("read", [outside.read_json, outside.read_text, outside.read_bytes])
def test_what_is_no_file(read: Callable[[Path], Any], tmp_path: Path) -> None:
    """A pipe does not hang; nothing is read beyond the bound."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "loop", "none", "", "a\0b", "n" * 300):
        with pytest.raises(InputError):
            read(tmp_path / name)
    with (tmp_path / "big").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(InputError, match="over 64 MiB"):
        read(tmp_path / "big")


@pytest.mark.fault("F27")
def test_errors_are_plain_lines() -> None:
    """Escapes, marks that turn the writing round, and halves of letters are written out."""
    said = str(InputError("a\x1b[31m\x07 \u202eb\n c\udcff \u200d🐈\x9b"))
    assert said == r"a\x1b[31m\x07 \u202eb  c\udcff " + "\u200d🐈" + r"\x9b"
    assert plain(said) == said and said.encode()
