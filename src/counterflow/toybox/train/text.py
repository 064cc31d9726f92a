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

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
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

CLIP_MERGES = 222
T5_MERGES = 232


def clip_tokenizer(captions: list[str], pad: str) -> CLIPTokenizer:
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
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=LENGTH)


def t5_tokenizer(captions: list[str]) -> T5Tokenizer:
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
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=LENGTH)


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
        max_position_embeddings=LENGTH,
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
