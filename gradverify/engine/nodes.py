"""The node of an op of the table: what forward saved, and the rule that reads it.

The one idea: `OpNode.backward` reads the VJP text over arrays; with create_graph it reads the same text over tensors, so
that the backward pass is recorded in turn. That is all there is to derivatives of any order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..namespaces.base import Namespace
from .dtypes import F32, F64
from .kernels import KERNELS, gpu, kernels_for
from .messages import DETACHED, INFERENCE, modified_error
from .promotion import widen
from .reads import SHAPE, VALUE
from .rules import Plan, Rule
from .saving import Packed, SavedTensor, unpacked
from .tape import FREED, Ghost, Node, op_of
from .tensor import Tensor, wrap


class Freed:
    """What stands in `saved` after the saved values were released."""


def _raw_saved_value(name: str, position: int | None) -> property:
    """The property `_raw_saved_<name>`: the place of a saved value, to set hooks on."""

    def get(self: OpNode) -> SavedTensor:
        if self.saved is Freed:
            raise RuntimeError(FREED)
        if position is None:
            if self.output is None or isinstance(self.output, Ghost):
                raise AttributeError(f"'{type(self).__name__}' object has no attribute '_raw_saved_{name}'")
            return SavedTensor.at(
                lambda: self.output if self.packs_output else wrap(self.output), self._pack_output, None
            )
        if position >= len(self.saved) or not isinstance(self.saved[position], Tensor | Packed):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '_raw_saved_{name}'")
        return SavedTensor.at(
            lambda: None if self.saved is Freed else self.saved[position],
            lambda packed: self._pack_argument(position, packed),
            self.edges[position],
        )

    return property(get)


def _saved_value(name: str, position: int | None) -> property:
    """The property `_saved_<name>`, PyTorch's name for a saved value.

    Not by `__getattr__`, which slows down every other attribute.
    """

    def get(self: OpNode) -> Any:
        if self.saved is Freed:
            raise RuntimeError(FREED)
        if position is None and self.packs_output:
            value = unpacked(self)._saved_output()
            value._edge = (self, 0)
            return value
        if position is None and self.cell is not None:
            return self._saved_output()
        if position is not None and position < len(self.saved):
            value = self.saved[position]
            if isinstance(value, Packed):
                return value.tensor()
            if value is not None and not isinstance(value, Ghost):
                return value
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '_saved_{name}'")

    return property(get)


class OpNode(Node):
    """An op of the table on the tape.

    rule      the op, called with `params`
    plan      which arguments get cotangents, and by which rules
    saved     per argument: the tensor (its value is read), a Ghost (only its shape), a number as a scalar, or None
    versions  per argument, the version of the saved tensor; None stands for all 0
    metas     per argument that gets a cotangent, its shape and dtype; None: those that the rule gives it
    plain     are the result and all those float32 or float64? Halves and complex numbers take a detour
    output    the saved output array, or a Ghost of it, or None; `cell`, `version`: its version counter, and its value then
    """

    rule: Rule
    params: Mapping[str, Any] = {}
    plan: Plan
    saved: Any
    versions: dict[int, int] | None = None
    metas: list[tuple[tuple[int, ...], np.dtype]] | None = None
    plain = True  # are all dtypes float32 or float64?
    output: Any = None
    cell: list[int] | None = None
    version = 0
    special = False  # are there `metas`, or has a hook packed what is saved? Then `run` takes the long way
    packed = packs_output = False  # have hooks packed what is saved (see `saving`), the output too?
    tangents: Any = None  # of the output, in forward mode

    _saved_self, _saved_other = _saved_value("self", 0), _saved_value("other", 1)
    _saved_exponent, _saved_mat2 = _saved_value("exponent", 1), _saved_value("mat2", 1)
    _saved_vec, _saved_tensor = _saved_value("vec", 1), _saved_value("tensor", 1)
    _saved_result = _saved_value("result", None)
    _raw_saved_self, _raw_saved_other = _raw_saved_value("self", 0), _raw_saved_value("other", 1)
    _raw_saved_exponent, _raw_saved_mat2 = _raw_saved_value("exponent", 1), _raw_saved_value("mat2", 1)
    _raw_saved_result = _raw_saved_value("result", None)

    def _pack_argument(self, position: int, packed: Packed) -> None:
        self.saved = [packed if k == position else a for k, a in enumerate(self.saved)]
        if self.versions is not None:
            self.versions = {k: v for k, v in self.versions.items() if k != position}
        self.packed = self.special = True

    def _pack_output(self, packed: Packed) -> None:
        self.output, self.cell, self.packs_output, self.packed, self.special = packed, None, True, True, True

    def _note_dtypes(self, args: tuple[Any, ...], out: Tensor) -> None:
        self.metas, self.special = [], True
        for k, _ in self.plan.wanted:
            raw = args[k]._data
            self.metas.append((raw.shape, raw.dtype))
            if raw.dtype is not F32 and raw.dtype is not F64:
                self.plain = False
        if out._data.dtype is not F32 and out._data.dtype is not F64:
            self.plain = False

    def _save(self, plan: Plan, args: tuple[Any, ...], out: Tensor) -> None:
        saved: Any = args if plan.everything else list(plan.blank)
        for k in plan.values:
            a = args[k]
            if isinstance(a, Tensor):
                if a._inference:
                    raise RuntimeError(INFERENCE)
                cell = a._version_cell
                if cell is not None and cell[0]:
                    self.versions = (self.versions or {}) | {k: cell[0]}
            else:  # texts take arrays: a number stands there as a scalar of the result's dtype
                saved = list(saved)
                a = out._data.dtype.type(a)
            if saved is not args:
                saved[k] = a
        for k in plan.shapes:
            a = args[k]
            saved[k] = Ghost(a._data.shape, a._data.dtype) if isinstance(a, Tensor) else out._data.dtype.type(a)
        self.saved = saved
        if plan.output is VALUE:
            self.output, self.cell = out._data, out._cell()
        elif plan.output is SHAPE:
            self.output = Ghost(out._data.shape, out._data.dtype)

    def backward(self, g: Any, over: Namespace | None) -> Sequence[Any]:
        """Read the VJP of every wanted argument: (g, output, saved values) -> its cotangent."""
        saved, plan = self.saved, self.plan
        if saved is Freed:
            raise RuntimeError(FREED)
        if self.packed:
            return unpacked(self).backward(g, over)
        if plan.keeps:
            saved = self._unpack()
        if over is not None:
            return self._record_backward(g, over)
        xp = KERNELS if gpu.kernels is None else kernels_for(g)
        if self.metas is None:
            return plan.pull(xp, g, self.output, saved, self.params)
        run: Callable[..., Any] = _run
        grads: list[Any] = [None] * len(saved)
        output = self.output
        if not self.plain:
            g, output, saved = widen(g), widen(output), [widen(a) for a in saved]
            if self._needs_conjugates(g.dtype):
                run, saved = _between_conjugates(run), [self._to_complex(i, a, g.dtype) for i, a in enumerate(saved)]
        for (i, vjp), (shape, dtype) in zip(plan.wanted, self.metas):
            d = run(vjp, xp, g, output, *saved, **self.params)
            if d.shape != shape and self.rule.broadcasts:
                d = xp.sum_to(d, shape)
            grads[i] = d if d.dtype is dtype else _to_dtype(d, dtype)
        return grads

    def _unpack(self) -> list[Any]:
        """The saved values as arrays. Raises RuntimeError if one was written to since, or was detached."""
        versions, saved, plan = self.versions, list(self.saved), self.plan
        for k in plan.values:
            t = saved[k]
            if isinstance(t, Tensor):
                if t._edge is None and (edge := self.edges[k]) is not None and not edge[0].ends:
                    raise RuntimeError(DETACHED)
                cell = t._version_cell
                if cell is not None and cell[0] != (0 if versions is None else versions.get(k, 0)):
                    raise self._stale_error(t, cell[0], 0 if versions is None else versions.get(k, 0))
                saved[k] = t._data
        cell = self.cell
        if cell is not None and cell[0] != self.version:
            raise modified_error(self.output, f", which is output 0 of {op_of(self)}", cell[0], self.version)
        return saved

    def run_on_none(self) -> None:
        if self.saved is Freed:
            raise RuntimeError(FREED)
        if self.plan.keeps and not self.packed:
            self._unpack()

    def _needs_conjugates(self, cotangent: np.dtype) -> bool:
        """Is a rule for reals read over complex numbers here? Then it stands between two conjugations."""
        return cotangent.kind == "c" and not self.rule.wirtinger

    def _to_complex(self, i: int, a: Any, to: np.dtype, over: Namespace | None = None) -> Any:
        """Argument `i`, as a complex number if it is a real one.

        So the op took it among complex arguments: log(-1) has a value then.
        """
        raw = a._data if isinstance(a, Tensor) else a
        if raw is None or isinstance(raw, Ghost) or raw.dtype.kind != "f" or self.rule.spec.argument(i) != "float":
            return a
        return over.cast(a, to=to) if over is not None and isinstance(a, Tensor) else a.astype(to)

    def _stale_error(self, t: Tensor, now: int, then: int) -> RuntimeError:
        made = "" if t._edge is None else f", which is output {t._edge[1]} of {op_of(t._edge[0])}"
        return modified_error(t._data, made, now, then)

    def _record_backward(self, g: Tensor, over: Namespace) -> list[Any]:
        """The same rule, read over tensors: what it does is recorded."""
        args = [wrap(a) if isinstance(a, np.generic) else a for a in self.saved]
        out = self.output
        if self.cell is not None:
            out = self._saved_output()
        grads: list[Any] = [None] * len(args)
        metas = self.metas or [(g._data.shape, g._data.dtype)] * len(grads)
        conjugate = not self.plain and self._needs_conjugates(g._data.dtype)
        if conjugate:
            to = g._data.dtype
            args = [self._to_complex(i, a, to, over) for i, a in enumerate(args)]
            g = over.conj(g)
        for (i, vjp), (shape, dtype) in zip(self.plan.wanted, metas):
            d = vjp(over, g, out, *args, **self.params)
            if conjugate:
                d = over.conj(d)
            if self.rule.broadcasts and d._data.shape != shape:
                d = over.sum_to(d, shape)
            grads[i] = d if d._data.dtype == dtype else over.cast(d, to=dtype)
        return grads

    def _saved_output(self) -> Tensor:
        out = wrap(self.output)
        out._requires_grad, out._edge, out._version_cell, out._tangents = True, (self, 0), self.cell, self.tangents
        return out

    def release(self) -> None:
        if self.keeps:
            self.saved = Freed
            if self.output is not None:
                self.output = self.cell = None


def runner(plan: Plan, n: int) -> Callable[[Any, Any, bool], Sequence[Any]] | None:
    """`OpNode.run` for nodes of one or two arguments, with the VJPs that are wanted, built once. None: as any other node.

    A saved value that may have been written to, or detached, is left to `_unpack`, which tells.
    """
    if n > 2 or not plan.wanted or (plan.saves and not plan.keeps):
        return None
    first, second = (dict(plan.wanted).get(k) for k in (0, 1))
    keeps = plan.keeps

    def run_one(node: Any, g: Any, free: bool) -> Sequence[Any]:
        saved = node.saved
        if node.special or saved is Freed or gpu.kernels is not None:
            return Node.run(node, g, free)
        x = saved[0]
        if keeps:
            if (
                type(x) is Tensor
                and x._version_cell is None
                and node.cell is None
                and (x._edge is not None or node.edges[0][0].ends)
            ):
                x = x._data
            else:
                (x,) = node._unpack()
        assert first is not None
        params = node.params
        grads = [first(KERNELS, g, node.output, x, **params) if params else first(KERNELS, g, node.output, x)]
        if free and keeps:
            node.release()
        return grads

    def run_two(node: Any, g: Any, free: bool) -> Sequence[Any]:
        saved = node.saved
        if node.special or saved is Freed or gpu.kernels is not None:
            return Node.run(node, g, free)
        x, y = saved
        if keeps:
            one, two = node.edges
            if (
                type(x) is Tensor and type(y) is Tensor and x._version_cell is None is y._version_cell
                and (x._edge is not None or one is None or one[0].ends)
                and (y._edge is not None or two is None or two[0].ends) and node.cell is None
            ):  # fmt: skip
                x, y = x._data, y._data
            else:
                x, y = node._unpack()
        out, params = node.output, node.params
        if params:
            grads = plan.pull(KERNELS, g, out, (x, y), params)
        else:
            grads = [
                None if first is None else first(KERNELS, g, out, x, y),
                None if second is None else second(KERNELS, g, out, x, y),
            ]
        if free and keeps:
            node.saved = Freed
            if out is not None:
                node.output = node.cell = None
        return grads

    return run_one if n == 1 else run_two


def _run(vjp: Callable[..., Any], *args: Any, **params: Any) -> Any:
    return vjp(*args, **params)


def _between_conjugates(run: Callable[..., Any]) -> Callable[..., Any]:
    """conj(text(conj(g))): derived in `wirtinger`."""

    def conjugated(vjp: Callable[..., Any], xp: Any, g: Any, *rest: Any, **params: Any) -> Any:
        return np.conj(run(vjp, xp, np.conj(g), *rest, **params))

    return conjugated


def _to_dtype(d: Any, to: np.dtype) -> Any:
    if d.dtype == to:
        return d
    if d.dtype.kind == "c" and to.kind != "c":
        d = d.real  # a real input of a complex op gets the real part of its cotangent
    return d.astype(to)
