"""Recurrent layers: one step as a cell, a sequence as a loop over steps.

The one idea: every cell is two matrix products, one of the input and one of the state, and gates over their sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..api.creation import empty, zeros
from ..api.elementwise import add, mul, sub
from ..api.joining import cat, stack
from ..api.shape import flip, squeeze, transpose, unsqueeze
from ..dtypes import OF_NUMPY
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

Weights = tuple[Tensor, Tensor, "Tensor | None", "Tensor | None"]  # of the input, of the state, and their biases


def _elman(activation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def step(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
        wx, wh, bx, bh = weights
        return activation(add(F.linear(x, wx, bx), F.linear(h, wh, bh)))

    return step


def _lstm(x: Tensor, state: tuple[Tensor, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
    h, c = state
    wx, wh, bx, bh = weights
    i, f, g, o = add(F.linear(x, wx, bx), F.linear(h, wh, bh)).chunk(4, -1)
    c = add(mul(F.sigmoid(f), c), mul(F.sigmoid(i), F.tanh(g)))
    return mul(F.sigmoid(o), F.tanh(c)), c


def _gru(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    wx, wh, bx, bh = weights
    (xr, xz, xn), (hr, hz, hn) = F.linear(x, wx, bx).chunk(3, -1), F.linear(h, wh, bh).chunk(3, -1)
    z = F.sigmoid(add(xz, hz))
    n = F.tanh(add(xn, mul(F.sigmoid(add(xr, hr)), hn)))
    return add(mul(sub(1, z), n), mul(z, h))


_STEPS: dict[str, Any] = {
    "RNN_TANH": _elman(F.tanh), "RNN_RELU": _elman(F.relu), "LSTM": _lstm, "GRU": _gru,
}  # fmt: skip
_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def _reset(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size) if hidden_size else 0.0
    for p in module.parameters():
        init.uniform_(p, -bound, bound)


class RNNCellBase(Module):
    """One step. weight_ih (gates * hidden, input) and weight_hh (gates * hidden, hidden), uniform within 1/sqrt(hidden)."""

    mode = "RNN_TANH"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = _GATES[self.mode] * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _reset(self, self.hidden_size)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if input.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        batched = input.dim() == 2
        x = input if batched else unsqueeze(input, 0)
        if self.mode not in _STEPS:
            raise RuntimeError(f"Unknown nonlinearity: {getattr(self, 'nonlinearity', self.mode)}")
        many = self.mode == "LSTM"
        if x.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        if hx is None:
            start = zeros(x.shape[0], self.hidden_size, dtype=OF_NUMPY[x._data.dtype])
            hx = (start, start) if many else start
        elif not batched:
            hx = tuple(unsqueeze(h, 0) for h in hx) if many else unsqueeze(hx, 0)
        for k, h in enumerate(hx if many else [hx]):
            if h.shape[0] != x.shape[0]:
                raise RuntimeError(
                    f"Input batch size {x.shape[0]} doesn't match hidden{k if many else ''} batch size {h.shape[0]}"
                )
            if h.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{k if many else ''} has inconsistent hidden_size: got {h.shape[1]}, expected {self.hidden_size}"
                )
        out = _STEPS[self.mode](x, hx, (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh))
        if batched:
            return out
        return tuple(squeeze(h, 0) for h in out) if many else squeeze(out, 0)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """h' = tanh(W x + b + V h + c), or relu."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:  # type: ignore[override]
        return "RNN_" + self.__dict__.get("nonlinearity", "tanh").upper()

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")


class LSTMCell(RNNCellBase):
    """Returns (h, c). The gates, in the order of the rows: input, forget, cell, output."""

    mode = "LSTM"


class GRUCell(RNNCellBase):
    """The gates, in the order of the rows: reset, update, new."""

    mode = "GRU"


class RNNBase(Module):
    """A sequence (length, batch, input) through layers of cells; (batch, length, input) with batch_first.

    proj_size  LSTM: h is W h, with a weight_hr (proj_size, hidden) per layer; 0: as it is (Sak et al. 2014)
    """

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size > 0:
            raise ValueError("proj_size has to be smaller than hidden_size")
        self.proj_size = proj_size
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        rows, directions = _GATES[mode] * hidden_size, 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if not layer else self._out_size * directions
            for suffix in self._suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, self._out_size)}
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if bias else {}
                shapes |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
                for name, shape in shapes.items():
                    self.register_parameter(f"{name}_{suffix}", Parameter(empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @property
    def _out_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _suffixes(self, layer: int) -> list[str]:
        return [f"l{layer}"] + ([f"l{layer}_reverse"] if self.bidirectional else [])

    def reset_parameters(self) -> None:
        _reset(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """PyTorch's hint to a GPU; nothing to do here."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
        names += ("weight_hr",) if self.proj_size else ()
        return [
            [getattr(self, f"{n}_{suffix}") for n in names]
            for k in range(self.num_layers)
            for suffix in self._suffixes(k)
        ]

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.shape[-1]}"
            )
        batched, many = input.dim() == 3, self.mode == "LSTM"
        x = transpose(input, 0, 1) if batched and self.batch_first else input if batched else unsqueeze(input, 1)
        count = self.num_layers * (2 if self.bidirectional else 1)
        if hx is None:
            made = lambda size: zeros(count, x.shape[1], size, dtype=OF_NUMPY[x._data.dtype])
            hx = (made(self._out_size), made(self.hidden_size)) if many else made(self.hidden_size)
        elif not batched:
            hx = tuple(unsqueeze(h, 1) for h in hx) if many else unsqueeze(hx, 1)
        sizes = (self._out_size, self.hidden_size) if many else (self.hidden_size,)
        for k, (h, size) in enumerate(zip(hx if many else [hx], sizes)):
            wanted = (count, x.shape[1], size)
            if tuple(h.shape) != wanted:
                raise RuntimeError(f"Expected hidden{f'[{k}]' if many else ''} size {wanted}, got {list(h.shape)}")
        ends: list[Any] = []
        for layer in range(self.num_layers):
            outs = []
            for suffix in self._suffixes(layer):
                k = len(ends)
                state = tuple(h[k] for h in hx) if many else hx[k]
                out, end = self._run(x, state, suffix)
                outs.append(out)
                ends.append(end)
            x = cat(outs, -1) if len(outs) > 1 else outs[0]
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        last: Any = tuple(stack(parts, 0) for parts in zip(*ends)) if many else stack(ends, 0)
        if not batched:
            last = tuple(squeeze(h, 1) for h in last) if many else squeeze(last, 1)
            return squeeze(x, 1), last
        return transpose(x, 0, 1) if self.batch_first else x, last

    def _run(self, x: Tensor, state: Any, suffix: str) -> tuple[Tensor, Any]:
        """One layer in one direction: (its outputs, its last state)."""
        get = lambda name: getattr(self, f"{name}_{suffix}") if self.bias or name.startswith("weight") else None
        weights = tuple(get(name) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        backwards, step = suffix.endswith("_reverse"), _STEPS[self.mode]
        outs = []
        for k in reversed(range(x.shape[0])) if backwards else range(x.shape[0]):
            state = step(x[k], state, weights)
            if self.proj_size:
                state = F.linear(state[0], getattr(self, f"weight_hr_{suffix}")), state[1]
            outs.append(state[0] if self.mode == "LSTM" else state)
        out = stack(outs, 0)
        return flip(out, 0) if backwards else out, state

    def extra_repr(self) -> str:
        out = f"{self.input_size}, {self.hidden_size}" + (f", proj_size={self.proj_size}" if self.proj_size else "")
        for name, usual in (
            ("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0), ("bidirectional", False),
        ):  # fmt: skip
            if getattr(self, name) != usual:
                out += f", {name}={getattr(self, name)}"
        return out


def _refuse_projection(options: dict[str, Any]) -> None:
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNN(RNNBase):
    """Layers of `RNNCell`. Returns (outputs, last states)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **rest: Any,
    ) -> None:
        _refuse_projection(rest)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self.__dict__["nonlinearity"] = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, *args, **rest)


class LSTM(RNNBase):
    """Layers of `LSTMCell`. Returns (outputs, (last h, last c))."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Layers of `GRUCell`. Returns (outputs, last states)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)
