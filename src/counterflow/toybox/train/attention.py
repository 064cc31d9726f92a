"""Joint attention for training on a processor: same mathematics as diffusers', faster there.

Matmul, softmax and matmul compile well under inductor on a CPU, where the fused kernel's
backward is slow. A bias per key lets one padding token stand for many equal ones.
"""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor


class TrainingAttention:
    """Processor for SD3's joint attention; `bias` is `[batch, 1, 1, keys]`, added to the logits."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        heads, image = attn.heads, hidden_states.shape[1]

        def split(x: Tensor) -> Tensor:
            parts: Tensor = x.unflatten(-1, (heads, -1)).transpose(1, 2)
            return parts

        q = attn.norm_q(split(attn.to_q(hidden_states)))
        k = attn.norm_k(split(attn.to_k(hidden_states)))
        v = split(attn.to_v(hidden_states))
        q = torch.cat([q, attn.norm_added_q(split(attn.add_q_proj(encoder_hidden_states)))], dim=2)
        k = torch.cat([k, attn.norm_added_k(split(attn.add_k_proj(encoder_hidden_states)))], dim=2)
        v = torch.cat([v, split(attn.add_v_proj(encoder_hidden_states))], dim=2)
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if bias is not None:
            logits = logits + bias.to(logits.dtype)
        mixed = (logits.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)
        text = mixed[:, image:]
        if not attn.context_pre_only:
            text = attn.to_add_out(text)
        return attn.to_out[0](mixed[:, :image]), text
