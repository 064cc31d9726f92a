"""Small models that every test may use: two of random weights, and the bundled one."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from hypothesis import settings

import results_folder
from counterflow.backbones.sd3 import SD3
from counterflow.edit.editor import Editor
from counterflow.toybox.captions import caption
from counterflow.toybox.render import render
from counterflow.toybox.scene import sample
from counterflow.toybox.train import text

logging.getLogger("transformers").setLevel(logging.ERROR)
settings.register_profile("no deadline", deadline=None)  # seconds here are noise
settings.load_profile("no deadline")


def tiny_pipeline(dual_attention: bool = False, shift: float = 1.0) -> Any:
    """A random-weight SD3 pipeline (SD3.5-medium-like with dual attention) of 64×64 pixels."""
    torch.manual_seed(11)
    captions = [caption(sample(i)) for i in range(300)]
    first = text.clip_tokenizer(captions, "<|endoftext|>")
    second = text.clip_tokenizer(captions, "!")
    third = text.t5_tokenizer(captions)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        caption_projection_dim=32,
        pooled_projection_dim=24,
        pos_embed_max_size=16,
        qk_norm="rms_norm" if dual_attention else None,
        dual_attention_layers=(0, 1) if dual_attention else (),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.5,
        shift_factor=0.06,
    )
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=shift),
        vae=vae,
        text_encoder=text.clip_encoder(first, 16, 12),
        tokenizer=first,
        text_encoder_2=text.clip_encoder(second, 24, 12),
        tokenizer_2=second,
        text_encoder_3=text.t5_encoder(third, 48),
        tokenizer_3=third,
    )
    pipeline.set_progress_bar_config(disable=True)
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3"):
        getattr(pipeline, name).eval()
    return pipeline


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


@pytest.fixture(scope="module")
def one(tiny: Any) -> Editor:
    """One model, where which it is cannot matter."""
    return Editor(tiny)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random pipeline as a folder."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


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
