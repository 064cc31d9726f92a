"""How large released models are, by their published configurations, and what memory that takes.

Nothing here imports torch, and nothing was measured on released weights. Counts of transformers and
autoencoders are those of diffusers' classes in the published configuration; of text encoders those
of transformers' classes, or what their makers say. `docs/results.md` has what was measured on
random weights at the size of two models, to which the formulas are held by a test.
"""

from __future__ import annotations

from dataclasses import dataclass

SIDES = (512, 1024)
"""Usual sides of a square picture, in pixels."""
ROWS = 4
"""Of the usual forward: source and target, each with and without its prompt."""
NUMBER = 2
"""Bytes of a number in bfloat16."""
AT_ONCE = 17
"""Features of a block that are held at once, in widths of its stream: what FLUX.1's single blocks
took on random weights. SD3.5 medium's took twelve."""

CLIP_L, CLIP_G, T5, BYT5 = 0.12, 0.69, 4.76, 0.22  # the encoders of T5-XXL and ByT5-small
PILE_T5 = 1.22  # the encoder of Pile-T5-XL
GEMMA2, LLAMA, SMOLLM3 = 2.61, 8.03, 3.08  # 2B, 3.1 8B, 3B
QWEN3_2B, QWEN3_4B, QWEN3_8B = 1.72, 4.02, 8.19
QWEN2_VL, QWEN3_VL, QWEN3_VL_8B = 8.29, 4.44, 8.77  # 2.5 7B, 3 4B and 3 8B, vision included
MINISTRAL, MISTRAL = 3.8, 24.0  # 3 3B and Small 3.2, their vision included


@dataclass(frozen=True)
class Vae:
    """An autoencoder."""

    billions: float
    widest: int | None = None
    """Most channels at the picture's full size; None where how it decodes is another."""


KL = Vae(0.08, 256)
"""`AutoencoderKL` and `AutoencoderKLFlux2` of 128, 256, 512 and 512 channels."""
QWEN_VAE, QWEN21_VAE, WAN_VAE = Vae(0.13), Vae(0.34), Vae(0.7)
DC_VAE, HUNYUAN_VAE = Vae(0.31), Vae(0.41)


@dataclass(frozen=True)
class Size:
    """A model's transformer, autoencoder and text encoders."""

    transformer: float
    """Billions of weights."""
    blocks: int
    width: int
    vae: Vae = KL
    encoders: tuple[float, ...] = ()
    """Billions of weights of each; empty where that is not known for sure."""
    rows: int = 512
    """Most rows of text."""
    token: int = 16
    """Pixels on a side of the square that an image token covers."""

    def weights(self, cast: bool = False) -> float | None:
        """GB of all weights in bfloat16; where `cast`, the transformer's in 8 bits."""
        if not self.encoders:
            return None
        others = self.vae.billions + sum(self.encoders)
        return NUMBER * others + self.transformer * (1 if cast else NUMBER)

    def tokens(self, side: int) -> int:
        """Of a square picture and its text."""
        return (side // self.token) ** 2 + self.rows

    def forward(self, side: int) -> float:
        """GB of one row's features in a block, at most."""
        return AT_ONCE * self.tokens(side) * self.width * NUMBER / 1e9

    def decoding(self, side: int) -> float | None:
        """GB of the autoencoder's features in its last block, without `--tiles`: four at once."""
        return self.vae.widest and 4 * self.vae.widest * side**2 * NUMBER / 1e9

    def picture(self, side: int) -> float | None:
        """GB that a picture adds to the weights: decoding it, or a forward of four rows."""
        decoding = self.decoding(side)
        return None if decoding is None else max(decoding, ROWS * self.forward(side))

    def kept(self, side: int) -> float:
        """GB of the source at most for a step of FTEdit: V of the image and the text, all blocks.

        `--keep` bounds it. Less where keys and values have fewer heads.
        """
        return self.tokens(side) * self.width * self.blocks * NUMBER / 1e9


SD3_TEXT = (CLIP_L, CLIP_G, T5)
SD3 = Size(2.0, 24, 1536, encoders=SD3_TEXT, rows=333)
SD35_MEDIUM = Size(2.2, 24, 1536, encoders=SD3_TEXT, rows=333)
SD35_LARGE = Size(8.1, 38, 2432, encoders=SD3_TEXT, rows=333)
FLUX = Size(11.9, 57, 3072, encoders=(CLIP_L, T5))
SCHNELL = Size(11.9, 57, 3072, encoders=(CLIP_L, T5), rows=256)
FLUX2 = Size(32.2, 56, 6144, encoders=(MISTRAL,))
# 5 + 20 blocks of 24 heads and 8 + 24 of 32, as InvokeAI (backend/flux2) and others list them; the
# counts are those that its makers round to 4B and 9B.
KLEIN_4B = Size(3.9, 25, 3072, encoders=(QWEN3_4B,))
KLEIN_9B = Size(9.1, 32, 4096, encoders=(QWEN3_8B,))
CHROMA = Size(8.9, 57, 3072, encoders=(T5,))
Z_IMAGE = Size(6.2, 30, 3840, encoders=(QWEN3_4B,))
QWEN = Size(20.4, 60, 3072, QWEN_VAE, (QWEN2_VL,))
QWEN21 = Size(7.1, 32, 4096, QWEN21_VAE, (QWEN3_VL_8B,))  # a Qwen3-VL of width 4096
AURA_FLOW = Size(6.8, 36, 3072, encoders=(PILE_T5,), rows=256)
KREA2 = Size(12.8, 28, 6144, QWEN_VAE, (QWEN3_VL,))
# 6B by arXiv 2512.07584; 10 + 20 blocks of FLUX.1's width have 6.27.
LONGCAT = Size(6.3, 30, 3072, encoders=(QWEN2_VL,))
OVIS = Size(7.4, 33, 3072, encoders=(QWEN3_2B,), rows=256)  # a Qwen3 of width 2048
HUNYUAN = Size(17.4, 60, 3584, HUNYUAN_VAE, (QWEN2_VL, BYT5), rows=1128, token=32)
LUMINA2 = Size(2.6, 26, 2304, encoders=(GEMMA2,), rows=256)
# transformer/config.json of baidu/ERNIE-Image: 36 blocks of width 4096, MLPs of 12288.
ERNIE = Size(8.0, 36, 4096, encoders=(MINISTRAL,))
SANA = Size(1.6, 20, 2240, DC_VAE, (GEMMA2,), rows=300, token=32)
SANA_LARGE = Size(4.7, 60, 2240, DC_VAE, (GEMMA2,), rows=300, token=32)
# transformer/config.json of HiDream-I1: 16 + 32 blocks, 4 routed experts; three rows for each word.
HIDREAM = Size(17.1, 48, 2560, encoders=(CLIP_L, CLIP_G, T5, LLAMA), rows=384)
# transformer/config.json of its sibling FIBO-Edit: 8 + 38 blocks; 8B by github.com/Bria-AI/FIBO.
FIBO = Size(8.3, 46, 3072, WAN_VAE, (SMOLLM3,), rows=3000)
# The encoder's half of T5Gemma-2B-2B, which is as large as Gemma 2 2B. FLUX.1's autoencoder.
PRX = Size(1.2, 16, 1792, encoders=(GEMMA2,), rows=256)
