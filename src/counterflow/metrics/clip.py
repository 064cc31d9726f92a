"""CLIP score (Radford et al. 2021; Hessel et al. 2021): how well a picture fits a prompt.

100 times the cosine between the features of picture and prompt, without clipping at 0. Pictures are
resized and cropped by Pillow as in CLIP's own processor. A prompt of more than 77 tokens is cut to
77, and its end token is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from counterflow.errors import ModelError
from counterflow.metrics.pixels import Picture, check
from counterflow.metrics.pretrained import local_folder, local_model, refusing

NAME = "openai/clip-vit-large-patch14"
FILES = "config.json model.safetensors tokenizer.json tokenizer_config.json vocab.json merges.txt"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Clip(nn.Module):
    """CLIP score by a CLIPModel of transformers and its tokenizer; higher fits better."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer

    @torch.no_grad()
    def score(self, picture: Picture, prompt: str) -> float:
        """100·cosine of picture and prompt, in −100…100; higher fits better.

        Raises ValueError for an array that is no picture.
        """
        check(picture, picture)
        pixels = prepared(picture, self.model.config.vision_config.image_size)
        return 100 * float(torch.cosine_similarity(self.seen(pixels), self.read(prompt)))

    def seen(self, pixels: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Features of prepared pictures, each a row of `d` numbers."""
        pooled = self.model.vision_model(pixels.to(self.model.device)).pooler_output
        features: Tensor = self.model.visual_projection(pooled)
        return features

    def read(self, prompt: str) -> Float[Tensor, "1 d"]:
        """Features of a prompt, a row of `d` numbers."""
        longest = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            [prompt], truncation=True, max_length=longest, return_tensors="pt"
        ).to(self.model.device)
        pooled = self.model.text_model(tokens.input_ids, tokens.attention_mask).pooler_output
        features: Tensor = self.model.text_projection(pooled)
        return features


def prepared(picture: Picture, side: int = 224) -> Float[Tensor, "1 3 s s"]:
    """The middle square of a picture, its short side resized (bicubic) to `side`, normalised."""
    height, width = picture.shape[:2]
    long = int(side * max(height, width) / min(height, width))
    size = (side, long) if width <= height else (long, side)
    sized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    top, left = (sized.shape[0] - side) // 2, (sized.shape[1] - side) // 2
    middle = sized[top : top + side, left : left + side].astype(np.float32) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((torch.from_numpy(middle).permute(2, 0, 1) - mean) / std)[None]


def load(folder: str | Path = NAME) -> Clip:
    """Load the published metric, CLIP ViT-L/14, from a folder or the hub's local cache.

    Raises ModelError, with the command that downloads it, if a file is absent or incomplete.
    """
    from transformers import CLIPModel, CLIPTokenizer

    otherwise = (
        f"CLIP score needs CLIP ViT-L/14, absent or not whole here ({folder}); get it with: "
        f"hf download {NAME} {FILES}"
    )
    where = local_folder(folder, otherwise)
    model = local_model(CLIPModel, where, otherwise)
    with refusing(otherwise):
        tokenizer = CLIPTokenizer.from_pretrained(where, local_files_only=True)
    if (
        len(tokenizer) != model.config.text_config.vocab_size
    ):  # it is empty where its files are absent
        raise ModelError(otherwise)
    return Clip(model, tokenizer)
