"""A batch's folder of somebody else: it leads to no other file, and opens nothing unnamed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from batch_double import draw
from counterflow.batch import run
from counterflow.batch.executors.base import Place
from counterflow.batch.index import Receipt, every
from counterflow.batch.items import Item
from counterflow.batch.publish import PICTURES, Folder
from counterflow.batch.report import write_page
from counterflow.batch.verify import verify
from counterflow.batch.work import Entry, Task
from counterflow.errors import InputError
from counterflow.images import save_png
from test_batch import batch, folder, published, sources
from test_batch_resume import again
from tools import Run, refused

__all__ = ["folder"]
BAD = [
    ("file", "../../victim.txt"),
    ("file", "victim.png"),
    ("image", "/etc/passwd"),
    ("image", "a\0b"),
    ("mask", "/etc/passwd"),
    ("name", "another"),
    ("row", "0" * 32),
    ("id", "../x"),
    ("state", "gone"),
    ("place", -1),
    ("attempts", "many"),
    ("trust", 7.0),
    ("digest", b"\0"),
    ("source", " "),
]


@pytest.mark.fault("F32")
@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_row_that_is_wrong(folder: Path, name: str, value: object) -> None:
    """Nothing reads past it."""
    batch(folder, sources(folder, 3))
    victim = folder.parent / "victim.txt"
    victim.write_text("precious")
    before = published(folder)
    with sqlite3.connect(folder / "index.sqlite") as base:
        base.execute(f"UPDATE items SET {name}=? WHERE place=0", (value,))
    goes_on = [lambda path: batch(path, sources(path, 3))] * (name != "row")  # another line's
    for act in (every, verify, *goes_on):
        with pytest.raises(InputError, match=r"is damaged.*delete it"):
            act(folder)
    assert victim.read_text() == "precious" and published(folder) == before


@pytest.mark.fault("F32")
def test_a_manifest_that_is_wrong(folder: Path) -> None:
    batch(folder, sources(folder, 3))
    with sqlite3.connect(folder / "index.sqlite") as base:
        base.execute("UPDATE manifest SET total='many'")
    with pytest.raises(InputError, match=r"is damaged.*total"):
        every(folder)


@pytest.mark.fault("F32")
@pytest.mark.parametrize("store", ["javascript:alert(1)//", "file:///etc", "s3://bucket/a", 7])
def test_a_store_that_nobody_named(folder: Path, store: object) -> None:
    """Nothing is asked of it, and the page has no link to it."""
    batch(folder, sources(folder, 2))
    facts = run.read_facts(folder) | {"store": store}
    (folder / run.RECIPE).write_text(json.dumps(facts))
    page = write_page(folder, every(folder)).read_text()
    assert "<a href" not in page and page.count(f"<small>{str(store).rstrip('/')}/") == 2
    for act in (verify, run.read_store, lambda path: batch(path, sources(path, 2))):
        with pytest.raises(InputError, match="store"):
            act(folder)


class Opens:
    """Workers that edit nothing, but look at the pictures as true ones do."""

    def __call__(self, place: Place) -> Any:
        return self.work

    def work(self, task: Task) -> list[Receipt]:
        told = []
        for entry in task.entries:
            try:
                entry.check()
                told.append(Receipt(entry.id, "failed", f"opened {entry.item.image.name}"))
            except InputError as error:
                told.append(Receipt(entry.id, "failed", str(error)))
        return told


@pytest.mark.fault("F32")
def test_pictures_that_are_not_what_they_were(folder: Path) -> None:
    """`retry` takes a picture that is recorded by its digest, and no other."""
    home = folder.parent / "sources"
    home.mkdir()
    for name in ("same", "mended"):
        draw(name, home / f"{name}.png")
    wanted = [Item(home / f"{n}.png", "s", "poison") for n in ("same", "mended", "came", "never")]
    batch(folder, wanted)
    draw("another", home / "mended.png")
    draw("secret", home / "came.png")
    assert again(folder, Opens()) == 4
    told = [row["error"] for row in every(folder)]
    assert told[0] == "opened same.png" and told[3] == "opened never.png"
    assert all("not what it was" in each for each in told[1:3])
    batch(folder, wanted)
    assert ["not what it was" in row["error"] for row in every(folder)] == [False] * 4


def test_an_entry_whose_picture_came_later(tmp_path: Path) -> None:
    """Its id tells of no picture: it waits for the next run."""
    entry = Entry("0" * 64, Item(tmp_path / "a.png", "s", "t"), "a.png")
    entry.check()
    draw("a", tmp_path / "a.png")
    with pytest.raises(InputError, match="not what it was"):
        entry.check()


@pytest.mark.fault("F32")
@pytest.mark.parametrize("trust", [7, "x", {"success": "likely"}, {"success": 1e9}])
def test_a_result_with_another_record(folder: Path, trust: object) -> None:
    """What it says of its chance is a chance, or it is no result."""
    from PIL import Image

    batch(folder, sources(folder, 1))
    (row,) = every(folder)
    path = folder / PICTURES / row["file"]
    path.unlink()
    save_png(Image.new("RGB", (8, 8)), path, {"item": row["id"], "trust": trust})
    (folder / "index.sqlite").unlink()
    batch(folder, sources(folder, 1))
    assert every(folder)[0]["state"] == "failed"
    assert Folder(folder).names() == {row["file"]}


@pytest.mark.fault("F15")
def test_a_model_that_nobody_named(run: Run, model: str, picture: Path, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """`retry` opens it only if the user names it, too; how its path is spelled does not matter."""
    line = {"image": picture.name, "source": "a cat", "target": "a dog"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    out = tmp_path / "out"
    monkeypatch.chdir(Path(model).parent)
    relative = f"./{Path(model).name}"
    asked = ["--engine", "inline", "--set", "steps=2", "--no-check"]
    assert run("batch", tmp_path / "m.jsonl", "-o", out, "--model", relative, *asked)[0] == 0
    (done,) = published(out)
    monkeypatch.chdir(tmp_path)
    code, _, _ = run("batch", tmp_path / "m.jsonl", "-o", out, "--model", model, *asked)
    assert code == 0 and set(published(out)) == {done}
    (out / "pictures" / done).unlink()
    refused(run("batch", "retry", out), 2, "give these options, if you know them")
    assert run("batch", "retry", out, "--model", model, "--engine", "inline")[0] == 0
    assert set(published(out)) == {done}
