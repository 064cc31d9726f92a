"""The recipe of toybox-flux: its text encoders, its attention, its stages and its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from torch import nn

from counterflow.backbones import registry
from counterflow.backbones.mmdit import pack, places, unpack
from counterflow.backbones.opening import load_backbone
from counterflow.backbones.registry import toybox_folder
from counterflow.errors import InputError, ModelError
from counterflow.toybox.train import flux, recipe, stage, text, transformer
from counterflow.toybox.train.attention import FluxTrainingAttention
from tools import Run, distance, refused

SMALL: dict[str, Any] = {
    "architecture": "flux", "scenes": 12, "phrasings": 2, "steps": 2, "brief_steps": 1,
    "guidance_steps": 2, "batch": 2, "compile": False,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("quick_muon")


def quiet(line: str) -> None:
    """Says nothing."""


def small() -> recipe.Recipe:
    return recipe.choose(torch.device("cpu"), **SMALL)


@pytest.fixture(scope="module")
def texts() -> flux.Texts:
    return flux.Texts()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("flux")
    out = recipe.train(folder, small(), stage.Log(folder, quiet))
    assert out == folder / "pipeline"
    return out


# Text encoders


def test_text_features_are_token_local(texts: flux.Texts) -> None:
    """A changed word changes its own row, bit for bit; its place changes where others differ."""
    one, other = ("a red cat with a blue hat", "a red cat with a gray hat")
    a, b = (texts(texts.tokens([each]))[0] for each in (one, other))
    differ = (a != b).any(-1)[0].nonzero().flatten()
    assert differ.tolist() == [5]
    swapped = texts(texts.tokens(["a blue cat with a red hat"]))[0]
    assert torch.equal(swapped[:, 0], a[:, 0]) and not torch.equal(swapped[:, 1], a[:, 5])


def test_equal_tokens_differ_by_their_distance_to_the_end(texts: flux.Texts) -> None:
    """Whatever the other words are; padding has no place and is the same at any length."""
    tokenizer, encoder = texts.tokenizers[1], texts.encoder_2

    def features(caption: str, length: int) -> torch.Tensor:
        code = tokenizer(caption, padding="max_length", max_length=length, return_tensors="pt")
        return encoder(code.input_ids)[0][0]

    short, long = (features("a red cat", n) for n in (text.LENGTH, 100))
    assert torch.equal(short, long[: text.LENGTH])
    assert torch.equal(long[4:], long[4:5].expand(96, -1))
    assert torch.equal(features("with a red cat", 36)[1:5], short[:4])
    twice = features("red red cat", 36)
    assert not torch.allclose(twice[0], twice[1], atol=0.1)
    half = texts.encoder_2.half()(tokenizer("a red cat", return_tensors="pt").input_ids)[0]
    assert torch.allclose(half.float()[0], short[:4], rtol=2**-9, atol=2**-9)
    encoder.float()


def test_what_is_trained_of_the_text(texts: flux.Texts) -> None:
    """The position table alone; the rest is the bundled model's."""
    learned = [name for name, p in texts.named_parameters() if p.requires_grad]
    assert learned == ["encoder_2.encoder.block.0.layer.0.SelfAttention.o.weight"]
    bundled = load_backbone("toybox", "cpu", "float32").pipeline  # type: ignore[attr-defined]
    width = bundled.text_encoder_3.shared.weight.shape[1]
    words = texts.encoder_2.shared.weight[:, :width]
    assert torch.equal(words, bundled.text_encoder_3.shared.weight)
    tokens = texts.tokens(["a sad green frog"])[0].long()
    assert torch.equal(
        texts.encoder(tokens).pooler_output,
        bundled.text_encoder.text_model(tokens).pooler_output,
    )


# The transformer


def test_training_attention_is_the_pipelines() -> None:
    """In double and single blocks; one padding token of weight n equals n of them."""
    torch.manual_seed(0)
    model = flux.build(double=2, single=2, heads=1, words=20, pooled=8)
    for p in model.parameters():
        nn.init.normal_(p, std=0.05)
    words, pad = torch.randn(2, 5, 20), torch.randn(2, 1, 20)
    x, pooled = torch.randn(2, 16, 4, 4), torch.randn(2, 8)

    def run(features: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        rows = features.shape[1]
        ids = places(rows, 2, 2, x.device)
        with torch.no_grad():
            out = model(
                pack(x), features, pooled, torch.tensor([0.3, 0.8]), ids[rows:], ids[:rows],
                torch.ones(2), {} if bias is None else {"bias": bias}, return_dict=False,
            )[0]  # fmt: skip
        return unpack(out, x)

    padded = torch.cat([words, pad.expand(-1, 7, -1)], 1)
    theirs = run(padded)
    model.set_attn_processor(FluxTrainingAttention())
    assert torch.allclose(run(padded), theirs, atol=1e-5)
    bias = torch.zeros(2, 1, 1, 6 + 4)
    bias[..., 5] = math.log(7)
    assert torch.allclose(run(torch.cat([words, pad], 1), bias), theirs, atol=1e-5)
    assert not torch.allclose(run(torch.cat([words, pad], 1)), theirs, atol=1e-4)


def test_the_teachers_guidance() -> None:
    """At 1 the velocity with the caption, else u + g (c − u), with no gradient."""
    torch.manual_seed(0)
    model = flux.Flux(flux.build(1, 1, heads=1), flux.Texts(), FluxTrainingAttention())
    for p in model.transformer.parameters():
        nn.init.normal_(p, std=0.05)
    tokens, empty = model.texts.tokens(["a red cat", "a dog"]), model.texts.tokens([""])
    told = (torch.randn(2, 16, 16, 16), torch.tensor([0.3, 0.8]), tokens, torch.tensor([3.0, 9.0]))
    rows = torch.tensor([1, 0])
    teacher = transformer.Teacher(model, empty, compile=False)
    plain, guided = (teacher(*told, rows, guidance=torch.tensor(g)) for g in ([1, 1], [1, 3]))
    c = model.velocity(model.transformer, *told, rows)
    assert torch.allclose(plain, c, atol=1e-6) and torch.allclose(guided[0], c[0], atol=1e-6)
    both = tuple(ids.expand(2, -1) for ids in empty)
    u = model.velocity(model.transformer, *told[:2], both, told[3])
    assert torch.allclose(guided[1], u[1] + 3 * (c - u)[1], atol=1e-5)
    assert c.requires_grad and not guided.requires_grad
    assert distance(c, u) > 1e-5


# The recipe


def test_the_folder_is_a_genuine_flux_pipeline(made: Path) -> None:
    """Diffusers opens it, half precision, small; its own call is our loop."""
    pipeline = FluxPipeline.from_pretrained(made, local_files_only=True)
    assert pipeline.scheduler.config.shift == 1.0 and pipeline.transformer.config.guidance_embeds
    pipeline.set_progress_bar_config(disable=True)
    (picture,) = pipeline("a cat", height=128, width=128, num_inference_steps=1).images
    assert picture.size == (128, 128)
    assert sum(f.stat().st_size for f in made.rglob("*") if f.is_file()) < 40e6
    assert max(f.stat().st_size for f in made.rglob("*")) < 20e6
    backbone = load_backbone(str(made), "cpu", "float32")
    assert backbone.family == "flux" and backbone.area == 128 * 128
    start = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(3))
    told = backbone.guidance(3.0).condition(backbone.embed("a red cat"))
    grid, x = backbone.grid(3, (128, 128)), start
    for k in grid.toward_image():
        x = x + grid.width(k) * backbone.velocity(x, grid[k], told)
    theirs = pipeline(
        "a red cat", height=128, width=128, num_inference_steps=3, guidance_scale=3.0,
        max_sequence_length=36, latents=pack(start), output_type="latent",
    ).images  # fmt: skip
    assert distance(x, unpack(theirs, start)) <= 1e-4 < distance(x, start)
    assert backbone.embed("a dragon").unknown == ("dragon",)


def test_its_autoencoder_is_the_bundled_one(made: Path) -> None:
    ours, theirs = (folder / "vae" for folder in (made, toybox_folder()))
    weights = "diffusion_pytorch_model.safetensors"
    assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()
    configs = [json.loads((folder / "config.json").read_text()) for folder in (ours, theirs)]
    assert configs[0] == configs[1]


def test_its_stages_and_recipe_are_on_record(made: Path) -> None:
    lines = (made.parent / "log.jsonl").read_text().splitlines()
    stages = [json.loads(line)["stage"] for line in lines]
    assert list(dict.fromkeys(stages)) == ["latents", "transformer", "brief", "guidance"]
    written = json.loads((made.parent / "recipe.json").read_text())
    assert written["architecture"] == "flux" and written["guidance_steps"] == 2
    assert written["vae_steps"] == written["judge_steps"] == 0


def test_a_stopped_run_ends_the_same(made: Path, tmp_path: Path) -> None:
    """Out of time in the first stage and in the last: bit-equal weights."""
    log, runs, out = stage.Log(tmp_path, quiet), 0, None
    while out is None:
        out = recipe.train(tmp_path, small(), log, minutes=0)
        runs += 1
    assert runs == 3
    for path in (made / "transformer").glob("*.safetensors"):
        assert path.read_bytes() == (out / "transformer" / path.name).read_bytes()
    t5 = "text_encoder_2/model.safetensors"
    assert (made / t5).read_bytes() == (out / t5).read_bytes()
    with pytest.raises(InputError, match="another recipe"):
        recipe.train(tmp_path, recipe.Recipe(), log)


def test_guidance_is_learned_in_its_own_stage(tmp_path: Path) -> None:
    """Deaf before; then what it adds at 5 points to where guidance points."""
    torch.manual_seed(0)
    model = flux.Flux(flux.build(1, 1, heads=1), flux.Texts(), FluxTrainingAttention())
    guidance = "time_text_embed.guidance_embedder"
    for name, p in model.transformer.named_parameters():
        if not name.startswith(guidance):
            nn.init.normal_(p, std=0.05)
    tokens = model.texts.tokens(["a red cat", "a sad dog", "two hats", "a frog"])
    latents = torch.randn(4, 16, 16, 16).half()
    data = transformer.Dataset(latents, [tokens], model.texts.tokens([""]))
    told = (torch.randn(4, 16, 16, 16), torch.tensor([0.2, 0.4, 0.6, 0.8]), tokens, torch.ones(4))
    teacher = transformer.Teacher(model, data.empty, compile=False)
    plain, guided = (teacher(*told, torch.arange(4), guidance=torch.full((4,), g)) for g in (1, 5))

    def says(g: float) -> torch.Tensor:
        with torch.no_grad():
            return model.velocity(model.transformer, *told, guidance=torch.full((4,), g))

    assert torch.equal(says(1.0), says(5.0))
    options: dict[str, Any] = {"seed": 1, "batch": 4, "compile": False}
    log = stage.Log(tmp_path, quiet)
    assert transformer.train("plain", tmp_path, log, data, model, 2, **options)
    assert torch.equal(says(1.0), says(5.0))
    assert transformer.train("told", tmp_path, log, data, model, 40, distil=True, **options)
    learned, taught = says(5.0) - says(1.0), guided - plain
    assert torch.cosine_similarity(learned.flatten(), taught.flatten(), dim=0) > 0.5


# What the command line says


def test_unknown_architectures_and_guidance_of_sd3_are_refused(run: Run, tmp_path: Path) -> None:
    out = ["-o", tmp_path / "run"]
    refused(run("toybox", "train", "--architecture", "unet", *out), 2, "sd3 or flux")
    refused(run("toybox", "train", "--guidance-steps", "3", *out), 2, "--guidance-steps")
    assert not (tmp_path / "run").exists()


def test_defaults_of_the_architecture() -> None:
    """Nothing of SD3's recipe changes; flux trains no autoencoder, on a GPU longer."""
    cpu, cuda = (recipe.choose(torch.device(name), "flux") for name in ("cpu", "cuda"))
    assert cpu.vae_steps == cuda.vae_steps == cuda.judge_steps == cuda.decoder_steps == 0
    assert cuda.steps > cpu.steps and cuda.guidance_steps > cpu.guidance_steps > 0
    assert recipe.choose(torch.device("cpu"), "sd3") == recipe.Recipe()
    assert recipe.choose(torch.device("cpu"), "flux", vae_steps=5).vae_steps == 5


def test_a_bundled_model_that_is_not_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear line, in any command; `models` does not list it, and `doctor` is well."""
    monkeypatch.setitem(registry.BUNDLED, "toybox-flux", "weights_of_none")
    with pytest.raises(ModelError, match="toybox-flux is not in this installation"):
        load_backbone("toybox-flux")
    refused(run("toybox", "obey", "--model", "toybox-flux"), 3, "not in this installation")
    listed = json.loads(run("models", "--json")[1])["models"]
    assert "toybox-flux" not in {each["model"] for each in listed}
    assert run("doctor")[0] == 0
