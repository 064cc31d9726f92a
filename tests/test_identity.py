"""A model's identity is of all its content, and read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterflow.backbones.identity import cache_file, fingerprint, identify
from counterflow.errors import ModelError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_file()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "transformer" / "weights.safetensors").write_bytes(bytes(400_000))
    return folder


@pytest.mark.fault("F3")
def test_a_byte_in_the_middle_matters(model: Path) -> None:
    """The size and both ends of the file stay as they were."""
    before, path = fingerprint(model), model / "transformer" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[200_000] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert fingerprint(model) != before


def test_names_matter_and_places_do_not(model: Path, tmp_path: Path) -> None:
    before = fingerprint(model)
    moved = model.rename(tmp_path / "elsewhere")
    assert fingerprint(moved) == before
    (moved / "model_index.json").rename(moved / "other.json")
    assert fingerprint(moved) != before


def test_a_folder_is_named_by_its_full_path(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However its path was spelled."""
    monkeypatch.chdir(model.parent)
    assert identify("./model") == identify("model/../model") == identify(str(model))
    assert identify("model").startswith(f"{model.resolve()}@")


def test_a_file_is_read_once(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(model)
    assert cache.is_file()

    def refused(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("hashlib.file_digest", refused)
    assert fingerprint(model) == before
    (model / "more.json").write_text("{}")
    with pytest.raises(AssertionError, match="read again"):
        fingerprint(model)


@given(st.one_of(st.binary(max_size=40), st.sampled_from([b"[]", b'{"a": 1}', b"null"])))
def test_any_cache_is_survived(data: bytes) -> None:
    cache_file().parent.mkdir(parents=True, exist_ok=True)
    cache_file().write_bytes(data)
    assert len(fingerprint(Path(__file__))) == 12


def test_without_a_place_to_remember(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(model)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert fingerprint(model) == before


def test_one_file_and_what_is_none(model: Path, tmp_path: Path) -> None:
    assert fingerprint(model / "model_index.json") != fingerprint(model)
    with pytest.raises(ModelError, match="cannot be read"):
        fingerprint(tmp_path / "none.safetensors")
