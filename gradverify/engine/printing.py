"""Tensors as text, as PyTorch prints them: 4 digits, common width, scientific notation where needed, summaries when large."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import dtypes
from .tensor import Tensor

PRECISION, THRESHOLD, EDGE_ITEMS, LINE_WIDTH = 4, 1000, 3, 80


class _Format:
    """How the entries of one tensor are written: all alike, so that columns align."""

    def __init__(self, values: np.ndarray) -> None:
        self.kind = values.dtype.kind if values.dtype.kind in "biu" else "f"
        self.integral = self.scientific = False
        self.width = 0
        flat = values.ravel()
        if self.kind != "f":
            self.width = max((len(self._plain(v)) for v in flat), default=0)
            return
        flat = flat.astype(np.float64)
        finite = np.abs(flat[np.isfinite(flat) & (flat != 0)])
        if not finite.size:
            # nothing but zeros and non-finite values: written as whole numbers
            self.integral = bool(np.isfinite(flat).all())
            self.width = max((len(self(v)) for v in flat), default=0)
            return
        low, high = float(finite.min()), float(finite.max())
        if np.all(finite == np.ceil(finite)):
            self.integral = True
            self.scientific = high / low > 1000.0 or high > 1e8
        else:
            self.scientific = high / low > 1000.0 or high > 1e8 or low < 1e-4
        self.width = max(len(self(v)) for v in flat)

    def _plain(self, v: Any) -> str:
        return str(bool(v)) if self.kind == "b" else str(int(v))

    def __call__(self, v: Any) -> str:
        if self.kind != "f":
            text = self._plain(v)
        elif self.scientific:
            text = f"{v:.{PRECISION}e}"
        elif self.integral:
            text = f"{v:.0f}" + ("." if math.isfinite(v) else "")
        else:
            text = f"{v:.{PRECISION}f}"
        return text.rjust(self.width)


def _entry(data: np.ndarray) -> Any:
    """The function that writes one entry of this array."""
    if data.dtype.kind != "c":
        return _Format(data)
    real, imag = _Format(data.real), _Format(data.imag)

    def write(v: Any) -> str:
        part = imag(v.imag).strip()
        sign = "" if part.startswith("-") else "+"
        return real(v.real) + sign + part.rjust(imag.width - (1 if part.startswith("-") else 0)) + "j"

    write.width = real.width + imag.width + 1  # type: ignore[attr-defined]
    return write


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


def text(x: Tensor) -> str:
    """`repr` and `str` of a tensor."""
    prefix = "Parameter containing:\ntensor(" if type(x).__name__ == "Parameter" else "tensor("
    indent = len("tensor(")
    raw = x._data.get() if hasattr(x._data, "get") else np.asarray(x._data)
    suffixes: list[str] = []
    if x.is_cuda:
        suffixes.append(f"device='{x.device}'")
    kind = x.dtype
    usual = (dtypes.default, dtypes.DTYPES["int64"], dtypes.DTYPES["bool"])
    if dtypes.default.numpy == dtypes.F64:
        usual += (dtypes.DTYPES["complex128"],)
    else:
        usual += (dtypes.DTYPES["complex64"],)
    if raw.size == 0:
        body = "[]"
        if raw.ndim != 1:
            suffixes.append(f"size={tuple(raw.shape)}")
        if kind is not dtypes.default:
            suffixes.append(f"dtype={kind}")
    else:
        if kind not in usual:
            suffixes.append(f"dtype={kind}")
        if raw.dtype.kind not in "biufc":
            raw = raw.astype(np.float32)
        elif raw.dtype == np.float16:
            raw = raw.astype(np.float32)
        summarize = raw.size > THRESHOLD
        body = _lines(raw, indent, summarize, _entry(_corners(raw) if summarize else raw))
    if x.grad_fn is not None:
        name = type(x.grad_fn).__name__
        suffixes.append(f"grad_fn=<{name}>")
    elif x.requires_grad:
        suffixes.append("requires_grad=True")
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
