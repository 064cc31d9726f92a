"""Repositories without a network: what is here opens, and of the rest one line says so, soon."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from counterflow.backbones import hub
from counterflow.backbones.identity import identify
from counterflow.backbones.opening import load_backbone
from counterflow.errors import ModelError
from tools import SOURCE

COMMIT = "c0ffee" * 6 + "c0ff"


@pytest.fixture
def here(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of owner/tiny in the hub's cache, on a machine without a network."""
    home = tmp_path / "models--owner--tiny"
    snapshot = home / "snapshots" / COMMIT
    shutil.copytree(model, snapshot)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def unreachable(*_: Any, **__: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    return snapshot


@pytest.mark.fault("20", "F23")
@pytest.mark.parametrize("name", ["owner/tiny", "owner/tiny@main", f"owner/tiny@{COMMIT}"])
def test_what_is_here_opens(name: str, here: Path) -> None:
    """At once, with the commit as its identity."""
    assert identify(name) == f"owner/tiny@{COMMIT}"
    backbone = load_backbone(name, "cpu")
    assert backbone.identity == f"owner/tiny@{COMMIT}"
    assert backbone.embed(SOURCE).length > 0


@pytest.mark.fault("20", "F23")
def test_what_is_here_in_part(here: Path) -> None:
    for path in (here / "transformer").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ModelError, match="lacks transformer here, and the hub cannot be reached"):
        load_backbone("owner/tiny", "cpu")
    with pytest.raises(ModelError, match="owner/other is not on this machine"):
        load_backbone("owner/other", "cpu")


@pytest.mark.fault("20", "F23")
def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes to look up its address, which no timeout of a request bounds."""
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: time.sleep(30))
    began = time.monotonic()
    with pytest.raises(ModelError, match="no answer in 3 seconds"):
        hub.commit("nobody/nothing-of-this-name", None)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ["own er/name", "owner/na\nme", "owner/-x", "a" * 200 + "/b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ModelError, match="is no repository's name"):
        hub.commit(name, None)
