"""What transformers with a text and an image stream share: their sites, blocks and packed latents.

Diffusers names the parts of joint attention alike in all of them: `to_q` for the image (or for one
stream of both), `add_q_proj` for the text, with the norms `norm_q` and `norm_added_q`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from counterflow.backbones.base import ATTENTION, Block, Site, Stream
from counterflow.flow import Latent

Turn = Callable[[Tensor, Stream], Tensor]
"""The rotary embedding of a stream's heads `[batch, heads, tokens, width]`."""
Rows = slice | Sequence[slice]
"""Where a stream's tokens are in one of both."""
STREAMS: tuple[Stream, ...] = ("image", "text")
ALL = slice(None)


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
    tokens_first: bool = False,
) -> list[Site]:
    """The sites of a block with one stream of both, of which each site has its own rows.

    Where batches have text of different length, zeros fill its features up to `length` rows.
    Several slices are those of each member of the batch. Of a projection that makes q, k, v and
    more at once (FLUX.2) each has its own columns. With `tokens_first` the norm puts out
    `[tokens, batch, width]`.
    """
    sites = []
    for part in ("modulated", *ATTENTION):
        for stream in STREAMS:
            if (stream, part) == ("image", "modulated"):
                continue
            module, columns = (norm, ALL) if part == "modulated" else _projection(attention, part)
            fill = length if stream == "text" else None
            swapped = tokens_first and part == "modulated"
            read, write = reading(partial(rows, stream), fill, columns, swapped)
            name = f"norm_{part}"
            compared = partial(_compared, attention, name, turn, stream) if part in "qk" else None
            sites.append(Site(stream, part, number, module, read, write, compared))
    return sites


def reading(
    rows: Callable[[], Rows],
    length: int | None = None,
    columns: slice = ALL,
    swapped: bool = False,
) -> tuple[Callable[[Any], Tensor], Callable[[Any, Tensor], Any]]:
    """`read` and `write` of a site with some rows of its module's output, filled up to a length.

    `swapped` outputs are `[tokens, batch, width]`.
    """
    read = partial(_rows, rows, columns, swapped, length)
    return read, partial(_with_rows, rows, columns, swapped)


def stream_sites(
    parts: Iterable[tuple[nn.Module, Any]],
    rows: Callable[[Stream], Rows],
    turn: Turn,
    length: int | None = None,
    tokens_first: bool = False,
) -> list[Site]:
    """Those of blocks with one stream of both, each as (norm, attention); as `single_sites`."""
    return [
        site
        for n, (norm, attention) in enumerate(parts)
        for site in single_sites(n, norm, attention, rows, turn, length, tokens_first)
    ]


def text_first(length: int, stream: Stream) -> slice:
    """A stream's rows in one of both that begins with `length` rows of text."""
    return slice(length) if stream == "text" else slice(length, None)


def _projection(attention: Any, part: str) -> tuple[nn.Module, slice]:
    """The module that makes q, k or v, and in which columns of its output."""
    fused = getattr(attention, "to_qkv_mlp_proj", None)
    if fused is None:
        return getattr(attention, f"to_{part}"), ALL
    first = "qkv".index(part) * attention.inner_dim
    return fused, slice(first, first + attention.inner_dim)


def flux_sites(
    double: Sequence[Any],
    single: Sequence[Any],
    rows: Callable[[Stream], Rows],
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


def blocks(
    double: Iterable[Any],
    single: Iterable[Any],
    pair: Callable[[tuple[Any, ...], dict[str, Any]], Any] = streams,
) -> list[Block]:
    """Blocks with two streams, which put out a `pair`, then those with one stream of both."""
    return [*(Block(each, pair) for each in double), *(Block(each, stream) for each in single)]


def first(output: Any) -> Tensor:
    """The features that a norm gives, with or without what else it gives."""
    features: Tensor = output[0] if isinstance(output, tuple) else output
    return features


def with_first(output: Any, value: Tensor) -> Any:
    """The same output with other features."""
    return (value, *output[1:]) if isinstance(output, tuple) else value


def _rows(
    rows: Callable[[], Rows], columns: slice, swapped: bool, length: int | None, output: Any
) -> Tensor:
    features = first(output).transpose(0, 1) if swapped else first(output)
    features, where = features[..., columns], rows()
    if isinstance(where, slice):
        value = features[:, where]
    else:
        each = [row[own] for row, own in zip(features, where, strict=True)]
        value = nn.utils.rnn.pad_sequence(each, batch_first=True)
    missing = 0 if length is None else length - value.shape[1]
    return nn.functional.pad(value, (0, 0, 0, missing)) if missing else value


def _with_rows(
    rows: Callable[[], Rows], columns: slice, swapped: bool, output: Any, value: Tensor
) -> Any:
    changed, where = first(output).clone(), rows()
    members = changed.transpose(0, 1) if swapped else changed
    each = [where] * len(members) if isinstance(where, slice) else where
    for row, own, new in zip(members, each, value, strict=True):
        place = row[own, columns]
        place.copy_(new[: len(place)])
    return with_first(output, changed)


def _compared(attention: Any, norm: str, turn: Turn, stream: Stream, value: Tensor) -> Tensor:
    """Where several queries share a key, it is repeated for each."""
    count = attention.heads if hasattr(attention, "heads") else attention.num_heads
    width = attention.inner_dim // count if hasattr(attention, "inner_dim") else attention.head_dim
    heads = value.unflatten(-1, (-1, width)).transpose(1, 2)
    normed = getattr(attention, norm, None)
    compared = turn(heads if normed is None else normed(heads), stream)
    return compared.repeat_interleave(count // heads.shape[1], 1)


def turned(heads: Tensor, turns: Tensor) -> Tensor:
    """Heads whose neighbouring pairs are turned, by complex numbers `[tokens, width / 2]`; those
    for which there is no number stay.
    """
    some, others = heads.tensor_split([2 * turns.shape[-1]], -1)
    pairs = torch.view_as_complex(some.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.cat([torch.view_as_real(pairs * turns).flatten(-2).to(heads), others], -1)


def filled(text: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """A prompt's features `[1, rows, …]` with zeros up to a length, and where they are not."""
    rows = text.shape[1]
    valid = torch.arange(length, device=text.device)[None] < rows
    inner = (0, 0) * (text.ndim - 2)
    return nn.functional.pad(text, (*inner, 0, length - rows)), valid


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
