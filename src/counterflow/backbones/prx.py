"""PRX: image tokens attend to themselves and to a prompt that stays the same in all blocks.

No text is modulated; its keys and values in each block are open. q, k and v of the image are made
by one projection. The prompt is lowered and stripped; the pipeline's cleaning also drops brackets,
addresses, most figures and Chinese, for which it needs ftfy. Time is sigma, the prediction is
`noise - image`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from diffusers.models.transformers.transformer_prx import apply_rope, get_image_ids
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import Block, Conditioning, Site, SitePart, Stream
from counterflow.backbones.pipelines import PipelineAdapter
from counterflow.errors import ModelError
from counterflow.flow import Latent
from counterflow.prompts import tokenize, unknown_words

IMAGE: tuple[SitePart, ...] = ("q", "k", "v")
TEXT: tuple[SitePart, ...] = ("k", "v")


class PRX(PipelineAdapter):
    """Adapter over a loaded `PRXPipeline`."""

    family = "prx"
    even = False

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        if pipeline.vae is None:
            raise ModelError("this PRX has no autoencoder: it draws pixels, which has no adapter")
        super().__init__(pipeline, identity, words)
        self.multiple = self.factor * int(self.transformer.config.patch_size)
        self.area = int(pipeline.get_default_resolution()) ** 2
        self.length = int(pipeline.tokenizer.model_max_length)

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What did not fit is in `Conditioning.cut`."""
        pipe, start = self.pipeline, len(prompt) - len(prompt.lstrip())
        segment = tokenize(pipe.tokenizer, prompt.lower().strip(), "t5gemma", 0, self.length)
        seen = torch.tensor([[kind != "pad" for kind in segment.kinds]], device=self.device)
        ids = torch.tensor([segment.ids], device=self.device)
        text = pipe.text_encoder(input_ids=ids, attention_mask=seen)["last_hidden_state"]
        tensors = {"encoder_hidden_states": text.to(self.dtype), "attention_mask": seen}
        spans = tuple((a + start, b + start) if b else (a, b) for a, b in segment.offsets)
        unknown = unknown_words(prompt, self.words)
        segments, attended = (replace(segment, offsets=spans),), int(seen.sum())
        return Conditioning(prompt, tensors, segments, self.length, unknown, attended)

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward of the transformer for each row of `x`."""
        told = self.told(x, sigma, conditioning)
        self._size = (x.shape[2], x.shape[3])
        time = torch.full((len(x),), sigma, device=self.device, dtype=torch.float32)
        out = self.transformer(x.to(self.device, self.dtype), time, return_dict=False, **told)[0]
        return out.float()  # type: ignore[no-any-return]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time, and the modulation where size has no part in it."""
        net = self.transformer
        modules = [(net, "txt_in"), (net, "time_in")]
        if net.resolution_embedder is None:
            modules += [(block, "modulation") for block in net.blocks]
            modules += [(net.final_layer, "adaLN_modulation")]
        return modules

    def sites(self) -> list[Site]:
        """q, k and v of the image, k and v of the text: each a share of a module's output."""
        sites = []
        for n, attention in enumerate(block.attention for block in self.transformer.blocks):
            streams: list[tuple[Stream, nn.Module, tuple[SitePart, ...]]] = [
                ("image", attention.img_qkv_proj, IMAGE),
                ("text", attention.txt_kv_proj, TEXT),
            ]
            for stream, module, parts in streams:
                for place, part in enumerate(parts):
                    read = partial(_share, place, len(parts))
                    write = partial(_with_share, place, len(parts))
                    name = "norm_added_k" if stream == "text" else f"norm_{part}"
                    norm = None if part == "v" else getattr(attention, name)
                    compared = norm and partial(self._compared, norm, stream)
                    sites.append(Site(stream, part, n, module, read, write, compared))
        return sites

    def _compared(self, norm: nn.Module, stream: Stream, value: Tensor) -> Tensor:
        """Only the image's are turned."""
        heads = norm(value.unflatten(-1, (self.transformer.num_heads, -1)).transpose(1, 2))
        if stream == "text":
            return heads  # type: ignore[no-any-return]
        ids = get_image_ids(1, *self._size, self.transformer.patch_size, value.device)
        return apply_rope(heads, self.transformer.pe_embedder(ids))  # type: ignore[no-any-return]

    def blocks(self) -> list[Block]:
        """Each puts out the image's stream; the text's is the same for all."""
        return [Block(module, mmdit.stream) for module in self.transformer.blocks]


def _share(place: int, of: int, output: Tensor) -> Tensor:
    return output.chunk(of, -1)[place]


def _with_share(place: int, of: int, output: Tensor, value: Tensor) -> Tensor:
    parts = output.chunk(of, -1)
    return torch.cat([*parts[:place], value, *parts[place + 1 :]], -1)
