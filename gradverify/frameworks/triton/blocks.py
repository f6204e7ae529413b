"""Products, reductions and scans of a kernel's blocks, as nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as ti

from ...core.errors import Unsupported
from ...trace.lanes import KNOWN, Codes
from ..torch.tracer import INTEGERS
from .bounds import Handle
from .interpreter import floats, is_float
from .marks import DTYPES, Marks, codes_of, widen


class Blocks:
    """Hooks of what takes whole blocks.

    ranges  lengths of the ranges that kernels made
    """

    def __init__(self, marks: Marks) -> None:
        self.marks, self.xp, self.lanes = marks, marks.xp, marks.lanes
        self.ranges: set[int] = set()

    def hooks(self) -> dict[str, Callable[[Any], Any]]:
        """By the name of the method of the builder."""
        return {"create_dot": self._dot, "create_make_range": self._range}

    def _range(self, old: Any) -> Any:
        def make_range(builder: Any, kind: Any, start: int, stop: int) -> Handle:
            self.ranges.add(int(stop) - int(start))
            return old(builder, kind, start, stop)

        return make_range

    def _dot(self, old: Any) -> Any:
        def dot(builder: Any, a: Handle, b: Handle, d: Handle, *rest: Any) -> Handle:
            out = old(builder, a, b, d, *rest)
            widen(out, lambda x, y, z: np.matmul(x, y) + z, a, b, d)
            if not any("codes" in h.attr for h in (a, b, d)):
                return out
            dtype = DTYPES.get(out.dtype.scalar, "")
            shape = out.data.shape
            codes = np.full(shape, KNOWN, dtype=np.int64)
            try:
                if "codes" in a.attr or "codes" in b.attr:
                    codes = self._product(a, b, shape, dtype)
            except Unsupported as e:
                codes = self.lanes.refuse(str(e), shape)
            product = np.matmul(floats(a).astype(np.float64), floats(b).astype(np.float64))
            return self.marks.mark(out, self.marks.add(codes, product, codes_of(d), floats(d), dtype))

        return dot

    def _product(self, a: Handle, b: Handle, shape: tuple[int, ...], dtype: str) -> Codes:
        """A matrix product without the rows, columns and terms that are known to be zero: the padding of tiles."""
        x, y, left, right = floats(a), floats(b), codes_of(a), codes_of(b)
        full_x, full_y = (left != KNOWN) | (x != 0), (right != KNOWN) | (y != 0)
        if x.ndim > 2:
            made = self.xp.matmul(self.lanes.block(left, x), self.lanes.block(right, y))
            return self.lanes.enter(made, dtype)
        terms = np.nonzero(full_x.any(0) & full_y.any(1))[0]
        rows, columns = np.nonzero(full_x[:, terms].any(1))[0], np.nonzero(full_y[terms].any(0))[0]
        codes = np.full(shape, KNOWN, dtype=np.int64)
        if not terms.size or not rows.size or not columns.size:
            return codes
        of_x, of_y = np.ix_(rows, terms), np.ix_(terms, columns)
        made = self.xp.matmul(self.lanes.block(left[of_x], x[of_x]), self.lanes.block(right[of_y], y[of_y]))
        if not made.live:
            return codes
        codes[np.ix_(rows, columns)] = self.lanes.enter(made, dtype)
        return codes

    def reduce(self, old: Any) -> Any:
        def reduce(ops: Any, given: Any) -> Any:
            if not any("codes" in t.handle.attr or "taint" in t.handle.attr for t in given):
                return _widened(ops, given, old(ops, given))
            combine, standard = ops.combine_fn, tl.standard
            first = given[0].handle
            if combine in (standard._argmin_combine_tie_break_left, standard._argmax_combine_tie_break_left):
                value, index = old(ops, given)
                self.xp.note(INTEGERS)
                name = "max" if combine is standard._argmax_combine_tie_break_left else "min"
                self.marks.mark(value.handle, self._reduced(name, first, ops, value.handle))
                return value, index
            names = {standard._sum_combine: "sum", standard._elementwise_max: "max", standard._elementwise_min: "min"}
            if combine in names:
                out = old(ops, given)
                whole = out[0] if isinstance(out, tuple | list) else out
                self.marks.mark(whole.handle, self._reduced(names[combine], first, ops, whole.handle))
                self.marks.taint(whole.handle, [first])
                return out
            return self._folded_over(ops, given)

        return reduce

    def _reduced(self, name: str, h: Handle, ops: Any, out: Handle) -> Codes | None:
        if "codes" not in h.attr or not is_float(h):
            return None
        codes, numbers = codes_of(h), floats(h)
        if ops.axis is not None:
            codes, numbers = np.moveaxis(codes, ops.axis, -1), np.moveaxis(numbers, ops.axis, -1)
            codes, numbers = (t.reshape(-1, t.shape[-1]) for t in (codes, numbers))
        else:
            codes, numbers = codes.reshape(1, -1), numbers.reshape(1, -1)
        neutral = {"sum": 0.0, "max": -np.inf, "min": np.inf}[name]
        result = np.full(len(codes), KNOWN, dtype=np.int64)
        live = (codes != KNOWN).any(axis=1)
        counts = (codes != KNOWN) | (numbers != neutral)
        dtype = DTYPES.get(out.dtype.scalar, "")
        # Rows that keep the same columns are one node: a causal mask has a group for each row.
        rows = np.nonzero(live)[0]
        kept, group = np.unique(counts[rows], axis=0, return_inverse=True)
        if len(kept) > 4:
            kept, group = counts[rows].any(axis=0, keepdims=True), np.zeros(rows.size, dtype=np.int64)
        for k, columns in enumerate(kept):
            mine = rows[group.ravel() == k]
            at = np.ix_(mine, np.nonzero(columns)[0])
            if at[1].size == 1:
                result[mine] = codes[at].ravel()
                continue
            try:
                block = self.lanes.block(codes[at], numbers[at], DTYPES.get(h.dtype.scalar, ""))
                result[mine] = self.lanes.enter(self.xp.call(name, block, axis=1), dtype)
            except Unsupported as e:
                result[mine] = self.lanes.refuse(str(e), mine.shape)
        return result.reshape(out.data.shape)

    def _folded_over(self, ops: Any, given: Any) -> Any:
        """A reduction by the user's own function, from left to right."""
        axis = ops.axis
        parts = [self._slices(t, axis) for t in given]
        total = tuple(p[0] for p in parts)
        for k in range(1, len(parts[0])):
            total = _several(ops.combine_fn.fn(*total, *(p[k] for p in parts)))
        if ops.keep_dims:
            rank = given[0].handle.data.ndim
            total = tuple(self._kept(t, rank, axis) for t in total)
        return list(total)

    def _kept(self, t: Any, rank: int, axis: int | None) -> Any:
        data = t.handle.data
        shape = [1] * rank if axis is None else list(np.expand_dims(data, axis).shape)
        handle = ti.interpreter_builder.create_reshape(t.handle, shape, False)
        return tl.tensor(handle, tl.block_type(t.dtype, shape))

    def _slices(self, t: Any, axis: int | None) -> list[Any]:
        """The block's slices along an axis, as tensors."""
        h = t.handle
        axis, shape = (axis, h.data.shape) if axis is not None else (0, (h.data.size,))
        data, codes = h.data.reshape(shape), codes_of(h).reshape(shape)
        out = []
        for k in range(shape[axis]):
            numbers, of = np.take(data, k, axis), np.take(codes, k, axis)
            kind = tl.block_type(t.dtype, list(numbers.shape)) if numbers.ndim else t.dtype
            part = ti.TensorHandle(np.atleast_1d(numbers), h.dtype.scalar)
            self.marks.mark(part, np.atleast_1d(of))
            self.marks.taint(part, [h])
            out.append(tl.tensor(part, kind))
        return out

    def scan(self, old: Any) -> Any:
        def scan(ops: Any, given: Any) -> Any:
            if not any("codes" in t.handle.attr or "taint" in t.handle.attr for t in given):
                return old(ops, given)
            names = {tl.standard._sum_combine: "cumulative_sum", tl.standard._prod_combine: "cumulative_prod"}
            name = names.get(ops.combine_fn)
            if name is None:
                return self._scanned(ops, given)
            h = given[0].handle
            out = old(ops, given)
            codes, numbers = codes_of(h), floats(h)
            if ops.reverse:
                codes, numbers = np.flip(codes, ops.axis), np.flip(numbers, ops.axis)
            try:
                block = self.lanes.block(codes, numbers, DTYPES.get(h.dtype.scalar, ""))
                made = self.lanes.enter(self.xp.call(name, block, axis=ops.axis), DTYPES.get(h.dtype.scalar, ""))
            except Unsupported as e:
                made = self.lanes.refuse(str(e), codes.shape)
            self.marks.mark(out[0].handle, np.flip(made, ops.axis) if ops.reverse else made)
            self.marks.taint(out[0].handle, [h])
            return out

        return scan

    def _scanned(self, ops: Any, given: Any) -> Any:
        """A scan by the user's own function, from left to right."""
        parts = [self._slices(t, ops.axis) for t in given]
        parts = [p[::-1] for p in parts] if ops.reverse else parts
        total = tuple(p[0] for p in parts)
        rows = [total]
        for k in range(1, len(parts[0])):
            total = _several(ops.combine_fn.fn(*total, *(p[k] for p in parts)))
            rows.append(total)
        rows = rows[::-1] if ops.reverse else rows
        shape = given[0].handle.data.shape
        smaller = shape[: ops.axis] + shape[ops.axis + 1 :]
        out = []
        for i, t in enumerate(given):
            data = np.stack([np.asarray(r[i].handle.data).reshape(smaller) for r in rows], axis=ops.axis)
            codes = np.stack([codes_of(r[i].handle).reshape(smaller) for r in rows], axis=ops.axis)
            h = self.marks.mark(ti.TensorHandle(data, t.handle.dtype.scalar), codes)
            self.marks.taint(h, [r[i].handle for r in rows])
            out.append(tl.tensor(h, tl.block_type(t.dtype, list(shape))))
        return out


def _widened(ops: Any, given: Any, out: Any) -> Any:
    """`out`, with the sum, maximum or minimum of a known block in doubles."""
    standard = tl.standard
    known = {
        standard._sum_combine: np.add,
        standard._elementwise_max: np.maximum,
        standard._elementwise_min: np.minimum,
    }
    whole, op = out[0] if isinstance(out, tuple | list) else out, known.get(ops.combine_fn)
    if op is not None and len(given) == 1:
        widen(whole.handle, lambda x: op.reduce(x, axis=ops.axis).reshape(whole.handle.data.shape), given[0].handle)
    return out


def _several(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)
