"""What transformers with a text and an image stream share: their sites, blocks and packed latents.

Diffusers names the parts of joint attention alike in all of them: `to_q` for the image (or for one
stream of both), `add_q_proj` for the text, with the norms `norm_q` and `norm_added_q`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones.base import ATTENTION, Site, Stream
from counterflow.flow import Latent

Turn = Callable[[Tensor, Stream], Tensor]
"""The rotary embedding of a stream's heads `[batch, heads, tokens, width]`."""
Rows = slice | Sequence[slice]
"""Where a stream's tokens are in one of both."""
STREAMS: tuple[Stream, ...] = ("image", "text")


def unturned(heads: Tensor, stream: Stream) -> Tensor:
    """For models without a rotary embedding."""
    return heads


def joint_sites(
    number: int,
    norm: nn.Module,
    attention: Any,
    turn: Turn = unturned,
    length: int | None = None,
) -> list[Site]:
    """The sites of a block that has a stream each for text and image.

    `norm` makes the modulated text features, alone or as the first of several outputs. Where text
    is of different length, zeros fill its features up to `length` rows.
    """
    text = reading(lambda: slice(None), length)
    sites = [Site("text", "modulated", number, norm, *text)]
    for part in ATTENTION:
        for stream in STREAMS:
            image = stream == "image"
            module = getattr(attention, f"to_{part}" if image else f"add_{part}_proj")
            name = f"norm_{part}" if image else f"norm_added_{part}"
            compared = None if part == "v" else partial(_compared, attention, name, turn, stream)
            own = (first, with_first) if image else text
            sites.append(Site(stream, part, number, module, *own, compared))
    return sites


def single_sites(
    number: int,
    norm: nn.Module,
    attention: Any,
    rows: Callable[[Stream], Rows],
    turn: Turn,
    length: int | None = None,
) -> list[Site]:
    """The sites of a block with one stream of both, of which each site has its own rows.

    Where batches have text of different length, zeros fill its features up to `length` rows.
    Several slices are those of each member of the batch.
    """
    sites = []
    for part in ("modulated", *ATTENTION):
        for stream in STREAMS:
            if (stream, part) == ("image", "modulated"):
                continue
            module = norm if part == "modulated" else getattr(attention, f"to_{part}")
            fill = length if stream == "text" else None
            read, write = reading(partial(rows, stream), fill)
            name = f"norm_{part}"
            compared = partial(_compared, attention, name, turn, stream) if part in "qk" else None
            sites.append(Site(stream, part, number, module, read, write, compared))
    return sites


def reading(
    rows: Callable[[], Rows], length: int | None = None
) -> tuple[Callable[[Any], Tensor], Callable[[Any, Tensor], Any]]:
    """`read` and `write` of a site with some rows of its module's output, filled up to a length."""
    return partial(_rows, rows, length), partial(_with_rows, rows)


def flux_sites(
    double: Sequence[Any],
    single: Sequence[Any],
    rows: Callable[[Stream], slice],
    turn: Turn,
    length: int | None = None,
) -> list[Site]:
    """The sites of blocks named as FLUX.1's: with two streams, then with one of both."""
    sites: list[Site] = []
    for n, block in enumerate(double):
        sites += joint_sites(n, block.norm1_context, block.attn, turn, length)
    for n, block in enumerate(single, len(double)):
        sites += single_sites(n, block.norm, block.attn, rows, turn, length)
    return sites


def modulations(
    net: Any, embedders: Sequence[str] = ("context_embedder", "time_text_embed")
) -> list[tuple[nn.Module, str]]:
    """The modules of a transformer that see noise level and prompts alone, as (parent, name).

    `embedders` are its own, of prompt and time.
    """
    modules = [*((net, name) for name in embedders), (net.norm_out, "linear")]
    for block in net.transformer_blocks:
        modules += [(block.norm1, "linear"), (block.norm1_context, "linear")]
    return modules


def streams(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Text and image stream as they entered a block: what it returns if it adds nothing."""
    given = dict(zip(("hidden_states", "encoder_hidden_states"), args, strict=False)) | named
    return given["encoder_hidden_states"], given["hidden_states"]


def image_first(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The same for blocks that return the image's stream first."""
    text, image = streams(args, named)
    return image, text


def stream(args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """The one stream as it entered a block."""
    entered: Tensor = args[0] if args else named["hidden_states"]
    return entered


def first(output: Any) -> Tensor:
    """The features that a norm gives, with or without what else it gives."""
    features: Tensor = output[0] if isinstance(output, tuple) else output
    return features


def with_first(output: Any, value: Tensor) -> Any:
    """The same output with other features."""
    return (value, *output[1:]) if isinstance(output, tuple) else value


def _rows(rows: Callable[[], Rows], length: int | None, output: Any) -> Tensor:
    features, where = first(output), rows()
    if isinstance(where, slice):
        value = features[:, where]
    else:
        each = [row[own] for row, own in zip(features, where, strict=True)]
        value = nn.utils.rnn.pad_sequence(each, batch_first=True)
    missing = 0 if length is None else length - value.shape[1]
    return nn.functional.pad(value, (0, 0, 0, missing)) if missing else value


def _with_rows(rows: Callable[[], Rows], output: Any, value: Tensor) -> Any:
    changed, where = first(output).clone(), rows()
    each = [where] * len(changed) if isinstance(where, slice) else where
    for row, own, new in zip(changed, each, value, strict=True):
        row[own] = new[: len(row[own])]
    return with_first(output, changed)


def _compared(attention: Any, norm: str, turn: Turn, stream: Stream, value: Tensor) -> Tensor:
    """Grouped keys are repeated for the queries that share them."""
    width = attention.inner_dim // attention.heads
    heads = value.unflatten(-1, (-1, width)).transpose(1, 2)
    heads = heads.repeat_interleave(attention.heads // heads.shape[1], 1)
    normed = getattr(attention, norm, None)
    return turn(heads if normed is None else normed(heads), stream)


def turned(heads: Tensor, turns: Tensor) -> Tensor:
    """Heads whose neighbouring pairs are turned, by complex numbers `[tokens, width / 2]`."""
    pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turns).flatten(-2).to(heads)


def filled(text: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """A prompt's features `[1, rows, width]` with zeros up to a length, and where they are not."""
    rows = text.shape[1]
    valid = torch.arange(length, device=text.device)[None] < rows
    return nn.functional.pad(text, (0, 0, 0, length - rows)), valid


def pack(latent: Latent) -> Tensor:
    """Squares of 2×2 cells as tokens, `[batch, tokens, 4 * channels]`."""
    batch, channels, height, width = latent.shape
    cells = latent.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, 4 * channels)


def unpack(tokens: Tensor, like: Latent) -> Latent:
    """The other way, to the shape of a latent."""
    batch, channels, height, width = like.shape
    cells = tokens.reshape(batch, height // 2, width // 2, channels, 2, 2)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, width)


def places(
    text: int, height: int, width: int, device: torch.device, counted: bool = False
) -> Tensor:
    """Positions of FLUX's tokens, `[text + image, 3]`: text is all at 0, image tokens by row and
    column of a grid. Where text is `counted`, its tokens are on the grid's diagonal.
    """
    found = torch.zeros(text + height * width, 3, device=device)
    if counted:
        found[:text, 1:] = torch.arange(text, device=device)[:, None]
    image = found[text:].view(height, width, 3)
    image[..., 1] = torch.arange(height, device=device)[:, None]
    image[..., 2] = torch.arange(width, device=device)
    return found
