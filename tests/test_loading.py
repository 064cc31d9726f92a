"""How a model is opened: which weights, what saves memory, and what is refused in one line."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors.torch import save_file

from counterflow.backbones import hub
from counterflow.backbones.identity import identify
from counterflow.backbones.loading import Loading
from counterflow.backbones.opening import load_backbone
from counterflow.edit.editor import Editor
from counterflow.errors import InputError, ModelError
from counterflow.outside import read_dict
from counterflow.toybox.render import render
from tiny.sd3 import sd3, sd3_own
from tools import SCENE, SOURCE, TARGETS, distance


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    sd3().save_pretrained(path)
    return path


def velocity(backbone: Any) -> torch.Tensor:
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    found: torch.Tensor = backbone.velocity(x, 0.6, backbone.embed(SOURCE))
    return found


@pytest.fixture(scope="module")
def plain(folder: Path) -> torch.Tensor:
    return velocity(load_backbone(str(folder), "cpu"))


# Weights of other files


@pytest.fixture(scope="module")
def lora(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model_state_dict

    net = StableDiffusion3Pipeline.from_pretrained(folder).transformer
    net.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
    torch.manual_seed(1)
    for name, weight in net.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight, std=0.3)
    out = tmp_path_factory.mktemp("lora")
    StableDiffusion3Pipeline.save_lora_weights(out, get_peft_model_state_dict(net))
    return next(out.glob("*.safetensors"))


def test_a_lora_is_added_with_its_weight(folder: Path, lora: Path, plain: torch.Tensor) -> None:
    """As diffusers applies it beside the weights; afterwards the modules are plain ones."""
    beside = StableDiffusion3Pipeline.from_pretrained(folder)
    beside.load_lora_weights(str(lora.parent), weight_name=lora.name, adapter_name="a")
    beside.set_adapters(["a"], [0.5])
    expected = velocity(load_backbone(beside))
    added: Any = load_backbone(str(folder), "cpu", lora=(f"{lora}=0.5",))
    assert distance(velocity(added), expected) <= 1e-5
    assert distance(expected, plain) > 1e-3
    assert type(added.transformer.transformer_blocks[0].attn.to_q) is torch.nn.Linear
    none = load_backbone(str(folder), "cpu", lora=(f"{lora}=0",))
    assert distance(velocity(none), plain) <= 1e-6


def test_identities_tell_added_weights_apart(folder: Path, lora: Path) -> None:
    one = Loading(str(folder), lora=(str(lora),))
    names = {
        identify(each) for each in (Loading(str(folder)), one, replace(one, lora=(f"{lora}=0.5",)))
    }
    assert len(names) == 3
    assert load_backbone(one).identity == identify(one)


def test_a_transformer_from_one_file(folder: Path, plain: torch.Tensor, tmp_path: Path) -> None:
    net = StableDiffusion3Pipeline.from_pretrained(folder).transformer
    state = {name: value.clone() for name, value in net.state_dict().items()}
    save_file(state, tmp_path / "same.safetensors")
    same = load_backbone(str(folder), "cpu", weights=str(tmp_path / "same.safetensors"))
    assert distance(velocity(same), plain) <= 1e-6
    state["proj_out.bias"] += 1
    save_file(state, tmp_path / "other.safetensors")
    other = load_backbone(str(folder), "cpu", weights=str(tmp_path / "other.safetensors"))
    assert distance(velocity(other), plain) > 0.1


def test_a_quantised_transformer(folder: Path, plain: torch.Tensor, tmp_path: Path) -> None:
    """GGUF of 8 bits: nearly the same velocities, and an edit under control."""
    gguf = pytest.importorskip("gguf")
    net = StableDiffusion3Pipeline.from_pretrained(folder).transformer
    writer = gguf.GGUFWriter(tmp_path / "tiny.gguf", "sd3")
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, value in net.state_dict().items():
        array = value.float().numpy()
        if name.endswith("to_q.weight"):
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    small = load_backbone(str(folder), "cpu", weights=str(tmp_path / "tiny.gguf"))
    assert 0 < distance(velocity(small), plain) <= 0.05
    editor = Editor(small)
    inversion = editor.invert(render(SCENE), SOURCE, "ftedit", steps=2, iterations=1)
    assert torch.isfinite(editor.edit(inversion, TARGETS[0]).latent).all()


def test_a_pipeline_in_memory(folder: Path, plain: torch.Tensor) -> None:
    editor = Editor.load(StableDiffusion3Pipeline.from_pretrained(folder))
    assert distance(velocity(editor.backbone), plain) <= 1e-6
    assert editor.backbone.identity == "StableDiffusion3Pipeline@memory"


def test_options_that_would_be_ignored_are_refused(folder: Path, tiny: Any) -> None:
    """Of a pipeline in memory all but `negative`, of a record all."""
    for load in (Editor.load, load_backbone):
        with pytest.raises(InputError, match="leave out 'cpu', cast, dtype"):
            load(tiny.pipeline, "cpu", dtype="float16", cast=True)
        with pytest.raises(InputError, match="a Loading says all of it: leave out negative"):
            load(Loading(str(folder)), negative="a dog")
    negative = Editor.load(tiny.pipeline, negative="a dog").negative
    assert negative.prompt == Editor.load(Loading(str(folder), negative="a dog")).negative.prompt
    assert negative.prompt == "a dog"


# What saves memory


def test_offloading_changes_nothing(folder: Path, plain: torch.Tensor) -> None:
    """Under control, too: parts move below the hooks."""
    backbone = load_backbone(str(folder), "cpu", offload="group")
    assert distance(velocity(backbone), plain) <= 1e-6
    assert backbone.device == torch.device("cpu")
    first, second = (
        editor.edit(editor.invert(render(SCENE), SOURCE, "ftedit", steps=2), TARGETS[0]).latent
        for editor in (Editor(backbone), Editor.load(str(folder), "cpu"))
    )
    assert distance(first, second) <= 1e-5


def test_a_picture_of_one_tile_is_whole(folder: Path) -> None:
    tiled: Any = load_backbone(str(folder), "cpu", tiles=True)
    whole = load_backbone(str(folder), "cpu")
    assert tiled.vae.use_tiling and tiled.vae.use_slicing
    side = tiled.vae.tile_sample_min_size
    small, large = (torch.rand(1, 3, n, n) * 2 - 1 for n in (side, 4 * side))
    assert torch.equal(tiled.encode(small), whole.encode(small))
    assert 0 < distance(tiled.encode(large), whole.encode(large)) < 10


def test_weights_in_eight_bits(folder: Path, plain: torch.Tensor) -> None:
    backbone: Any = load_backbone(str(folder), "cpu", cast=True)
    stored = backbone.transformer.transformer_blocks[0].attn.to_q.weight
    assert stored.dtype == torch.float8_e4m3fn and backbone.dtype == torch.float32
    assert 0 < distance(velocity(backbone), plain) <= 0.2
    editor = Editor(backbone)
    inversion = editor.invert(render(SCENE), SOURCE, "ftedit", steps=2, iterations=1)
    assert editor.reconstruct(inversion).latent_error <= 1e-5


# What is refused


@pytest.mark.fault("19")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "int8"}, "dtype is one of"),
        ({"device": "abacus"}, "device is cpu"),
        ({"offload": "all"}, "offload is one of"),
        ({"offload": "group", "compile": True}, "neither offloaded nor cast"),
        ({"weights": "a.ckpt"}, "can hold code"),
        ({"weights": "absent.gguf"}, "is not there"),
        ({"lora": ("a.pt=1",)}, "can hold code"),
        ({"lora": ("a.safetensors=much",)}, "FILE=0.8"),
    ],
)
def test_wrong_values(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Loading(**options).check()


def test_offloading_needs_a_gpu(folder: Path) -> None:
    with pytest.raises(InputError, match="needs a GPU"):
        load_backbone(str(folder), "cpu", offload="model")


@pytest.mark.fault("19")
def test_an_incomplete_folder(folder: Path, tmp_path: Path) -> None:
    """Files that can hold code do not count."""
    path = tmp_path / "part"
    (path / "transformer").mkdir(parents=True)
    (path / "model_index.json").write_bytes((folder / "model_index.json").read_bytes())
    (path / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"code")
    with pytest.raises(ModelError, match=r"incomplete: no \.safetensors of .*transformer"):
        Loading(str(path)).check()


@pytest.mark.fault("19")
def test_code_of_a_models_own_is_not_run(folder: Path, tmp_path: Path) -> None:
    """Nor is anything loaded before that is said."""
    path = tmp_path / "coded"
    shutil.copytree(folder, path)
    index = read_dict(path / "model_index.json") | {"transformer": ["theirs", "Transformer"]}
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "transformer" / "theirs.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ModelError, match=r"code of its own \(transformer/theirs\.py\).* never run"):
        Editor.load(str(path), "cpu")


@pytest.mark.fault("19")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one.safetensors", "give --weights {file} --model FOLDER, with the folder or repository"),
        ("one.GGUF", "give --weights {file} --model FOLDER, with the folder or repository"),
        ("one.ckpt", "of single files only .safetensors and .gguf are read, as --weights FILE"),
    ],
)
def test_one_file_is_no_model(tmp_path: Path, name: str, said: str) -> None:
    """How it can be used is said."""
    (file := tmp_path / name).write_bytes(b"weights")
    with pytest.raises(ModelError) as error:
        Loading(str(file)).check()
    plain = f"{file} is one file, not a pipeline's folder; {said.format(file=file)}"
    assert str(error.value).startswith(plain)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def model_info(*_: Any, **__: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


def files(*names: str, gated: Any = False) -> Any:
    siblings = [SimpleNamespace(rfilename=name) for name in names]
    return SimpleNamespace(gated=gated, siblings=siblings, sha="c0ffee")


def refusal(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    error.args = ("no",)
    return error


@pytest.mark.fault("20")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (files("model_index.json", "a.safetensors", gated="auto"), "is gated: accept its licence"),
        (refusal(GatedRepoError), "is gated: accept its licence"),
        (refusal(RepositoryNotFoundError), "no model owner/name"),
        (files("model_index.json", "a.bin"), "can hold code"),
        (files("a.safetensors"), "no model_index.json"),
        (ConnectionError("down"), "the hub cannot be reached"),
    ],
)
def test_repositories(monkeypatch: pytest.MonkeyPatch, answer: Any, said: str) -> None:
    answering(monkeypatch, answer)
    with pytest.raises(ModelError, match=said) as error:
        hub.commit("owner/name", None)
    assert "\n" not in str(error.value)


def test_a_revision_is_asked_for_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, files("model_index.json", "a.safetensors"))
    assert identify("owner/name@v1") == "owner/name@c0ffee"
    assert Loading("owner/name@v1").record()["model"] == "owner/name@v1"


@pytest.mark.fault("20", "F23")
def test_without_a_network_the_answer_comes_soon() -> None:
    began = time.monotonic()
    with pytest.raises(ModelError, match="not on this machine"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_backbone("nobody/nothing-of-this-name", "cpu")
    assert time.monotonic() - began < 5


def test_what_is_recorded_is_opened_again(folder: Path) -> None:
    how = Loading(str(folder), "cpu", "float32", lora=("a.safetensors=0.5",), cast=True)
    again = Loading.from_record(how.record() | {"seed": 3})
    assert again.record() == how.record() and again.loras()[0][1] == 0.5


# What is asked of it


def test_a_negative_prompt(folder: Path) -> None:
    """Guidance leads away from it; without guidance it is not asked."""
    plain, other = (Editor.load(str(folder), "cpu", negative=text) for text in ("", "a blue dog"))
    for guidance, same in ((1.0, True), (3.0, False)):
        made = [e.generate(SOURCE, steps=2, guidance=guidance)[1][-1] for e in (plain, other)]
        assert (distance(*made) <= 1e-6) is same
    expected = sd3_own(
        other.backbone.pipeline, [SOURCE], other.noise(0, (64, 64)), 3.0, negative("a blue dog")
    )
    assert distance(other.generate(SOURCE, steps=2, size=(64, 64))[1][-1], expected) <= 1e-4


def negative(prompt: str) -> dict[str, Any]:
    return {"num_inference_steps": 2, "width": 64, "height": 64, "negative_prompt": prompt}


@pytest.mark.parametrize("prompt", ["a (red:1.3) cat", "a ((red)) cat", "a red++ cat"])
def test_weights_of_words_are_told(folder: Path, prompt: str) -> None:
    editor = Editor.load(str(folder), "cpu")
    with pytest.warns(UserWarning, match="no word is weighted here"):
        editor.generate(prompt, steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        editor.generate("a cat (red), at 10:30", steps=1)
