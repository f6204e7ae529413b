"""Attention over several heads, and the layers of the Transformer (Vaswani et al. 2017)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..api.creation import empty
from ..api.elementwise import add, mul
from ..api.indexing import masked_fill
from ..api.linalg import matmul
from ..api.reduction import mean
from ..api.shape import reshape, transpose, unsqueeze
from ..tensor import Tensor, wrap
from . import functional as F
from . import init
from .layers import Dropout, LayerNorm, Linear, ModuleList
from .module import Module
from .parameter import Parameter


def _as_addend(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask of truth values (True: do not look) as one to be added."""
    if mask is None or mask._data.dtype != bool:
        return mask
    return masked_fill(wrap(np.zeros(mask._data.shape, like._data.dtype)), mask, float("-inf"))


class MultiheadAttention(Module):
    """Inputs (length, batch, embedding), or (batch, length, embedding) with batch_first, or without a batch.

    Returns (attention, weights: averaged over the heads, or None).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if add_bias_kv or add_zero_attn:
            raise NotImplementedError(
                "MultiheadAttention: add_bias_kv and add_zero_attn are not supported by this engine"
            )
        if embed_dim % num_heads:
            raise AssertionError("embed_dim must be divisible by num_heads")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.head_dim = embed_dim // num_heads
        made = lambda *shape: Parameter(empty(*shape, device=device, dtype=dtype))
        self._qkv_same_embed_dim = self.kdim == self.vdim == embed_dim
        if self._qkv_same_embed_dim:
            self.in_proj_weight = made(3 * embed_dim, embed_dim)
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = made(embed_dim, embed_dim)
            self.k_proj_weight = made(embed_dim, self.kdim)
            self.v_proj_weight = made(embed_dim, self.vdim)
            self.register_parameter("in_proj_weight", None)
        self.register_parameter("in_proj_bias", made(3 * embed_dim) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if bias:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, need_weights: bool = True,
        attn_mask: Tensor | None = None, average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        batched = query.dim() == 3
        q, k, v = (
            (x if self.batch_first else transpose(x, 0, 1)) if batched else unsqueeze(x, 0) for x in (query, key, value)
        )
        if self._qkv_same_embed_dim:
            weights = self.in_proj_weight.chunk(3, 0)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3, 0)
        q, k, v = (self._heads(F.linear(x, w, b)) for x, w, b in zip((q, k, v), weights, biases))
        scores = matmul(mul(q, 1 / math.sqrt(self.head_dim)), transpose(k, -2, -1))
        n = scores.shape[0]
        mask = _as_addend(attn_mask, scores)
        if mask is not None:
            scores = add(scores, reshape(mask, (n, self.num_heads, *mask.shape[1:])) if mask.dim() == 3 else mask)
        if key_padding_mask is not None:
            wanted = (n, k.shape[-2]) if batched else (k.shape[-2],)
            assert tuple(key_padding_mask.shape) == wanted, (
                f"expecting key_padding_mask shape of {wanted}, but got {key_padding_mask.shape}"
            )
        hidden = _as_addend(key_padding_mask, scores)
        if hidden is not None:
            scores = add(scores, reshape(hidden, (n, 1, 1, hidden.shape[-1])))
        share = F.dropout(F.softmax(scores, -1), self.dropout, self.training)
        out = transpose(matmul(share, v), 1, 2)
        out = self.out_proj(reshape(out, (n, out.shape[1], self.embed_dim)))
        if not need_weights:
            shown = None
        else:
            shown = mean(share, 1) if average_attn_weights else share
        if not batched:
            return reshape(out, out.shape[1:]), None if shown is None else reshape(shown, shown.shape[1:])
        return out if self.batch_first else transpose(out, 0, 1), shown

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, length, embedding) as (batch, heads, length, head)."""
        n, length, _ = x.shape
        return transpose(reshape(x, (n, length, self.num_heads, self.head_dim)), 1, 2)


def _activation(given: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    if not isinstance(given, str):
        return given
    if given not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {given}")
    return F.relu if given == "relu" else F.gelu


class _Layer(Module):
    """What encoder and decoder layers have in common: self-attention and a feed-forward part, each added to its input."""

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = "relu",
        layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False, bias: bool = True,
        device: Any = None, dtype: Any = None, *, crossed: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        attention = lambda: MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, device=device, dtype=dtype
        )
        self.self_attn = attention()
        if crossed:
            self.multihead_attn = attention()
        self.linear1 = Linear(d_model, dim_feedforward, bias, device, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, device, dtype)
        self.norm_first = norm_first
        for k in range(1, 4 if crossed else 3):
            setattr(self, f"norm{k}", LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype))
        for k in range(1, 4 if crossed else 3):
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.activation = _activation(activation)

    def _around(self, x: Tensor, norm: Module, part: Callable[[Tensor], Tensor]) -> Tensor:
        return add(x, part(norm(x))) if self.norm_first else norm(add(x, part(x)))

    def _feed_forward(self, x: Tensor, dropout: Module) -> Tensor:
        return dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoderLayer(_Layer):
    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            out, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask)
            return self.dropout1(out)

        x = self._around(src, self.norm1, attend)
        return self._around(x, self.norm2, lambda x: self._feed_forward(x, self.dropout2))


class TransformerDecoderLayer(_Layer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, crossed=True)

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        def attend(x: Tensor) -> Tensor:
            return self.dropout1(self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask)[0])

        def look(x: Tensor) -> Tensor:
            return self.dropout2(self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask)[0])

        x = self._around(tgt, self.norm1, attend)
        x = self._around(x, self.norm2, look)
        return self._around(x, self.norm3, lambda x: self._feed_forward(x, self.dropout3))


class _Stack(Module):
    """Copies of a layer in a row, and a normalisation in the end."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None, **_: Any) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def _run(self, x: Tensor, *rest: Any, **kwargs: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *rest, **kwargs)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None, is_causal: Any = None
    ) -> Tensor:
        return self._run(src, mask, src_key_padding_mask)


class TransformerDecoder(_Stack):
    def forward(self, tgt: Tensor, memory: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        return self._run(tgt, memory, *args, **kwargs)


class Transformer(Module):
    """Encoder and decoder. `generate_square_subsequent_mask(n)` hides what comes later."""

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Any = "relu", custom_encoder: Any = None,
        custom_decoder: Any = None, layer_norm_eps: float = 1e-5, batch_first: bool = False, norm_first: bool = False,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        given = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        norm = lambda: LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*given, device, dtype), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*given, device, dtype), num_decoder_layers, norm()
        )
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(  # type: ignore[override]
        self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None, memory_key_padding_mask: Tensor | None = None, **_: Any,
    ) -> Tensor:  # fmt: skip
        batched = src.dim() == 3
        if batched and src.shape[0 if self.batch_first else 1] != tgt.shape[0 if self.batch_first else 1]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        return wrap(np.triu(np.full((sz, sz), float("-inf"), np.float32 if dtype is None else dtype.numpy), 1))
