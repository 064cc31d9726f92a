"""Z-Image: one stream of image tokens, then the prompt's, from Qwen3 in a chat's template.

Both are filled up to multiples of 32 tokens, and a batch's shorter prompts further. Time is
1 - sigma and the prediction `image - noise`. Positions of image tokens begin after the prompt's
last: features are exchanged before they are turned by them. Our guidance is by 1 more than the
pipeline's, whose 0 is the prompt alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import Block, Conditioning, Site, Stream
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.flow import Latent
from counterflow.prompts import tokenize_inside, unknown_words

FILL = 32
"""Tokens of either kind are filled up to a multiple of this."""
LENGTH = 512
"""Most tokens of a prompt with its template."""


class ZImage(PipelineAdapter):
    """Adapter over a loaded `ZImagePipeline`."""

    family = "z-image"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        tokenizer = pipeline.tokenizer
        self.length = min(LENGTH, int(tokenizer.model_max_length))
        self.rows = _filled(self.length)
        self.template = tokenizer.apply_chat_template(
            [{"role": "user", "content": "{}"}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=True,
        )
        self.longest = min(self.longest, int(self.transformer.config.axes_lens[1]) * self.multiple)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does: the prompt in its template, padding left out."""
        (words,), _ = self.pipeline.encode_prompt(
            [prompt],
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.length,
        )
        features, valid = mmdit.filled(words.to(self.dtype)[None], self.rows)
        tensors = {"cap_feats": features, "valid": valid}
        tokenizer = self.pipeline.tokenizer
        segment = tokenize_inside(tokenizer, prompt, self.template, "qwen", self.length)
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, (segment,), self.rows, unknown, _filled(len(words)))

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        words = [row[valid] for row, valid in zip(told["cap_feats"], told["valid"], strict=True)]
        self._size, self._text = (x.shape[2] // 2, x.shape[3] // 2), _filled(len(words[0]))
        time = torch.full((len(x),), 1 - sigma, device=self.device, dtype=torch.float32)
        pictures = list(x.to(self.device, self.dtype)[:, :, None])
        out = self.transformer(pictures, time, words, return_dict=False)[0]
        return -torch.stack(list(out))[:, :, 0].float()

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """All that is done to the prompt alone, and every block's modulation."""
        net = self.transformer
        modules: list[tuple[nn.Module, str]] = [(net, "t_embedder"), (net, "cap_embedder")]
        modules += [(net.context_refiner, str(n)) for n in range(len(net.context_refiner))]
        modulated = [*net.noise_refiner, *net.layers, *net.all_final_layer.values()]
        return modules + [(block, "adaLN_modulation") for block in modulated]

    def sites(self) -> list[Site]:
        """Of the layers that see image and prompt together.

        Features after the text's norm stand for the modulated ones: time alone scales them, and all
        rows alike. q and k are compared as the last forward's first row turns them.
        """
        normed = [(layer.attention_norm1, layer.attention) for layer in self.transformer.layers]
        return mmdit.stream_sites(normed, self._rows, self._turned, self.rows)

    def _rows(self, stream: Stream) -> slice:
        image = self._size[0] * self._size[1]
        return slice(image) if stream == "image" else slice(_filled(image), None)

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        net, image = self.transformer, stream == "image"
        size = (1, *self._size) if image else (self.rows, 1, 1)
        start = (self._text + 1, 0, 0) if image else (1, 0, 0)
        grid = net.create_coordinate_grid(size, start, heads.device).flatten(0, 2)
        return mmdit.turned(heads, net.rope_embedder(grid))

    def blocks(self) -> list[Block]:
        """The same layers; each puts out one stream of both."""
        return [Block(module, mmdit.stream) for module in self.transformer.layers]


def _filled(tokens: int) -> int:
    return -(-tokens // FILL) * FILL
