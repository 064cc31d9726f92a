"""Manifests: what they mean, and what is refused; any bytes end in items or in an InputError."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from counterflow.batch import manifest
from counterflow.batch.items import Item
from counterflow.errors import InputError

CAT = {"image": "in/cat.png", "source": "a cat", "target": "a dog"}


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path, root: Path | None = None) -> list[Item]:
    return list(manifest.read(path, root))


def test_the_three_formats_agree(tmp_path: Path) -> None:
    """The same lines, as JSONL, CSV and Parquet."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [CAT | {"mask": "m.png", "name": "x"}, CAT | {"target": 'a "fox", red\nand wet'}]
    lines = "\ufeff" + "\n\n".join(map(json.dumps, rows)) + "\n"
    table = (
        "image,source,target,mask,name\nin/cat.png,a cat,a dog,m.png,x\n"
        'in/cat.png,a cat,"a ""fox"", red\nand wet",,\n'
    )
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    items = read(written(tmp_path, "a.jsonl", lines))
    assert items == read(written(tmp_path, "b.csv", table)) == read(tmp_path / "c.parquet")
    home = tmp_path.resolve()
    first = Item(home / "in" / "cat.png", "a cat", "a dog", home / "m.png", "x")
    assert items[0] == first and items[1].target == 'a "fox", red\nand wet'


def test_columns_of_a_parquet(tmp_path: Path) -> None:
    """Another one is refused, as in the other formats; the index of pandas is none."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "m.parquet"
    parquet.write_table(pa.Table.from_pylist([CAT | {"masks": "m.png"}]), path)
    with pytest.raises(InputError, match=r"m.parquet has 'masks', which is no field"):
        read(path)
    parquet.write_table(pa.Table.from_pylist([CAT | {"__index_level_0__": 0}]), path)
    assert read(path)[0].target == "a dog"


def test_several_targets_and_another_root(tmp_path: Path) -> None:
    """A line with targets is an item for each; paths are of the root."""
    line = {"image": "cat.png", "source": "a cat", "targets": ["a dog", "a fox"]}
    path = written(tmp_path, "m.jsonl", json.dumps(line))
    items = read(path, tmp_path / "elsewhere")
    assert [item.target for item in items] == ["a dog", "a fox"]
    assert {item.image for item in items} == {(tmp_path / "elsewhere" / "cat.png").resolve()}


@pytest.mark.fault("18")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({}, "lacks image"),
        (CAT | {"image": "../../etc/passwd"}, "leaves the folder"),
        (CAT | {"image": "/etc/passwd"}, "leaves the folder"),
        (CAT | {"image": "a\0b"}, "is no path"),
        (CAT | {"mask": "../m.png"}, "leaves the folder"),
        (CAT | {"target": ""}, "target must say something"),
        (CAT | {"target": 7}, "target must be a valid string"),
        (CAT | {"target": "\ud83d"}, "half a character"),
        (CAT | {"targets": ["a"]}, "needs a target, or a list"),
        ({"image": "a.png", "source": "s"}, "needs a target, or a list"),
        ({"image": "a.png", "source": "s", "targets": []}, "targets must have at least 1"),
        ({"image": "a.png", "source": "s", "targets": "ab"}, "targets must be a valid list"),
        (CAT | {"prompt": "x"}, "has 'prompt'"),
        ([1], "must be an object"),
    ],
)
def test_a_line_that_is_wrong(line: object, words: str, tmp_path: Path) -> None:
    """The message names the line."""
    path = written(tmp_path, "m.jsonl", f"{json.dumps(CAT)}\n{json.dumps(line)}\n")
    with pytest.raises(InputError, match=f"m.jsonl, line 2: .*{words}"):
        read(path)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("m.jsonl", b"{", r"m.jsonl, line 1: is not JSON"),
        ("m.jsonl", b"\n\n{", r"m.jsonl, line 3: is not JSON"),
        ("m.jsonl", b"[" * 50_000, "not JSON"),
        ("m.jsonl", b"\xff\xfe", "not JSON"),
        ("m.jsonl", b" " * (1 << 20), "over 1 MiB"),
        ("m.jsonl", b"", "holds no items"),
        ("m.csv", b"", "holds no items"),
        ("m.csv", b"image,source,target\na,b,c,d\n", "m.csv, line 2: has more fields"),
        ("m.csv", b"image;source;target\na;b;c\n", "separated by commas, not by ';'"),
        ("m.csv", b"image\tsource\ttarget\na\tb\tc\n", "separated by commas"),
        ("m.csv", b"image,source,target,masks\na,b,c,d\n", "line 2: has 'masks'"),
        ("m.csv", b'image,source,target\n"a,b\n', "cannot be read"),
        ("m.csv", b"image,source,target\n\xff,b,c\n", "cannot be read"),
        ("m.parquet", b"PAR1 nothing of it PAR1", "no Parquet"),
        ("m.txt", b"a cat", "is no manifest"),
    ],
)
def test_a_file_that_is_none(name: str, data: bytes, words: str, tmp_path: Path) -> None:
    """One line that says so."""
    with pytest.raises(InputError, match=words):
        read(written(tmp_path, name, data))
    with pytest.raises(InputError, match="is no file"):
        read(tmp_path / "absent.jsonl")


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    """All of them by name, hidden ones and other files left out."""
    for name in ("b.png", "a/c.JPG", ".hidden/d.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("") if name == "notes.txt" else Image.new("RGB", (8, 8)).save(path)
    items = list(manifest.folder(tmp_path, "a cat", ["a dog", "a fox"]))
    assert [(item.name, item.target) for item in items] == [
        ("a-c", "a dog"), ("a-c", "a fox"), ("b", "a dog"), ("b", "a fox")
    ]  # fmt: skip
    for name in ("old/batch.json", "old/pictures/c-0123456789ab.png"):  # another batch's
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((tmp_path / "b.png").read_bytes())
    assert len(list(manifest.folder(tmp_path, "a cat", ["a dog", "a fox"]))) == 4
    assert len(list(manifest.folder(tmp_path / "old" / "pictures", "a cat", ["a dog"]))) == 1
    with pytest.raises(InputError, match="holds no pictures"):
        list(manifest.folder(tmp_path / ".hidden" / "none", "a cat", ["a dog"]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("猫.png", "猫"),
        ("Katze über 9.png", "Katze-über-9"),
        ("u\u0308ber.png", "über"),
        ("हिन्दी.png", "हिन्दी"),
        ("כלב/../x.png", "x"),
        ("a:b*c?.png", "a-b-c"),
        ("\u202egnp.png", "gnp"),
        ("…", "picture"),
        ("𠀀" * 99 + ".png", "𠀀" * 50),
        ("a" * 99 + ".png", "a" * 60),
    ],
)
def test_names_of_results(name: str, words: str, tmp_path: Path) -> None:
    """Letters of any script stay, and files of such names can be written."""
    item = Item(Path(name), "s", "t")
    assert item.words == words
    (tmp_path / item.file("0" * 64)).write_text("")
    assert replace(item, image=Path("a.png"), name=name.removesuffix(".png")).words == words or (
        "/" in name
    )


@pytest.mark.fault("18")
def test_a_link_that_leaves_the_folder(tmp_path: Path) -> None:
    """It is refused in a folder of pictures as in a manifest."""
    inner = tmp_path / "inner"
    inner.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (inner / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="leaves the folder"):
        list(manifest.folder(inner, "a cat", ["a dog"]))
    path = written(inner, "m.jsonl", json.dumps(CAT | {"image": "link.png"}))
    with pytest.raises(InputError, match="leaves the folder"):
        read(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.sampled_from(["a.png"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
LINES = st.dictionaries(
    st.sampled_from(["image", "source", "target", "targets", "mask", "name", "other"]), VALUES
)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(lines=st.lists(LINES, min_size=1, max_size=3))
def test_any_json_lines(lines: list[object], tmp_path: Path) -> None:
    """Items whose paths are inside, or an InputError."""
    path = written(tmp_path, "m.jsonl", "\n".join(map(json.dumps, lines)))
    try:
        items = read(path)
    except InputError:
        return
    assert items and all(item.image.is_relative_to(tmp_path.resolve()) for item in items)
    assert all(item.source.strip() and item.target.strip() for item in items)


@QUICK
@given(data=st.binary(max_size=200), suffix=st.sampled_from(manifest.MANIFESTS))
def test_any_bytes(data: bytes, suffix: str, tmp_path: Path) -> None:
    """The same for every format."""
    try:
        read(written(tmp_path, f"m{suffix}", data))
    except InputError as error:
        assert str(error)
