"""Settings: what each kind takes, how it is written as text, and that it survives JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterflow.cli.options import pairs
from counterflow.errors import InputError
from counterflow.kinds import Choice, Flag, Integer, Kind, Number, Numbers, Share, Some, Span, Words
from counterflow.methods.registry import METHODS, from_record, method, variant
from counterflow.settings import Settings, setting

WORDS = ("red", "blue", "a-b")
shares = st.floats(0, 1)
windows = shares | st.tuples(shares, shares).map(lambda pair: tuple(sorted(pair)))
spans = st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda pair: tuple(sorted(pair)))
names = st.text(st.characters(categories=["Ll", "Nd"]), min_size=1).filter(
    lambda word: word == word.lower()  # as the record has them
)


def compact(window: Any) -> str:
    """As the help writes windows: 0.4, or 0.2-0.8; an exponent would have a dash of its own."""
    if isinstance(window, tuple):
        return f"{window[0]:.20f}-{window[1]:.20f}"
    return f"{window:.20f}"


def listed(numbers: tuple[int, ...] | None) -> str:
    return "all" if numbers is None else ",".join(map(str, numbers))


KINDS: dict[str, tuple[Kind, st.SearchStrategy[Any], Callable[[Any], str]]] = {
    "integer": (Integer(-5, 1000), st.integers(-5, 1000), str),
    "number": (Number(-1, 100), st.floats(-1, 100) | st.integers(-1, 100), str),
    "flag": (Flag(), st.booleans(), lambda value: str(value).lower()),
    "choice": (Choice(*WORDS), st.sampled_from(WORDS), str),
    "some": (
        Some(*WORDS),
        st.lists(st.sampled_from(WORDS), min_size=1).map(tuple),
        ",".join,
    ),
    "any words": (Some(), st.lists(names).map(tuple), ",".join),
    "share": (Share(), windows, json.dumps),
    "vital": (
        Numbers("vital"),
        st.none() | st.lists(st.integers(0, 99), min_size=1).map(tuple),
        lambda value: "vital" if value is None else ",".join(map(str, value)),
    ),
    "words": (
        Words(),
        st.dictionaries(names, windows).map(lambda words: tuple(sorted(words.items()))),
        json.dumps,
    ),
    "numbers": (
        Numbers(),
        st.none() | st.lists(st.integers(0, 9999), min_size=1).map(tuple),
        listed,
    ),
    "span": (Span(), st.none() | spans, lambda v: "all" if v is None else f"{v[0]}-{v[1]}"),
}
every_kind = pytest.mark.parametrize("name", KINDS)


def taken(kind: Kind, text: str) -> Any:
    return kind.check("this", kind.parse("this", text))


@every_kind
@given(data=st.data())
def test_a_text_gives_back_the_value_that_it_was_written_from(
    name: str, data: st.DataObject
) -> None:
    """In the short form of the help and as JSON, and a value in its normal form stays."""
    kind, values, written = KINDS[name]
    value = data.draw(values)
    assert kind.check("this", value) == value
    assert taken(kind, written(value)) == value
    assert taken(kind, f" {written(value)} ") == value
    assert taken(kind, kind.write(value)) == value
    if name not in ("choice", "some"):  # words without quotes
        assert taken(kind, json.dumps(value)) == value
    if name == "some":
        assert taken(kind, json.dumps(value)) == taken(kind, " ".join(value)) == value


@given(window=windows, word=names)
def test_windows_in_short(window: Any, word: str) -> None:
    """`0.2-0.8`, and `wooden=0.2-0.8` for words of any case."""
    rounded = taken(Share(), compact(window))
    assert rounded == pytest.approx(window, abs=1e-15)
    assert taken(Words(), f"{word.upper()}={compact(window)}, b={compact(window)}") in (
        tuple(sorted({word.upper().lower(): rounded, "b": rounded}.items())),
    )
    as_json = json.dumps({word: window})
    assert taken(Words(), as_json) == ((word, window),)


def test_numbers_in_short() -> None:
    assert taken(Numbers(), "0-3,5") == (0, 1, 2, 3, 5)
    assert taken(Numbers(), "[]") == ()
    assert taken(Numbers(), "null") is None and taken(Span(), "null") is None
    assert taken(Span(), "2") == (2, 2) and taken(Span(), "[1, 3]") == (1, 3)
    assert len(taken(Numbers(), "0-99999999999")) == Numbers.most + 1


REFUSED: dict[str, list[Any]] = {
    "integer": [-6, 1001, 2.0, "3", None, True, math.nan, 10**400],
    "number": [-1.01, 100.01, "3", None, False, math.nan, math.inf, -math.inf, 10**400],
    "flag": [0, 1, "true", None],
    "choice": ["", "green", None, ("red",), 1],
    "some": [(), ("green",), ("red", 1), "red", None, ["red"]],
    "any words": [("red", 1), ("a b",), ("",), ("[",), "red", None, ["red"], 3],
    "vital": [3, (-1,), (0.5,), ("1",), (True,), "all", "vital", [1]],
    "share": [-0.1, 1.1, True, None, "x", math.nan, 10**400, (), (0.1,), (0.2, 0.1), (0.1, 0.2, 1)],
    "words": ["ab", 3, None, {"a": 2}, {"a": "0.5"}, {"a": (1, 0)}, (("a", math.nan),), ("ab",)],
    "numbers": [3, (-1,), (0.5,), ("1",), (True,), "all", [1]],
    "span": [(1,), (2, 1), (0, 1, 2), 3, (-1, 1), ()],
}
"""Values."""

REFUSED_TEXTS: dict[str, list[str]] = {
    "integer": ["x", "", "1.5", "1e400", "true", "null", "[1]", "9" * 5000, "9" * 400],
    "number": ["x", "", "nan", "NaN", "inf", "Infinity", "-Infinity", "1e400", "9" * 400, "true"],
    "flag": ["yes", "True", "1", ""],
    "choice": ["green", "", "red,blue", '"red"'],
    "some": ["green", "", "red,green", "[]", "[1]", "3"],
    "any words": ["[1]", "[[]]", "a=3", "{}", "'", "-"],
    "vital": ["x", "", "-1", "3-1", "all", "true", "[true]", "{}"],
    "share": ["x", "", "-0.1", "0.5-", "-", "0.1-0.2-0.3", "1-0", "nan", "nan-1", "[0.1]", "true"],
    "words": ["x", "x=", "=0.3", "x=y", "x=2", "x=1-0", "x=nan", "[1]", "3", '{"a": [1]}'],
    "numbers": ["x", "", "-1", "3-1", "0.5", "1,,2", "true", "[true]", "[-1]", "{}", "[[1]]"],
    "span": ["x", "", "3-1", "[3, 1]", "[1]", "[1, 2, 3]", "0.5"],
}
DEEP = [b * n for b in ("[", "[1,", '{"a":') for n in (20, 200, 900, 960, 990, 1_000, 100_000)]
DEEP += ["[" * n + "]" * n for n in (*range(2, 20), *range(300, 1001, 20), 100_000)]


@every_kind
def test_what_is_no_value_is_refused(name: str) -> None:
    """By an InputError of one line, no longer than a line is, that names the setting."""
    kind = KINDS[name][0]
    for value in REFUSED[name]:
        with pytest.raises(InputError, match=r"^this\b") as told:
            kind.check("this", value)
        assert len(str(told.value)) < 250
    for text in REFUSED_TEXTS[name]:
        with pytest.raises(InputError, match=r"^this\b") as told:
            taken(kind, text)
        assert len(str(told.value)) < 250


@every_kind
def test_deep_brackets_are_refused(name: str) -> None:
    """No RecursionError, wherever on the way it would come."""
    for text in DEEP:
        with pytest.raises(InputError, match=r"^this\b"):
            taken(KINDS[name][0], text)


@given(low=st.integers(-50, 50), more=st.integers(0, 50), value=st.integers(-200, 200))
def test_bounds_are_in_and_beyond_them_is_out(low: int, more: int, value: int) -> None:
    for kind in (Integer(low, low + more), Number(low, low + more)):
        if low <= value <= low + more:
            assert kind.check("this", value) == value
        else:
            with pytest.raises(InputError, match=f"this is a .*{low} to {low + more}, not {value}"):
                kind.check("this", value)


# Settings


@dataclass(frozen=True)
class Made(Settings):
    steps: int = setting(30, Integer(1, 100), "Steps.")
    share: Any = setting(0.5, Share(), "A window.")


def test_settings_are_declared_once() -> None:
    """Names, defaults, kinds and helps in order; a field is checked when one is made."""
    steps, share = Made.declared()
    assert (steps.name, steps.default, steps.kind, steps.help) == (
        "steps",
        30,
        Integer(1, 100),
        "Steps.",
    )
    assert share.name == "share"
    assert Made().to_dict() == {"steps": 30, "share": 0.5}
    with pytest.raises(InputError, match="steps is a whole number from 1 to 100, not 0"):
        Made(0)
    assert Made().but(steps=3) == Made(3) and Made.from_dict({"share": [0, 1]}) == Made(30, (0, 1))
    assert Made.parse({"share": "0.2-0.4", "steps": "7"}) == {"share": (0.2, 0.4), "steps": 7}


@pytest.mark.parametrize(
    "call",
    [
        lambda: Made().but(colour=1),
        lambda: Made.from_dict({"colour": 1}),
        lambda: Made.parse({"colour": "1"}),
    ],
    ids=["but", "from_dict", "parse"],
)
def test_unknown_settings_are_refused_and_the_known_ones_named(call: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match="Made has no setting colour; it has steps, share"):
        call()


@pytest.mark.parametrize("name", METHODS)
def test_every_methods_settings_survive_json(name: str) -> None:
    """`from_record` reads what `to_dict` wrote; another name is refused, with those there are."""
    made = method(name)
    written = json.dumps(made.to_dict(), allow_nan=False)
    assert from_record(made.name, json.loads(written)) == made
    with pytest.raises(InputError, match=f"{made.name} has no setting colour; it has steps"):
        from_record(made.name, {"colour": 1})
    with pytest.raises(InputError, match="colour"):
        method(name, colour=1)
    with pytest.raises(InputError, match="colour"):
        variant(name, {"colour": "1"})


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=25)
@given(data=st.data())
def test_any_settings_of_any_method_survive_json_and_text(name: str, data: st.DataObject) -> None:
    """Whatever values they have that the method takes together."""
    made = method(name)
    changes = {}
    for each in made.declared():
        kind = each.kind
        values = {
            Flag: st.booleans(),
            Share: windows,
            Words: st.dictionaries(names, windows).map(lambda w: tuple(sorted(w.items()))),
            Numbers: st.none() | st.lists(st.integers(0, 99)).map(tuple),
            Span: st.none() | spans,
        }.get(type(kind))
        if isinstance(kind, Integer):
            values = st.integers(kind.low, kind.high)
        elif isinstance(kind, Number):
            values = st.floats(kind.low, kind.high)
        elif isinstance(kind, Choice):
            values = st.sampled_from(kind.options)
        elif isinstance(kind, Some):
            options = st.sampled_from(kind.options) if kind.options else names
            values = st.lists(options, min_size=1).map(tuple)
        assert values is not None, "a kind that this test does not know"
        if data.draw(st.booleans()):
            changes[each.name] = data.draw(values)
    try:
        made = made.but(**changes)
    except InputError:
        return  # they do not go together
    assert from_record(made.name, json.loads(json.dumps(made.to_dict()))) == made
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in made.to_dict().items()
    }
    assert type(made)(**made.parse(texts)) == made
    assert variant(name, texts).method == made


@pytest.mark.parametrize("name", METHODS)
def test_no_number_of_a_method_takes_nan_or_a_truth(name: str) -> None:
    """For every setting that is a number or a window."""
    made = method(name)
    for each in made.declared():
        if isinstance(each.kind, Integer | Number | Share):
            for bad in (math.nan, math.inf, -math.inf, True, False):
                with pytest.raises(
                    (InputError, TypeError)
                ):  # TypeError from annotations, here only
                    made.but(**{each.name: bad})
                with pytest.raises(InputError, match=each.name):
                    each.kind.check(each.name, bad)
            for text in ("nan", "NaN", "inf", "-Infinity", "true", "false", "null"):
                with pytest.raises(InputError, match=each.name):
                    made.parse({each.name: text})


def test_pairs_of_the_command_line() -> None:
    """Names with dashes or underscores, values with equals signs; the last one counts."""
    assert pairs(["a-b=1", "text_words=x=0.4,y=0.2"]) == {"a_b": "1", "text_words": "x=0.4,y=0.2"}
    assert pairs(["steps=1", "steps=2"]) == {"steps": "2"} and pairs(None) == {}
    for bad in ("steps", "=1", ""):
        with pytest.raises(InputError, match="--set is written as steps=10"):
            pairs([bad])


def test_variants_are_named_by_what_they_are_told() -> None:
    """Fit for a folder's name, and two that differ have two names."""
    assert variant("ftedit").name == "ftedit"
    made = variant("flowedit", {"steps": "10", "fixed_noise": "true"})
    assert made.name == "flowedit,steps=10,fixed_noise=true" and made.method.steps == 10
    assert made.title == "FlowEdit, steps=10, fixed_noise=true"
    odd = [variant("ftedit", {"text_words": text}).name for text in ("a/b=0.5", "a b=0.5")]
    assert len(set(odd)) == 2 and all("/" not in name and " " not in name for name in odd)
