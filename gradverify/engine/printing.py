"""Tensors as text, as PyTorch prints them: 4 digits, common width, scientific notation where needed, large ones cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import dtypes
from .modes import state
from .tensor import Tensor

PRECISION, THRESHOLD, EDGE_ITEMS, LINE_WIDTH = 4, 1000, 3, 80


class _Format:
    """How the entries of one tensor are written: all alike, so that columns align.

    Only finite entries other than 0 decide on the form and the width.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.kind = values.dtype.kind if values.dtype.kind in "biu" else "f"
        self.integral, self.scientific, self.width = True, False, 1
        flat = values.ravel()
        if self.kind != "f":
            self.width = max((len(self._plain(v)) for v in flat), default=0)
            return
        flat = flat.astype(np.float64)
        deciding = flat[np.isfinite(flat) & (flat != 0)]
        if not deciding.size:
            return
        low, high = float(np.abs(deciding).min()), float(np.abs(deciding).max())
        self.integral = bool(np.all(deciding == np.ceil(deciding)))
        self.scientific = high / low > 1000.0 or high > 1e8 or (low < 1e-4 and not self.integral)
        self.width = max(len(self._write(v)) for v in deciding.tolist())

    def _plain(self, v: Any) -> str:
        return str(bool(v)) if self.kind == "b" else str(int(v))

    def _write(self, v: Any) -> str:
        if self.kind != "f":
            return self._plain(v)
        if self.scientific:
            return f"{v:.{PRECISION}e}"
        if self.integral:
            return f"{v:.0f}" + ("." if math.isfinite(v) else "")
        return f"{v:.{PRECISION}f}"

    def __call__(self, v: Any) -> str:
        return self._write(v).rjust(self.width)


class _ComplexFormat:
    def __init__(self, values: np.ndarray) -> None:
        self.real, self.imag = _Format(values.real), _Format(values.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, v: Any) -> str:
        imag = self.imag(v.imag).lstrip()
        return self.real(v.real) + ("" if imag[0] in "+-" else "+") + imag + "j"


def _entry(data: np.ndarray) -> Any:
    """The function that writes one entry of this array."""
    return _ComplexFormat(data) if data.dtype.kind == "c" else _Format(data)


def _lines(data: np.ndarray, indent: int, summarize: bool, entry: Any) -> str:
    if data.ndim == 0:
        return entry(data.item())
    if data.ndim == 1:
        per_line = max(1, (LINE_WIDTH - indent) // max(1, entry.width + 2))
        if summarize and data.size > 2 * EDGE_ITEMS:
            texts = [entry(v) for v in data[:EDGE_ITEMS].tolist()] + [" ..."]
            texts += [entry(v) for v in data[-EDGE_ITEMS:].tolist()]
        else:
            texts = [entry(v) for v in data.tolist()]
        rows = [", ".join(texts[k : k + per_line]) for k in range(0, len(texts), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(rows) + "]"
    if summarize and len(data) > 2 * EDGE_ITEMS:
        parts = [_lines(d, indent + 1, summarize, entry) for d in data[:EDGE_ITEMS]] + ["..."]
        parts += [_lines(d, indent + 1, summarize, entry) for d in data[-EDGE_ITEMS:]]
    else:
        parts = [_lines(d, indent + 1, summarize, entry) for d in data]
    return "[" + ("," + "\n" * (data.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _corners(data: np.ndarray) -> np.ndarray:
    """What a summary shows: the first and last entries along every axis."""
    for axis, n in enumerate(data.shape):
        if n > 2 * EDGE_ITEMS:
            ends = [*range(EDGE_ITEMS), *range(n - EDGE_ITEMS, n)]
            data = np.take(data, ends, axis=axis)
    return data


def _node_name(x: Tensor) -> str | None:
    """The name of its grad_fn; of a view that must not be asked for it any more, "Invalid"."""
    try:
        return None if x.grad_fn is None else type(x.grad_fn).__name__
    except RuntimeError:
        return "Invalid"


def text(x: Tensor) -> str:
    """`repr` and `str` of a tensor."""
    prefix = "Parameter containing:\ntensor(" if type(x).__name__ == "Parameter" else "tensor("
    indent = len("tensor(")
    raw = x._data.get() if hasattr(x._data, "get") else np.asarray(x._data)
    suffixes: list[str] = []
    if x.is_cuda:
        suffixes.append(f"device='{x.device}'")
    kind = x.dtype
    usual = (dtypes.default, *(dtypes.OF_NUMPY[d] for d in (dtypes.I64, dtypes.BOOLEAN, dtypes.default_complex())))
    if raw.size == 0:
        body = "[]"
        if raw.ndim != 1:
            suffixes.append(f"size={tuple(raw.shape)}")
        if kind is not dtypes.default:
            suffixes.append(f"dtype={kind}")
    else:
        if kind not in usual:
            suffixes.append(f"dtype={kind}")
        if raw.dtype.kind not in "biufc" or raw.dtype == np.float16:
            raw = raw.astype(np.float32)
        summarize = raw.size > THRESHOLD
        body = _lines(raw, indent, summarize, _entry(_corners(raw) if summarize else raw))
    name = _node_name(x)
    if name is not None:
        suffixes.append(f"grad_fn=<{name}>")
    elif x.requires_grad:
        suffixes.append("requires_grad=True")
    if x._tangents and state.duals and state.duals[-1] in x._tangents:
        suffixes.append(f"tangent={text(x._tangents[state.duals[-1]])}")
    out = prefix + body
    width = len(out) - out.rfind("\n") + 1
    for suffix in suffixes:
        if width + len(suffix) + 2 > LINE_WIDTH:
            out += ",\n" + " " * indent + suffix
            width = indent + len(suffix)
        else:
            out += ", " + suffix
            width += len(suffix) + 2
    return out + ")"
