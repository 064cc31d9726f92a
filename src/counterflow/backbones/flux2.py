"""FLUX.2: dev, which is told its guidance, and Klein, which is guided by the empty prompt.

The text stream is that of a language model, hidden states of three layers side by side: Mistral's,
with a system message (dev), or Qwen3's (Klein), in a chat's template and filled up with live
padding. Time and guidance alone modulate, all blocks alike. Its single blocks make q, k, v and
the inside of their MLP in one projection. The shift of the noise levels depends on their number.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu, format_input
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.autoencoders import Autoencoder, PatchAutoencoder
from counterflow.backbones.base import Block, Conditioning
from counterflow.backbones.flux import Flux
from counterflow.prompts import Segment, padded, tokenize_inside


class Flux2(Flux):
    """Adapter over a loaded `Flux2Pipeline`."""

    family = "flux2"
    left_out = "[IMG]"
    """The pipeline takes this out of prompts: it would stand for a picture."""

    def _tokenizer(self) -> Any:
        """That of the processor, which reads pictures too."""
        return getattr(self.pipeline.tokenizer, "tokenizer", self.pipeline.tokenizer)

    def _longest_text(self) -> int:
        return int(self.pipeline.tokenizer_max_length)

    def _autoencoder(self) -> Autoencoder:
        return PatchAutoencoder(self.vae, self.device)

    def shift(self, steps: int, tokens: int) -> float:
        """As measured by the model's makers, by the number of steps too."""
        return float(compute_empirical_mu(tokens, steps))

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What the tokenizer cuts off is in `Conditioning.cut`."""
        prompt = prompt.replace(self.left_out, "")
        embeds, _ = self.pipeline.encode_prompt(
            prompt, device=self.device, max_sequence_length=self.length
        )
        return self._conditioning(prompt, {"encoder_hidden_states": embeds.to(self.dtype)})

    def _segments(self, prompt: str) -> tuple[Segment, ...]:
        template, special_tokens = self._template()
        segment = tokenize_inside(
            self.tokenizer, prompt, template, "llm", self.length, special_tokens=special_tokens
        )
        return (padded(segment, self.tokenizer, self.length),)

    def _template(self) -> tuple[str, bool]:
        """What stands around a prompt, and whether the tokenizer adds special tokens to it."""
        chat = format_input(["{}"], self.pipeline.system_message)[0]
        return self.pipeline.tokenizer.apply_chat_template(chat, tokenize=False), False

    def _positions(self, height: int, width: int) -> Tensor:
        """Text tokens are counted on a fourth axis."""
        places = nn.functional.pad(super()._positions(height, width), (0, 1))
        places[: self.length, 3] = torch.arange(self.length)
        return places

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt, time and guidance, and all modulation."""
        net = self.transformer
        names = ["double_stream_modulation_img", "double_stream_modulation_txt"]
        names += ["single_stream_modulation", "context_embedder", "time_guidance_embed"]
        return [(net, name) for name in names] + [(net.norm_out, "linear")]

    def blocks(self) -> list[Block]:
        """Double blocks, then single ones, which are given one stream of both."""
        return mmdit.blocks(*self._blocks())


class Klein(Flux2):
    """Adapter over a loaded `Flux2KleinPipeline`."""

    family = "flux2-klein"
    left_out = ""

    def _few_steps(self) -> int | None:
        """Its configuration says whether it is distilled."""
        return 4 if self.pipeline.config.is_distilled else super()._few_steps()

    def _template(self) -> tuple[str, bool]:
        chat = [{"role": "user", "content": "{}"}]
        told = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        return self.tokenizer.apply_chat_template(chat, **told), True
