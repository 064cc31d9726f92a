"""Bria FIBO: FLUX.1's blocks, each with a layer of SmolLM3's text in half of its text features.

Prompts are long (its own are JSON). Text is masked where a prompt is shorter than the stream, which
is cut to the longest prompt of a batch. Time is 1000·sigma and alone modulates, the prediction is
`noise - image`. A token is one cell of 16×16 pixels; latents are those of a video of one frame.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.autoencoders import Autoencoder, FrameAutoencoder
from counterflow.backbones.base import Conditioning, Site, Stream
from counterflow.backbones.chroma import Chroma
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.flow import Latent
from counterflow.prompts import tokenize_inside, unknown_words


class BriaFibo(Chroma):
    """Adapter over a loaded `BriaFiboPipeline`."""

    family = "bria-fibo"
    embedders = ("context_embedder", "time_embed")

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        self.multiple = self.factor

    def _longest_text(self) -> int:
        return 3000

    def _autoencoder(self) -> Autoencoder:
        return FrameAutoencoder(self.vae, self.device)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does: the last two layers, then one for each block."""
        length = self.length
        last, layers, _ = self.pipeline.get_prompt_embeds(
            prompt, max_sequence_length=length, device=self.device
        )
        blocks = len(self.transformer.caption_projection)
        own = [*layers[-blocks:], *[layers[-1]] * (blocks - len(layers))]
        words, valid = mmdit.filled(torch.cat([last, *own], -1).to(self.dtype), length)
        tensors = {"text": words, "valid": valid}
        segment = tokenize_inside(self.tokenizer, prompt, "{}", "smollm", length)
        unknown = unknown_words(prompt, self.words)
        return Conditioning(prompt, tensors, (segment,), length, unknown, last.shape[1])

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = PipelineAdapter.told(self, x, sigma, conditioning)
        config, size = self.transformer.config, (x.shape[2], x.shape[3])
        self._text = n = int(told["valid"].sum(1).max())
        last, own = told["text"][:, :n].tensor_split([config.joint_attention_dim], -1)
        mask = nn.functional.pad(told["valid"][:, :n], (0, size[0] * size[1]), value=True)
        self._places = mmdit.places(n, *size, self.device)
        out = self.transformer(
            hidden_states=x.to(self.device, self.dtype).flatten(2).transpose(1, 2),
            encoder_hidden_states=last,
            text_encoder_layers=list(own.split(config.text_encoder_dim, -1)),
            timestep=torch.full((len(x),), 1000 * sigma, device=self.device, dtype=torch.float32),
            txt_ids=self._places[:n],
            img_ids=self._places[n:],
            joint_attention_kwargs={"attention_mask": mask[:, None, None]},
            return_dict=False,
        )[0]
        return out.float().transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time, and every block's modulation."""
        net = self.transformer
        modules = mmdit.modulations(net, self.embedders)
        modules += [(block.norm, "linear") for block in net.single_transformer_blocks]
        layers = len(net.caption_projection)
        return modules + [(net.caption_projection, str(n)) for n in range(layers)]

    def sites(self) -> list[Site]:
        """As FLUX.1's; zeros fill text up where a forward's is shorter."""
        return mmdit.flux_sites(*self._blocks(), self._rows, self._turned, self.length)

    def _rows(self, stream: Stream) -> slice:
        return slice(self._text) if stream == "text" else slice(self._text, None)

    def _turned(self, heads: Tensor, stream: Stream) -> Tensor:
        """Text is at 0, where nothing turns."""
        return heads if stream == "text" else super()._turned(heads, stream)
