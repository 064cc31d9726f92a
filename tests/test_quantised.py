"""Quantised weights: saved so, or quantised as they are read, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from counterflow.backbones import quantised
from counterflow.backbones.base import stacked
from counterflow.backbones.loading import Loading
from counterflow.backbones.memory import weight_bytes
from counterflow.backbones.opening import load_backbone
from counterflow.controls.align import text_map
from counterflow.controls.base import Part, attach
from counterflow.controls.rows import row_map
from counterflow.controls.text import TextControl
from counterflow.edit.editor import Editor
from counterflow.errors import InputError, ModelError
from counterflow.flow import Step
from counterflow.toybox.render import render
from tiny import TINY
from tools import SCENE, SOURCE, TARGETS, distance, hooks, mapped, noise, watched

HERE = Step(1, 4, 0.7)
KINDS = ("int8", "fp8")
needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not here")


@pytest.fixture(scope="module", params=["sd3", "flux-dev"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    TINY[family].build().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def saved(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, saved with a transformer of int8 weights."""
    pytest.importorskip("torchao")
    path = tmp_path_factory.mktemp("quantised") / "tiny"
    opened(folder, quantize="int8").backbone.pipeline.save_pretrained(path)
    return path


def opened(path: Path, **options: Any) -> Any:
    editor = Editor(load_backbone(str(path), "cpu", **options))
    editor.backbone.area = 64 * 64  # type: ignore[misc]
    return editor


def velocity(editor: Any) -> torch.Tensor:
    found: torch.Tensor = editor.backbone.velocity(noise(editor, 3), 0.6, editor.embed(SOURCE))
    return found


# Whether it works


@needs_torchao
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_quantised_as_they_are_read(folder: Path, kind: str) -> None:
    """To about a quarter of float32, for nearly the same velocities."""
    plain, small = opened(folder), opened(folder, quantize=kind)
    weight = small.backbone.transformer.transformer_blocks[0].attn.to_q.weight
    assert type(weight).__name__ == {"int8": "Int8Tensor", "fp8": "Float8Tensor"}[kind]
    assert 0 < distance(velocity(small), velocity(plain)) <= 0.2
    assert small.backbone.dtype == torch.float32
    before, after = (weight_bytes(each.backbone.pipeline) for each in (plain, small))
    assert after < before


@needs_torchao
def test_a_saved_one_is_opened(folder: Path, saved: Path) -> None:
    """As it was before it was saved, to the bit."""
    assert "quantization_config" in json.loads((saved / "transformer/config.json").read_text())
    again = opened(saved)
    assert torch.equal(velocity(again), velocity(opened(folder, quantize="int8")))


@needs_torchao
def test_it_draws_what_its_own_pipeline_does(saved: Path, family: str) -> None:
    editor, size = opened(saved), TINY[family].wide
    start = editor.noise(5, size)
    options = {"num_inference_steps": 3, "width": size[0], "height": size[1]}
    expected = TINY[family].own(editor.backbone.pipeline, [SOURCE], start, 3.5, options)
    made = editor.generate(SOURCE, steps=3, guidance=3.5, seed=5, size=size)[1][-1]
    assert distance(made, expected) <= 1e-4 and distance(made, start) > 0.1


@needs_torchao
def test_a_text_control_changes_the_mapped_rows_alone(saved: Path) -> None:
    editor = opened(saved)
    backbone = editor.backbone
    source, target = map(backbone.embed, (SOURCE, TARGETS[0]))
    rows = text_map(source.segments, target.segments, target.length)
    both, x = stacked([source, target]), noise(editor, 3).expand(2, -1, -1, -1)
    sites = {s.name: s for s in backbone.sites() if (s.stream, s.part) == ("text", "modulated")}
    parts = [
        Part("source", slice(0, 1), HERE),
        Part("target", slice(1, 2), HERE, [row_map(source, target)]),
    ]
    plain = backbone.velocity(x, HERE.sigma, both)
    with (
        watched(sites) as raw,
        attach(backbone, [TextControl(padding=True)]) as session,
        watched(sites) as seen,
        session.running(HERE, parts),
    ):
        out = backbone.velocity(x, HERE.sigma, both)
    raw, after = dict(raw), dict(seen)
    for name, site in sites.items():
        own, new = site.read(raw[name]), site.read(after[name])
        assert torch.equal(new[:1], own[:1])
        assert torch.equal(new[1:], mapped(own[1:].clone(), own[:1], rows)), name
    assert torch.equal(out[0], plain[0]) and not torch.equal(out[1], plain[1])
    assert hooks(backbone) == 0
    assert torch.equal(backbone.velocity(x, HERE.sigma, both), plain)


@needs_torchao
def test_an_edit_is_exact_where_the_source_is(folder: Path) -> None:
    editor = opened(folder, quantize="int8", offload="group")
    inversion = editor.invert(render(SCENE), SOURCE, "ftedit", steps=2, iterations=1)
    assert torch.isfinite(editor.edit(inversion, TARGETS[0]).latent).all()
    assert editor.reconstruct(inversion).latent_error <= 1e-5


@needs_torchao
@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_a_file_are_quantised_too(folder: Path, kind: str, tmp_path: Path) -> None:
    """After they are read, to the same bits; so are those that a LoRA is added to."""
    small = opened(folder, quantize=kind)
    net = load_backbone(str(folder), "cpu").transformer  # type: ignore[attr-defined]
    save_file({k: v.clone() for k, v in net.state_dict().items()}, tmp_path / "a.safetensors")
    own = opened(folder, quantize=kind, weights=str(tmp_path / "a.safetensors"))
    assert torch.equal(velocity(own), velocity(small))


# What is refused


def claimed(folder: Path, path: Path, method: str, part: str = "transformer") -> Path:
    """A copy of a pipeline that says it was quantised; what is refused comes before its weights."""
    shutil.copytree(folder, path)
    config = path / part / "config.json"
    facts = json.loads(config.read_text())
    config.write_text(json.dumps(facts | {"quantization_config": {"quant_method": method}}))
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quantize": "int3"}, "quantize is one of int8, fp8, nf4"),
        ({"quantize": "int8", "cast": True}, "choose one"),
        ({"quantize": "int8", "weights": "a.gguf"}, "a.gguf is quantised already"),
        ({"quantize": "nf4", "lora": ("a.safetensors",)}, "choose int8 or fp8"),
        ({"quantize": "nf4", "compile": True}, "choose int8 or fp8"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Loading(**options).check()


@pytest.mark.parametrize("family", ["sd3"], indirect=True)
@pytest.mark.parametrize(
    ("method", "part", "options", "said"),
    [
        ("torchao", "transformer", {}, "needs the package torchao: pip install torchao"),
        ("bitsandbytes", "text_encoder_3", {}, "needs the package bitsandbytes: pip install"),
        (None, None, {"quantize": "fp8"}, "--quantize fp8 needs the package torchao"),
        (None, None, {"quantize": "nf4"}, "needs a GPU: on a CPU choose int8 or fp8"),
    ],
)
def test_a_package_or_a_gpu_is_lacking(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str | None,
    part: str,
    options: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda _: None)
    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", lambda *_, **__: 1 / 0)
    path = folder if method is None else claimed(folder, tmp_path / "a", method, part)
    with pytest.raises(InputError, match=said) as error:
        load_backbone(str(path), "cpu", **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", ["sd3"], indirect=True)
@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("torchao", {"quantize": "int8"}, "quantised already, by torchao: leave --quantize out"),
        ("torchao", {"cast": True}, "leave --cast out"),
        ("torchao", {"lora": ("a.safetensors",)}, "leave --lora out"),
        ("bitsandbytes", {}, "by bitsandbytes, needs a GPU"),
    ],
)
def test_what_is_quantised_already(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    options: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda _: True)
    monkeypatch.chdir(tmp_path)
    Path("a.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=said):
        load_backbone(str(claimed(folder, tmp_path / "b", method)), "cpu", **options)


@needs_torchao
@pytest.mark.fault("19")
@pytest.mark.parametrize("family", ["sd3"], indirect=True)
def test_a_pickle_is_refused(folder: Path, saved: Path, tmp_path: Path) -> None:
    """As older versions of torchao save: the form can hold code."""
    path = tmp_path / "pickled"
    shutil.copytree(saved, path)
    kind = diffusers.SD3Transformer2DModel.from_pretrained(saved / "transformer")
    shutil.rmtree(path / "transformer")
    kind.save_pretrained(path / "transformer", safe_serialization=False)
    with pytest.raises(ModelError, match=r"no \.safetensors of transformer .*can hold code"):
        load_backbone(str(path), "cpu")


def test_it_decides_the_picture(tmp_path: Path) -> None:
    how = Loading("toybox", "cpu", "float32", quantize="int8")
    assert how.record()["quantize"] == "int8" and Loading.from_record(how.record()) == how
    assert "quantize" not in Loading().record()


@needs_torchao
def test_it_is_not_heard_where_nobody_asked_for_it(tmp_path: Path) -> None:
    """diffusers and transformers import it where it is installed, and it logs as it is imported."""
    command = [sys.executable, "-m", "counterflow", "bench", "--limit", "1", "-o", tmp_path / "x"]
    done = subprocess.run(
        [*command, "--method", "chordedit"], capture_output=True, text=True, check=True
    )
    assert "chordedit" in done.stdout
    assert not any(name in done.stderr for name in ("torchao", "_pytree", "bitsandbytes"))
