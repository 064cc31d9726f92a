"""The recipe: a stopped run goes on to the same weights; a tiny one runs to the end."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from torch import nn
from transformers import CLIPTokenizer, T5Tokenizer

from counterflow.backbones.registry import toybox_folder
from counterflow.bench.sets import toypie
from counterflow.bench.sets.toypie import scene_edits
from counterflow.errors import InputError
from counterflow.prompts import words
from counterflow.toybox import judge
from counterflow.toybox.scene import VALUES
from counterflow.toybox.train import data, recipe, sd3, stage, text, transformer
from counterflow.toybox.train.attention import TrainingAttention

pytestmark = pytest.mark.usefixtures("quick_muon")


def quiet(line: str) -> None:
    """Says nothing."""


def learn(folder: Path, stops: list[int]) -> dict[str, Any]:
    """Nine steps of a small regression, interrupted after each of `stops` steps."""
    folder.mkdir(exist_ok=True)
    for stop in [*stops, 9]:
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        average = stage.Average(model)

        def step(
            i: int,
            model: Any = model,
            optimizer: Any = optimizer,
            average: Any = average,
            stop: int = stop,
        ) -> dict[str, float]:
            if i == stop:
                raise KeyboardInterrupt
            stage.set_rate(optimizer, stage.cosine(i, 9, warmup=2))
            x = torch.randn(4, 3, generator=torch.Generator().manual_seed(i))
            loss = (model(x) - x[:, :2]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(model, i)
            return {"loss": loss.item()}

        parts: Any = {"model": model, "optimizer": optimizer, "average": average}
        try:
            assert stage.run("s", 9, step, parts, folder, stage.Log(folder, quiet), every=3)
        except KeyboardInterrupt:
            continue
    return {**model.state_dict(), **{f"average {k}": v for k, v in average.shadow.items()}}


def test_an_interrupted_run_ends_the_same(tmp_path: Path) -> None:
    """Killed twice, also between checkpoints: bit-equal weights and average."""
    whole, broken = learn(tmp_path / "whole", []), learn(tmp_path / "broken", [4, 8])
    assert whole.keys() == broken.keys()
    for key, value in whole.items():
        assert torch.equal(value, broken[key]), key


def test_a_deadline_saves(tmp_path: Path) -> None:
    """Out of time, one step is done, saved and reported; the next run starts behind it."""
    log, seen = stage.Log(tmp_path, quiet), list[int]()

    def step(i: int) -> dict[str, float]:
        seen.append(i)
        return {"loss": 1.0}

    assert not stage.run("s", 3, step, {}, tmp_path, log, deadline=time.monotonic() - 1)
    assert stage.run("s", 3, step, {}, tmp_path, log, deadline=math.inf)
    assert seen == [0, 1, 2]
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["step"] == 1


def test_the_whole_recipe_small(tmp_path: Path) -> None:
    """Stopped by its deadline, refused with another recipe, resumed; a pipeline comes out."""
    small = recipe.Recipe(
        vae_steps=2, vae_scenes=8, scenes=12, phrasings=2, steps=2, brief_steps=1, batch=2,
        decoder_steps=1,
        judge_steps=2, judged=12, held_out=12, compile=False,
    )  # fmt: skip
    log = stage.Log(tmp_path, quiet)
    assert recipe.train(tmp_path, small, log, minutes=0) is None
    with pytest.raises(InputError, match="another recipe"):
        recipe.train(tmp_path, recipe.Recipe(seed=2), log)
    out = recipe.train(tmp_path, small, log)
    assert out is not None
    pipeline = StableDiffusion3Pipeline.from_pretrained(out, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("a cat", num_inference_steps=1, output_type="np").images
    assert made.shape == (1, 128, 128, 3)
    stages = {
        json.loads(line)["stage"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    }
    assert stages == {"vae", "latents", "transformer", "brief", "decoder", "judge"}
    assert json.loads((out / "words.json").read_text()) == recipe.known_words(
        data.scenes(data.TRAINING_SEEDS, 12), small
    )
    assert set(judge.accuracy(tmp_path / "judge")["renders"]) == set(VALUES)
    assert judge.load(tmp_path / "judge").read_pixels(torch.zeros(1, 3, 128, 128))


def test_brief_training_says_less() -> None:
    """Every second caption is brief, in the full one's phrasing; the first stage has none."""
    learned = data.scenes(data.TRAINING_SEEDS, 50)
    full, brief = (transformer.phrasings(learned, 4, each) for each in (False, True))
    assert brief[0] == full[0] and brief[2] == full[2]
    for p in (1, 3):
        shorter = [len(b) < len(f) for b, f in zip(brief[p], full[p], strict=True)]
        assert 40 <= sum(shorter) <= 50  # all fields are said in one of 32
        assert all(
            set(words(b)) <= set(words(f)) | {"a", "an"}
            for b, f in zip(brief[p], full[p], strict=True)
        )


def test_training_attention_is_the_pipelines() -> None:
    """Our processor equals diffusers'; one padding token of weight n equals n of them."""
    torch.manual_seed(0)
    model = sd3.build(layers=2, heads=1, pooled=8)
    for p in model.parameters():
        nn.init.normal_(p, std=0.05)
    x, time_, pooled = torch.randn(2, 16, 4, 4), torch.tensor([300.0, 800.0]), torch.randn(2, 8)
    words, pad = torch.randn(2, 5, 256), torch.randn(2, 1, 256)

    def run(text: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        kwargs = {} if bias is None else {"joint_attention_kwargs": {"bias": bias}}
        with torch.no_grad():
            return model(x, text, pooled, time_, return_dict=False, **kwargs)[0]

    theirs = run(torch.cat([words, pad.expand(-1, 7, -1)], 1))
    model.set_attn_processor(TrainingAttention())
    assert torch.allclose(run(torch.cat([words, pad.expand(-1, 7, -1)], 1)), theirs, atol=1e-5)
    bias = torch.zeros(2, 1, 1, 4 + 6)
    bias[..., -1] = math.log(7)
    assert torch.allclose(run(torch.cat([words, pad], 1), bias), theirs, atol=1e-5)
    assert not torch.allclose(run(torch.cat([words, pad], 1)), theirs, atol=1e-4)


def test_no_caption_is_cut() -> None:
    """What is learned and what is edited fit the bundled tokenizers, which both split some words.

    In training a T5 row is left for the padding that stands for all the rest.
    """
    learned = data.scenes(data.TRAINING_SEEDS, 1500)
    captions = [each for said in transformer.phrasings(learned, 4) for each in said]
    captions += [prompt for case in scene_edits(1000, toypie.SEED) for prompt in case.prompts]
    vocabulary = {word for each in captions for word in each.replace(",", "").split()}
    for part, most in (("tokenizer", 36), ("tokenizer_2", 36), ("tokenizer_3", 36)):
        kind = T5Tokenizer if part == "tokenizer_3" else CLIPTokenizer
        tokenizer = kind.from_pretrained(toybox_folder() / part)
        assert tokenizer.model_max_length == text.LENGTH == most
        assert max(len(ids) for ids in tokenizer(captions, truncation=False).input_ids) <= most
        split = [w for w in vocabulary if len(tokenizer(w, add_special_tokens=False).input_ids) > 1]
        assert 5 <= len(split) < len(vocabulary) / 4, (part, split)


def test_muon_of_convolutions_trains_the_weight_itself() -> None:
    """The matrix it steps is the kernel's own storage, also after loading a state."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    target = torch.randn(2, 4, 6, 6)
    x = torch.randn(2, 3, 8, 8)
    muon = stage.Muon([conv.weight], 0.05)
    losses = []
    for i in range(30):
        if i == 15:
            saved = muon.state_dict()
            muon = stage.Muon([conv.weight], 0.05)
            muon.load_state_dict(saved)
        loss = (conv(x) - target).square().mean()
        stage.descend(loss, [conv.weight], muon)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0] and losses[-1] < losses[14]


def test_a_gpu_trains_longer_by_default() -> None:
    """Nothing given: the processor's recipe, or the longer one. What is given stays."""
    cpu, cuda = (recipe.choose(torch.device(name), seed=3, steps=None) for name in ("cpu", "cuda"))
    assert cpu == recipe.Recipe(seed=3)
    assert all(getattr(cuda, name) > getattr(cpu, name) for name in recipe.LONGER)
    assert recipe.choose(torch.device("cuda"), steps=7).steps == 7
