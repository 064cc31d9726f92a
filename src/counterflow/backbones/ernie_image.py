"""ERNIE-Image: one stream of image, then text, which is Ministral's of the bare prompt.

Latents are FLUX.2's. Text is masked where a prompt is shorter than the stream. Time is 1000·sigma
and alone modulates, all blocks alike; the prediction is `noise - image`. Image tokens are placed
after the prompt's last: features are exchanged before they are turned by that. The pipeline's
model that rewrites prompts is left out, so the prompt is what was given.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.autoencoders import Autoencoder, PatchAutoencoder
from counterflow.backbones.base import Block, Conditioning, Site, Stream
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.flow import Latent
from counterflow.prompts import Segment, extended, tokenize_inside, unknown_words

LENGTH = 512
"""Most tokens of a prompt; the pipeline has no bound."""
EPSILON = 1e-5
"""The pipeline's, for the normalised latents, in place of that of the configuration."""


class ErnieImage(PipelineAdapter):
    """Adapter over a loaded `ErnieImagePipeline`."""

    family = "ernie-image"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.multiple = int(pipeline.vae_scale_factor)  # of squares of 2×2 cells
        self.factor = self.multiple // 2
        self.length = min(LENGTH, int(pipeline.tokenizer.model_max_length))

    def _autoencoder(self) -> Autoencoder:
        return PatchAutoencoder(self.vae, self.device, EPSILON)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does, filled up to the length of the text stream."""
        (words,) = self.pipeline.encode_prompt(prompt, self.device)
        words = words[None, : self.length].to(self.dtype)
        features, valid = mmdit.filled(words, self.length)
        tensors = {"text_bth": features, "text_lens": valid.sum(1)}
        unknown = unknown_words(prompt, self.words)
        segments = (self._segment(prompt),)
        return Conditioning(prompt, tensors, segments, self.length, unknown, words.shape[1])

    def _segment(self, prompt: str) -> Segment:
        """No prompt is without a token."""
        tokenizer = self.pipeline.tokenizer
        segment = tokenize_inside(tokenizer, prompt, "{}", "llm", self.length)
        return segment if segment.ids else extended(segment, [tokenizer.bos_token_id or 0], "begin")

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        height, width = x.shape[2] // 2, x.shape[3] // 2
        self._image, self._text = mmdit.places(0, height, width, self.device), told["text_lens"][0]
        squares = mmdit.pack(x.to(self.device, self.dtype)).mT.unflatten(-1, (height, width))
        time = torch.full((len(x),), 1000 * sigma, device=self.device, dtype=torch.float32)
        out = self.transformer(hidden_states=squares, timestep=time, return_dict=False, **told)[0]
        return mmdit.unpack(out.float().flatten(2).mT, x)

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time, and all modulation."""
        net = self.transformer
        modules = [(net, "time_embedding"), (net, "adaLN_modulation"), (net.final_norm, "linear")]
        return modules if net.text_proj is None else [*modules, (net, "text_proj")]

    def sites(self) -> list[Site]:
        """Of every layer. Features after the norm stand for the modulated ones: time alone scales
        and shifts them, and all rows alike. q and k are compared as the last forward's first row
        turns them.
        """
        normed = [(layer.adaLN_sa_ln, layer.self_attention) for layer in self.transformer.layers]
        return mmdit.stream_sites(normed, self._rows, self._turned, tokens_first=True)

    def _rows(self, stream: Stream) -> slice:
        image = len(self._image)
        return slice(image) if stream == "image" else slice(image, None)

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        """Each number is paired with the one half a head away."""
        image = stream == "image"
        places = self._image.clone() if image else torch.zeros(self.length, 3, device=heads.device)
        places[:, 0] = self._text if image else torch.arange(self.length)
        angles: Tensor = self.transformer.pos_embed(places[None])[0, :, 0]
        one, two = heads.chunk(2, -1)
        return heads * angles.cos().to(heads) + torch.cat((-two, one), -1) * angles.sin().to(heads)

    def blocks(self) -> list[Block]:
        """The layers; each puts out one stream of both, tokens first."""
        return [Block(module, mmdit.stream) for module in self.transformer.layers]
