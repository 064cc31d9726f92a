"""Readers of what comes from outside: any bytes and any JSON end in a value or a typed error."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from targets import TARGETS

few = settings(max_examples=15, suppress_health_check=list(HealthCheck))
NUMBERS = st.integers() | st.sampled_from([-1, 2**63, 10**400]) | st.floats()
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["", " ", "\ud800", "\0", "../x", "\x1b[31m", "x" * 999]
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
DEEP = st.integers(30, 3000).map(lambda n: "[" * n + "]" * n)
JSON = [name for name, target in TARGETS.items() if target.json]


@cache
def examples(name: str) -> list[bytes]:
    return TARGETS[name].examples()


@pytest.mark.parametrize("name", TARGETS)
def test_its_examples_are_read(name: str) -> None:
    """Without any error: else nothing behind the first check would be tried."""
    for example in examples(name):
        TARGETS[name].read(example)


@pytest.mark.fault("3", "6", "14", "26", "F9", "F10")
@pytest.mark.parametrize("name", TARGETS)
@few
@given(data=st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    """Those of examples with some cut out, put in or changed, and others altogether."""
    target = TARGETS[name]
    example = data.draw(st.sampled_from(examples(name)))
    at = data.draw(st.integers(0, len(example)))
    put, cut = data.draw(st.binary(max_size=8)), data.draw(st.integers(0, 9))
    target(
        data.draw(st.binary(max_size=60)) if cut == 9 else example[:at] + put + example[at + cut :]
    )


@pytest.mark.fault("14", "26", "F9", "F10", "F13", "F20")
@pytest.mark.parametrize("name", JSON)
@few
@given(data=st.data())
def test_any_json(name: str, data: st.DataObject) -> None:
    """An example with one of its values replaced by any other, or left out."""
    target = TARGETS[name]
    value = deepcopy(json.loads(data.draw(st.sampled_from(examples(name)))))
    text = json.dumps(spoiled(value, data))
    if data.draw(st.booleans()):
        text = text.replace("null", data.draw(DEEP), 1)
    target(text.encode())


def spoiled(value: Any, data: st.DataObject) -> Any:
    """A value with something in it replaced or left out."""
    keys: list[Any] = list(value) if isinstance(value, dict) else []
    keys = list(range(len(value))) if isinstance(value, list) else keys
    if not keys or data.draw(st.integers(0, 4)) == 0:
        return data.draw(ANY)
    key = data.draw(st.sampled_from(keys))
    if data.draw(st.integers(0, 9)) == 0:
        del value[key]
    else:
        value[key] = spoiled(value[key], data)
    return value
