"""HiDream-I1: T5's text, the last and a deeper layer of Llama's, one after another.

In each block the third part is another layer's. Nothing is masked. CLIP's pooled vectors modulate,
so modulated text is read where it enters attention. Time is 1000·sigma, the prediction `image -
noise`. Wide pictures are filled up with tokens that attention sees; the sites leave them out.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Any, cast

import torch
from diffusers.models.transformers.transformer_hidream_image import apply_rope
from torch import Tensor, nn

from counterflow.backbones import mmdit
from counterflow.backbones.base import ATTENTION, Block, Conditioning, Site, Stream
from counterflow.backbones.pipelines import PipelineAdapter, quiet, scheduler_grid
from counterflow.errors import InputError
from counterflow.flow import Grid, Latent
from counterflow.prompts import tokenize, unknown_words

LENGTH = 128  # tokens of each tokenizer at most, as the pipeline has it by default


class HiDream(PipelineAdapter):
    """Adapter over a loaded `HiDreamImagePipeline`."""

    family = "hidream"

    def __init__(
        self, pipeline: Any, identity: str = "", words: Collection[str] | None = None
    ) -> None:
        super().__init__(pipeline, identity, words)
        parts = [pipeline.components[f"tokenizer{end}"] for end in ("", "_2", "_3", "_4")]
        self.length = min(LENGTH, *(int(each.model_max_length) for each in parts))
        self.area = int(self.transformer.max_seq) * self.multiple**2

    @torch.no_grad()
    def embed(self, prompt: str) -> Conditioning:
        """Embed as the pipeline does. What a tokenizer cuts off is in `Conditioning.cut`."""
        pipe, n = self.pipeline, self.length
        with quiet("diffusers.pipelines.hidream_image"):  # it warns of cut prompts
            t5, _, llama, _, pooled, _ = pipe.encode_prompt(
                prompt, device=self.device, do_classifier_free_guidance=False, max_sequence_length=n
            )
        tensors = {"t5": t5, "llama": llama.permute(1, 2, 0, 3), "pooled": pooled}
        segments = (
            tokenize(pipe.tokenizer_3, prompt, "t5", 0, n),
            tokenize(pipe.tokenizer_4, prompt, "llama", n, n),
            tokenize(pipe.tokenizer_4, prompt, "llama_layer", 2 * n, n),
        )
        tensors = {name: each.to(self.dtype) for name, each in tensors.items()}
        return Conditioning(prompt, tensors, segments, 3 * n, unknown_words(prompt, self.words))

    def grid(self, steps: int, size: tuple[int, int]) -> Grid:
        """Shifted as for the largest picture, if at all."""
        return scheduler_grid(self.pipeline.scheduler, steps, int(self.transformer.max_seq))

    @torch.no_grad()
    def velocity(self, x: Latent, sigma: float, conditioning: Conditioning) -> Latent:
        """One forward for each row of `x`; InputError for wide pictures larger than `area`."""
        told = self.told(x, sigma, conditioning)
        self._size = (x.shape[2] // 2, x.shape[3] // 2)
        height, width = self._size
        if height != width and height * width > int(self.transformer.max_seq):
            raise InputError(f"a picture that is not square has at most {self.area} pixels")
        time = torch.full((len(x),), 1000 * sigma, device=self.device, dtype=torch.float32)
        text = told["t5"], told["llama"].permute(2, 0, 1, 3), told["pooled"]
        out = self.transformer(x.to(self.device, self.dtype), time, *text, return_dict=False)
        return -out[0].float()  # type: ignore[no-any-return]

    def _inner(self) -> list[Any]:
        return [cast(Any, block.module).block for block in self.blocks()]

    def remembered(self) -> list[tuple[nn.Module, str]]:
        """The embeddings of prompt and time, and every block's modulation."""
        net, projections = self.transformer, self.transformer.caption_projection
        modules = [(net, "t_embedder"), (net, "p_embedder")]
        modules += [(projections, str(n)) for n in range(len(projections))]
        return modules + [(each, "adaLN_modulation") for each in (*self._inner(), net.final_layer)]

    def sites(self) -> list[Site]:
        """Of the double blocks, then of the single ones, whose one stream has the image first."""
        sites = []
        for n, attention in enumerate(block.attn1 for block in self._inner()):
            for stream in mmdit.STREAMS:
                own = mmdit.reading(partial(self._rows, stream))
                end = "_t" if stream == "text" and not attention.single else ""
                if stream == "text":
                    entering = 0 if attention.single else 2
                    sites.append(Site(stream, "modulated", n, attention, *own, None, entering))
                for part in ATTENTION:
                    norm = getattr(attention, f"{part}_rms_norm{end}", None)
                    compared = norm and partial(self._compared, attention.heads, norm, stream)
                    module = getattr(attention, f"to_{part}{end}")
                    sites.append(Site(stream, part, n, module, *own, compared))
        return sites

    def _rows(self, stream: Stream) -> slice:
        image = self._size[0] * self._size[1]
        return slice(-3 * self.length, None) if stream == "text" else slice(image)

    def _compared(self, count: int, norm: nn.Module, stream: Stream, value: Tensor) -> Tensor:
        """Normalised over all heads; only the image's are turned."""
        heads = norm(value).unflatten(-1, (count, -1))
        if stream == "image":
            places = mmdit.places(0, *self._size, value.device)
            heads, _ = apply_rope(heads, heads, self.transformer.pe_embedder(places[None]))
        return heads.transpose(1, 2)  # type: ignore[no-any-return]

    def blocks(self) -> list[Block]:
        """Double blocks put out image and text, single ones one stream of both."""
        net = self.transformer
        return mmdit.blocks(net.double_stream_blocks, net.single_stream_blocks, mmdit.image_first)
