"""A prompt as its tokenizers read it: which rows of the text stream hold which words."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from counterflow.errors import InputError

Kind = Literal["begin", "content", "end", "pad"]

QUOTED = ("'(.*?)'", '"(.*?)"', "‘(.*?)’", "“(.*?)”")  # noqa: RUF001
"""Forms of quotation."""


@dataclass(frozen=True)
class Segment:
    """The part of a prompt's text stream that one tokenizer fills.

    Segments may overlap: SD3's two CLIP tokenizers fill the same rows.
    """

    name: str
    start: int
    """First row of the text stream that this tokenizer fills."""
    ids: tuple[int, ...]
    """Token ids, one for each row, padding included."""
    offsets: tuple[tuple[int, int], ...]
    """Character span of each token in the prompt; (0, 0) for special tokens and padding."""
    kinds: tuple[Kind, ...]
    """Kind of each token."""
    cut: str = ""
    """The end of the prompt, where it did not fit; else empty."""

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.offsets) == len(self.kinds) or self.start < 0:
            raise ValueError(f"segment {self.name!r}: ids, offsets and kinds must fill its rows")

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.start + len(self.ids)


def check_prompt(name: str, prompt: Any) -> None:
    """Raise InputError for what is no text, for a blank one, and for a byte that was no text."""
    if not is_text(prompt):
        raise InputError(f"{name} is no text that a model can read: {prompt!r:.60}; write it anew")
    if not prompt.strip():
        raise InputError(f"{name} is empty: say in a sentence what the picture shows")


def is_text(value: Any) -> bool:
    """Whether it is a string that UTF-8 can write; JSON and command lines may have half letters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def words(prompt: str) -> list[str]:
    """The words of a prompt in lower case, without punctuation."""
    return re.findall(r"\w+", prompt.lower())


def unknown_words(prompt: str, known: Collection[str] | None) -> tuple[str, ...]:
    """The words of a prompt that are not in `known`, each once; none where `known` is None."""
    if known is None:
        return ()
    return tuple(dict.fromkeys(word for word in words(prompt) if word not in known))


def tokenize(tokenizer: Any, prompt: str, name: str, start: int, length: int) -> Segment:
    """Tokenize a prompt with a fast Hugging Face tokenizer, padded or cut to `length` rows.

    `name` and `start` are those of the segment.
    """
    code = tokenizer(
        prompt,
        padding="max_length",
        max_length=length,
        truncation=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    special, attended = code["special_tokens_mask"], code["attention_mask"]
    kinds: list[Kind] = []
    for i, (is_special, is_attended) in enumerate(zip(special, attended, strict=True)):
        if not is_attended:
            kinds.append("pad")
        elif is_special:
            kinds.append(
                "begin" if i == 0 and tokenizer.bos_token_id == code["input_ids"][0] else "end"
            )
        else:
            kinds.append("content")
    offsets: list[tuple[int, int]] = [
        (first, stop) if kind == "content" else (0, 0)
        for (first, stop), kind in zip(code["offset_mapping"], kinds, strict=True)
    ]
    return Segment(
        name,
        start,
        tuple(code["input_ids"]),
        tuple(offsets),
        tuple(kinds),
        _cut(prompt, offsets, kinds),
    )


def tokenize_inside(
    tokenizer: Any,
    prompt: str,
    template: str,
    name: str,
    length: int,
    dropped: int = 0,
    special_tokens: bool = True,
    first: int = 0,
) -> Segment:
    """Tokenize a prompt inside a chat's template, at its `{}`; a segment without padding.

    What is before the prompt counts as its beginning, what is after it as its end. The first
    `dropped` tokens are not in the text stream; with them it has at most `length` rows, of which
    the stream's row `first` is the first. Without `special_tokens` the tokenizer adds none to those
    that the template has.
    """
    before, _, after = template.partition("{}")
    start, stop = len(before), len(before) + len(prompt)
    code = tokenizer(
        before + prompt + after,
        max_length=length,
        truncation=True,
        return_offsets_mapping=True,
        add_special_tokens=special_tokens,
    )
    kinds: list[Kind] = []
    offsets: list[tuple[int, int]] = []
    for low, high in code["offset_mapping"][dropped:]:
        kind: Kind = "begin" if high <= start else "end" if low >= stop else "content"
        kinds.append(kind)
        within = (max(low, start) - start, min(high, stop) - start)
        offsets.append(within if kind == "content" else (0, 0))
    cut = "" if "end" in kinds else _cut(prompt, offsets, kinds)
    ids = tuple(code["input_ids"][dropped:])
    return Segment(name, first, ids, tuple(offsets), tuple(kinds), cut)


def tokenize_quotations(tokenizer: Any, prompt: str, name: str, length: int) -> Segment:
    """Tokenize, byte by byte, what a prompt quotes: `Text "…". ` for each, cut to `length` rows.

    Its frame counts as the quotation's marks. Without a quotation the segment is empty.
    """
    text, offsets = "", []
    for quotation in (each for form in QUOTED for each in re.finditer(form, prompt)):
        first, last = quotation.start(), quotation.end() - 1
        text += f'Text "{quotation[1]}". '
        offsets += [(first, first + 1)] * len('Text "')
        offsets += [(n, n + 1) for n in range(first + 1, last) for _ in prompt[n].encode()]
        offsets += [(last, last + 1)] * len('". ')
    if not text:
        return Segment(name, 0, (), (), ())
    ids = tokenizer(text, max_length=length, truncation=True)["input_ids"]
    kinds: list[Kind] = ["content" for _ in ids[1:]]
    spans = (*offsets[: len(kinds)], (0, 0))
    return Segment(name, 0, tuple(ids), spans, (*kinds, "end"))


def padded(segment: Segment, tokenizer: Any, length: int) -> Segment:
    """A segment filled up to `length` rows, on the side where its tokenizer pads."""
    pads = [tokenizer.pad_token_id] * (length - len(segment.ids))
    return extended(segment, pads, "pad", first=tokenizer.padding_side == "left")


def extended(segment: Segment, ids: Sequence[int], kind: Kind, first: bool = False) -> Segment:
    """A segment with more tokens of one kind after its own, or before them."""
    added = Segment(segment.name, 0, tuple(ids), ((0, 0),) * len(ids), (kind,) * len(ids))
    one, two = (added, segment) if first else (segment, added)
    offsets, kinds = one.offsets + two.offsets, one.kinds + two.kinds
    return replace(segment, ids=one.ids + two.ids, offsets=offsets, kinds=kinds)


def _cut(prompt: str, offsets: Sequence[tuple[int, int]], kinds: Sequence[Kind]) -> str:
    """The prompt after the last kept token; empty if there is padding, as all fitted."""
    if "pad" in kinds:
        return ""
    last = max((stop for _, stop in offsets), default=0)
    return prompt[last:].strip()
