"""Tokenizers trained on the captions, and text encoders that keep each token's features apart.

The paper's text control needs text features that each depend on one token. Large models have
frozen encoders that were trained on language, and these come close. Encoders trained together with
a small image model spread every word over the whole sentence. So no layer here mixes the tokens
before the transformer's text stream:

- SD3 reads CLIP's penultimate hidden state. With one layer that is the embedding itself.
- T5 has no layers, only its embedding and final norm.

Only CLIP's pooled vector depends on the whole sentence. See
docs/decisions/0002-token-local-text.md.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

LENGTH = 36
"""The most tokens that each tokenizer keeps of a prompt, special tokens included."""

EXTRA = 8
"""Columns that `t5_positions` adds."""
CLIP_MERGES = 222
T5_MERGES = 232


Tokens = tuple[Tensor, ...]
"""Ids of captions for each of a model's tokenizers, int16 `[n, 36]` each; T5's are the last."""


class Texts(nn.Module):
    """A model's tokenizers and text encoders; an architecture says how their features are joined.

    Its call turns tokens into text features `[n, rows, width]` and pooled vectors `[n, width]`.
    """

    tokenizers: tuple[Any, ...]
    """T5's is the last. Their encoders are `encoder`, `encoder_2` and so on."""

    def tokens(self, captions: list[str]) -> Tokens:
        """Captions as tokens, padded or cut to 36."""

        def ids(tokenizer: Any) -> Tensor:
            code = tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True)
            return torch.tensor(code.input_ids, dtype=torch.int16)

        return tuple(ids(each) for each in self.tokenizers)

    def padded(self, tokens: Tokens) -> Tensor:
        """Whether T5's last token is padding, bool `[n]`."""
        return tokens[-1][:, -1] == int(self.tokenizers[-1].pad_token_id)


def clip_tokenizer(captions: list[str], pad: str, length: int = LENGTH) -> CLIPTokenizer:
    """Train a CLIP tokenizer on captions: byte-level BPE, so that no word is unknown.

    `pad` is its padding token. The end token has the highest id.
    """
    base = CLIPTokenizer()._tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = base.normalizer, base.pre_tokenizer
    merges = _merges(learner, captions, CLIP_MERGES, suffix="</w>")
    words = ["!", *alphabet, *(f"{c}</w>" for c in alphabet), *map("".join, merges)]
    words = list(dict.fromkeys(words))  # "!" gets id 0: SD3's second tokenizer pads with it
    vocab = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=length)


def t5_tokenizer(captions: list[str], length: int = LENGTH) -> T5Tokenizer:
    """Train a T5 tokenizer on captions: a unigram model whose scores are log frequencies.

    It has the pieces of a BPE model, and single characters for words that it did not see.
    """
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.pre_tokenizer = T5Tokenizer()._tokenizer.pre_tokenizer
    merges = _merges(learner, captions, T5_MERGES)
    characters = ["\u2581", *map(chr, range(33, 127))]
    vocab = {piece: i for i, piece in enumerate(["<unk>", *characters, *map("".join, merges)])}
    splitter = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    splitter.pre_tokenizer = learner.pre_tokenizer
    counts = Counter(token for code in splitter.encode_batch(captions) for token in code.tokens)
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [
        (piece, math.log((counts[piece] + 0.1) / counts.total()))
        for piece in vocab
        if piece != "<unk>"
    ]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=length)


def _merges(
    learner: Tokenizer, captions: list[str], count: int, suffix: str = ""
) -> list[tuple[str, str]]:
    """The first `count` merges that BPE learns from the captions."""
    ending = {"end_of_word_suffix": suffix} if suffix else {}
    trainer = trainers.BpeTrainer(show_progress=False, **ending)  # type: ignore[arg-type]
    learner.train_from_iterator(captions, trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges[:count]]


def clip_encoder(
    tokenizer: CLIPTokenizer, width: int, projection: int
) -> CLIPTextModelWithProjection:
    """An untrained CLIP text encoder of one layer: its penultimate hidden state is its embedding.

    `width` is the size of a token's features, `projection` that of the pooled vector.
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=projection,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModelWithProjection(config)
    embeddings = encoder.text_model.embeddings
    torch.nn.init.normal_(embeddings.token_embedding.weight, std=0.5)
    torch.nn.init.normal_(embeddings.position_embedding.weight, std=0.25)
    return encoder


def t5_encoder(tokenizer: T5Tokenizer, width: int) -> T5EncoderModel:
    """An untrained T5 encoder without layers: an embedding of size `width` and the final norm."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=32,
        d_ff=width,
        num_layers=0,
        num_heads=4,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dropout_rate=0.0,
    )
    encoder = T5EncoderModel(config)
    torch.nn.init.normal_(encoder.shared.weight, std=1.0)
    return encoder


def t5_positions(encoder: T5EncoderModel) -> T5EncoderModel:
    """A frozen T5 encoder of the kind above with a layer that says where each token stands.

    T5 knows relative positions alone. So each head of the layer looks at one distance ahead, and
    sees only whether the end token is there: together they tell how far the end is, whatever the
    other words are and however long the padding is. What they then add, a row for each distance,
    is trained; all else is fixed. The last `EXTRA` columns of the features mark the end token.
    """
    old, distances = encoder.config, LENGTH - 1
    width = old.d_model + EXTRA
    config = T5Config(
        **{name: getattr(old, name) for name in ("vocab_size", "pad_token_id", "eos_token_id")},
        d_model=width,
        d_kv=1,
        d_ff=8,
        num_layers=1,
        num_heads=distances,
        relative_attention_num_buckets=4 * LENGTH,  # a bucket for each distance below LENGTH
        relative_attention_max_distance=8 * LENGTH,
        dropout_rate=0.0,
    )
    new = T5EncoderModel(config).requires_grad_(False)
    attention = new.encoder.block[0].layer[0].SelfAttention
    for name, weight in new.named_parameters():
        if "norm" not in name:
            nn.init.zeros_(weight)
    with torch.no_grad():
        new.shared.weight[:, : old.d_model] = encoder.shared.weight
        new.shared.weight[old.eos_token_id, old.d_model :] = 1.0
        norm = encoder.encoder.final_layer_norm.weight
        new.encoder.final_layer_norm.weight[: old.d_model] = norm
        attention.v.weight[:, old.d_model :] = 1 / EXTRA
        attention.q.weight[:, old.d_model :] = 100 / EXTRA  # the end token does not see itself
        attention.k.weight[:, old.d_model :] = -100 / EXTRA
        seen = attention.relative_attention_bias.weight
        seen.fill_(-1e3)
        seen[0] = -100.0  # itself, where there is no token so far ahead
        ahead = torch.arange(1, LENGTH)
        seen[2 * LENGTH + ahead, ahead - 1] = 0.0
        waves = ahead / LENGTH ** torch.linspace(0, 1, old.d_model // 2)[:, None]
        attention.o.weight[: old.d_model] = torch.cat([waves.sin(), waves.cos()])
    attention.o.weight.requires_grad_(True)
    return new
