"""The lines of an index, as they are read: its folder may be a stranger's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from counterflow.batch.items import Item
from counterflow.batch.items import digest as digest_of
from counterflow.errors import InputError
from counterflow.outside import Count, PathName, Prompt, Record, Share

State = Literal["waiting", "done", "failed"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Flag = Annotated[int, Field(ge=0, le=1)]


class Row(Record):
    """A line of an index: an item, and what became of it."""

    row: str
    place: Count
    name: str
    image: PathName
    source: Prompt
    target: Prompt
    mask: PathName | None
    picture: Digest | None
    mask_picture: Digest | None
    id: Digest
    file: str
    state: State
    error: str | None
    lost: Flag
    attempts: Count
    digest: Digest | None
    bytes: Count | None
    forwards: float | None
    seconds: float | None
    trust: Share | None
    sentence: str | None
    wanted: Flag


def checked(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is declared.

    Raises InputError for another one, and where its key or its file is not that of its item: so a
    row leads to no other file, and stands for no other line of a manifest.
    """
    told, item = Row.of(row), Item.of_row(row)
    if (told.row, told.file) != (item.row, item.file(told.id)):
        raise InputError(f"{told.file!r:.80} is not the file of its item")
    return row


class Manifest(Record):
    """With which manifest an index was last brought up to date."""

    number: Count = 0
    """Counts the manifests of a folder; ranks that have the same one have the same number."""
    digest: str = ""
    total: Count = 0
    """Its items, the shares of all ranks together."""

    def then(self, rows: Sequence[str]) -> Manifest:
        """The manifest with these rows, where this was the newest one: the same, or the next."""
        digest = digest_of(rows)
        if digest == self.digest:
            return self
        return Manifest(number=self.number + 1, digest=digest, total=len(set(rows)))
