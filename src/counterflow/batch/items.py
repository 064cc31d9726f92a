"""An item of a batch: a picture, a target, and all that decides the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterflow import __version__
from counterflow.backbones.identity import identify
from counterflow.backbones.loading import Loading
from counterflow.edit.recorded import Made
from counterflow.errors import InputError
from counterflow.outside import Count

if TYPE_CHECKING:
    from counterflow.methods.base import Method

LONGEST = 200
"""Bytes of the words of a file's name: systems allow 255 in all."""


@dataclass(frozen=True)
class Item:
    """One edit: a line of a manifest."""

    image: Path
    """The picture's full path."""
    source: str
    target: str
    mask: Path | None = None
    name: str = ""
    """What the result's file name begins with; the picture's own name if empty."""

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Item:
        """The item of a line of the index."""
        mask = None if row["mask"] is None else Path(row["mask"])
        return cls(Path(row["image"]), row["source"], row["target"], mask, row["name"])

    @property
    def row(self) -> str:
        """A key of the line: 32 hex digits of what it says, whatever the files hold."""
        said = [str(self.image), self.source, self.target, str(self.mask or ""), self.name]
        return digest(said)[:32]

    @property
    def words(self) -> str:
        """What the result's file name begins with: letters and digits of any script, with their
        accents; at most 60 of them.
        """
        text = spelled(self.name or self.image.stem)
        safe = (c if c in "._" or unicodedata.category(c)[0] in "LMN" else "-" for c in text)
        words = re.sub("-+", "-", "".join(safe)).strip(".-")[:60]
        return words.encode()[:LONGEST].decode(errors="ignore").strip(".-") or "picture"

    def file(self, identity: str) -> str:
        """The result's file name: readable words, then the beginning of its id."""
        return f"{self.words}-{identity[:12]}.png"


class _Recorded(Made):
    """A recipe, as its file has it."""

    identity: str
    method: str
    settings: dict[str, Any]
    exact_background: bool
    check: bool
    threads: Count | None
    offload: str | None = None
    free_text: bool = False
    tiles: bool = False
    compile: bool = False


@dataclass(frozen=True)
class Recipe:
    """How every picture of a batch is edited; with an item it decides the result."""

    method: Method
    loading: Loading = field(default_factory=Loading)
    """With the device and the precision that are used, not those that were asked for."""
    seed: int = 0
    exact_background: bool = False
    check: bool = True
    """Whether each result is told how far it is to be trusted, for a few forwards."""
    threads: int | None = None
    """Threads of each worker on a CPU: sums are rounded by their order, so they decide too."""
    model: str = ""
    """`Backbone.identity` of the weights."""

    def resolved(self, elsewhere: bool = False) -> Recipe:
        """The same with the model's identity, the device and the precision of this machine.

        For workers `elsewhere` a device that is named need not be here. Raises InputError and
        ModelError as `Loading.check` does.
        """
        from counterflow.backbones.opening import pick_device
        from counterflow.edit.checks import check_seed

        self.loading.check()
        check_seed(self.seed)
        device = self.loading.device if elsewhere else None
        device = device or pick_device(self.loading.device)
        on_cpu = device.partition(":")[0] == "cpu"
        dtype = self.loading.dtype or ("float32" if on_cpu else "bfloat16")
        loading = replace(self.loading, device=device, dtype=dtype)
        return replace(self, loading=loading, model=identify(self.loading))

    def check_item(self, item: Item) -> None:
        """Refuse what needs no picture to be refused, with an InputError that names the item."""
        from counterflow.edit.checks import check_mask

        try:
            check_mask(self.method, item.mask is not None)
            self.method.check_prompts(item.source, item.target)
        except InputError as error:
            raise InputError(f"{item.image.name}, {item.target!r:.80}: {error}") from None

    def identity(self, item: Item, picture: str, mask: str | None) -> str:
        """An item's id: SHA-256 of all that decides its result and its name, files by theirs."""
        facts = self.record() | {
            "picture": picture,
            "mask_picture": mask,
            "source": item.source,
            "target": item.target,
            "words": item.words,
        }
        return digest(facts)

    def record(self) -> dict[str, Any]:
        """The recipe as JSON-ready facts."""
        loading = self.loading
        device = (loading.device or "").partition(":")[0] or None
        return {
            "counterflow": __version__,
            "method": self.method.name,
            "settings": self.method.to_dict(),
            "seed": self.seed,
            "exact_background": self.exact_background,
            "check": self.check,
            "threads": self.threads,
            "identity": self.model,
            **loading.record(),
            "device": device,
            "tiles": loading.tiles,
            "compile": loading.compile,
        }

    @classmethod
    def from_record(cls, data: Mapping[str, Any]) -> Recipe:
        """What `record` wrote; InputError for anything else."""
        from counterflow.methods.registry import from_record

        told = _Recorded.of(data)
        return cls(
            from_record(told.method, told.settings),
            Loading.from_record(told.model_dump()),
            told.seed,
            told.exact_background,
            told.check,
            told.threads,
            told.identity,
        )


@dataclass(frozen=True)
class Rank:
    """One of several processes that share a batch."""

    index: int
    of: int

    @classmethod
    def of_environment(cls) -> Rank | None:
        """As `torchrun` and `accelerate launch` tell it; None where there is one process."""
        with contextlib.suppress(KeyError, ValueError):
            rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            if 0 <= rank < world and world > 1:
                return cls(rank, world)
        return None

    def has(self, image: Path) -> bool:
        """Whether a picture, by a digest of its path, is in this rank's share."""
        return int(digest(str(image))[:8], 16) % self.of == self.index


def spelled(name: str) -> str:
    """A name in the spelling that we use; some systems take letters with accents apart."""
    return unicodedata.normalize("NFC", name)


def digest(facts: Any) -> str:
    """SHA-256 of JSON-ready facts, in hex."""
    text = json.dumps(facts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
