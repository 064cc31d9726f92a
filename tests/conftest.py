"""Small models that every test may use: two of random weights, and the bundled one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

import results_folder
from counterflow.backbones.opening import load_adapter
from counterflow.backbones.sd3 import SD3
from counterflow.edit.editor import Editor
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from counterflow.toybox.train import stage
from tiny import TINY
from tiny.sd3 import saved
from tiny.sd3 import sd3 as tiny_pipeline

logging.getLogger("transformers").setLevel(logging.ERROR)
settings.register_profile("no deadline", deadline=None)  # seconds here are noise
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def tiny() -> SD3:
    """A tiny random SD3, with a shifted grid."""
    return SD3(tiny_pipeline(shift=3.0), "tiny")


@pytest.fixture(scope="session")
def tiny_medium() -> SD3:
    """A tiny random SD3.5-medium-like model: dual attention, normalised queries and keys."""
    return SD3(tiny_pipeline(dual_attention=True), "tiny-medium")


@pytest.fixture(scope="module", params=["tiny", "tiny_medium"])
def editor(request: pytest.FixtureRequest) -> Editor:
    """Both models in turn; every test here leaves them as they were."""
    return Editor(request.getfixturevalue(request.param))


@pytest.fixture(scope="module", params=TINY)
def named(request: pytest.FixtureRequest) -> str:
    """A tiny pipeline of each family in turn."""
    return request.param


@pytest.fixture(scope="module")
def its(named: str) -> Editor:
    """An editor on a pipeline of each family."""
    backbone = load_adapter(TINY[named].build(), named)
    backbone.area = 64 * 64
    return Editor(backbone)


@pytest.fixture(scope="module")
def one(tiny: Any) -> Editor:
    """One model, where which it is cannot matter."""
    return Editor(tiny)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random pipeline as a folder."""
    return saved(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def quick_muon() -> Iterator[None]:
    """Muon's products in float32, on CPUs without bfloat16: in that a step takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        if not stage.quick_in_bfloat16(stage.CPU):
            patch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
        yield


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    render(sample(1)).save(path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process; exit code, stdout, stderr."""
    from counterflow.cli import main

    def run(*args: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in args])
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return int(stop.value.code or 0), out.out, out.err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def put(tmp_path: Path):
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


# Results folders


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on 60 cases of ten kinds, with pictures."""
    folder = tmp_path_factory.mktemp("results")
    results_folder.write(folder)
    return folder


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases without pictures."""
    folder = tmp_path_factory.mktemp("ten")
    results_folder.write(folder, 10, pictures=False)
    return folder


@pytest.fixture
def few(ten: Path, tmp_path: Path) -> Path:
    """A copy of the ten cases, for a test to spoil."""
    return Path(shutil.copytree(ten, tmp_path / "few"))
