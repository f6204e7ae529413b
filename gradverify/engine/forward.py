"""Forward mode: dual numbers. A tensor with a tangent hands one on to whatever is computed from it.

The one idea: nothing is declared for forward mode. The JVP of an op comes from its VJP (`tangent_of`): that of an
elementwise op is its own transpose, a linear op is its own JVP, and for the rest the VJP, linear in its cotangent, is
transposed.

A tangent belongs to a level, so that a derivative of a derivative does not take one tangent for the other (Siskind &
Pearlmutter 2005, "Perturbation confusion and referential transparency").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..ops.shapes import same
from .autograd.gradients import grad
from .dispatch import apply, cast
from .modes import recording, state
from .namespace import ENGINE
from .rules import Rule, rule
from .tensor import Tensor, View, mark_leaf, wrap


def tangent(x: Any, level: int) -> Tensor | None:
    """The tangent of `x` at a level, or None."""
    return x._tangents.get(level) if isinstance(x, Tensor) and x._tangents else None


def with_tangent(x: Tensor, level: int, d: Tensor | None) -> Tensor:
    """The same tensor, its tangent at a level set or taken away (None)."""
    out = alias(x)
    kept = {k: v for k, v in (x._tangents or {}).items() if k != level}
    out._tangents = kept if d is None else kept | {level: d}
    return out


def check_size(primal: Tensor, tangent: Tensor) -> None:
    """Raises RuntimeError where the two have different shapes."""
    if primal._data.shape != tangent._data.shape:
        raise RuntimeError(
            f"Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(primal.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )


def alias(x: Tensor) -> Tensor:
    """Another object for the same tensor: the same memory, history and tangents."""
    out = object.__new__(type(x))
    _, _ = x._array(), x._cell()
    kept = (
        x._gradient_edge() if x._requires_grad and x._edge is None else None
    )  # a leaf has one accumulator for all aliases
    vars(out).update(vars(x) | {"_kept": kept})
    return out


def apply_dual(op: Rule, args: Sequence[Any], params: Mapping[str, Any]) -> Tensor:
    """Run an op of which an argument has a tangent: once for the value, once for the tangent of the innermost level."""
    if op.composite:
        return op.spec.define(ENGINE, *args, **params)
    level = max(k for a in args if isinstance(a, Tensor) and a._tangents for k in a._tangents if k in state.duals)
    tangents = [tangent(a, level) for a in args]
    primals = [a if d is None else with_tangent(a, level, None) for a, d in zip(args, tangents)]
    out = apply(op, primals, params)
    if out._view is not None:
        _point_to_originals(out._view, primals, args)
    if out._edge is not None:
        _save_duals(out._edge[0], primals, args)
    if op.spec.result != "float" or out._data.dtype.kind not in "fcV":
        return out
    d = tangent_of(op, primals, params, out, tangents)
    if d is not None:
        out._tangents = (out._tangents or {}) | {level: d}
        if out._edge is not None:
            out._edge[0].__dict__["tangents"] = out._tangents
    return out


def _point_to_originals(view: View, primals: Sequence[Any], args: Sequence[Any]) -> None:
    """A view is one of the tensor itself, not of the stand-in without its tangent: a write to it changes the tensor."""
    for p, a in zip(primals, args):
        if p is not a and view.base is p:
            view.base = a
        if p is not a and view.dual is not None and view.dual[0] is p:
            view.dual = a, view.dual[1]


def _save_duals(node: Any, primals: Sequence[Any], args: Sequence[Any]) -> None:
    """Let the node's saved values keep their tangents: a backward pass inside this level is differentiated as well."""
    saved = getattr(node, "saved", ())
    if isinstance(saved, tuple | list) and len(saved) == len(args):
        node.saved = tuple(a if s is p else s for s, p, a in zip(saved, primals, args))


def tangent_of(
    op: Rule, args: Sequence[Any], params: Mapping[str, Any], out: Tensor, tangents: Sequence[Tensor | None]
) -> Tensor | None:
    """The JVP of an op: the sum, over its arguments, of the derivative along that argument's tangent."""
    parts = []
    for i, d in enumerate(tangents):
        if d is not None and i not in op.frozen and op.spec.argument(i) == "float":
            parts.append(_part(op, i, args, params, out, d))
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    if total._data.shape != out._data.shape:
        total = apply(rule("broadcast_to"), (total,), {"shape": out._data.shape})
    if total._data.dtype.kind == "c" != out._data.dtype.kind:
        total = ENGINE.real(total)
    return total if total._data.dtype == out._data.dtype else cast(total, out._data.dtype)


def _part(op: Rule, i: int, args: Sequence[Any], params: Mapping[str, Any], out: Tensor, d: Tensor) -> Tensor:
    is_complex = "c" in out._data.dtype.kind + d._data.dtype.kind
    if is_complex and not op.linear_in(i, len(args)):
        return _transposed(_conjugated(op, i, args, params, out), out, d)
    if op.spec.broadcasts or op.spec.shape is same or op.name == "clip":
        if d._data.shape != out._data.shape:
            d = apply(rule("broadcast_to"), (d,), {"shape": out._data.shape})
        return _text(op, i)(d, out, args, params)
    if op.linear_in(i, len(args)):
        at = lambda x: apply(op, [*args[:i], x, *args[i + 1 :]], params)
        return at(d) if len(args) == 1 else apply(rule("subtract"), (at(d), at(wrap(np.zeros_like(d._data)))))
    return _transposed(lambda w: _text(op, i)(w, out, args, params), out, d)


def _conjugated(
    op: Rule, i: int, args: Sequence[Any], params: Mapping[str, Any], out: Tensor
) -> Callable[[Tensor], Tensor]:
    """The VJP over complex numbers; a rule for reals stands between two conjugations (see `wirtinger`)."""
    text = _text(op, i)
    if op.wirtinger:
        return lambda w: text(w, out, args, params)
    return lambda w: ENGINE.conj(text(ENGINE.conj(w), out, args, params))


def _text(op: Rule, i: int) -> Callable[..., Tensor]:
    """The VJP text of argument `i`, over tensors; constants among the arguments become tensors, as texts expect arrays."""

    def run(g: Tensor, out: Tensor, args: Sequence[Any], params: Mapping[str, Any]) -> Tensor:
        arrays = [a if isinstance(a, Tensor) else wrap(out._data.dtype.type(a)) for a in args]
        return op.vjp_of(i)(ENGINE, g, out, *arrays, **params)

    return run


def _transposed(vjp: Callable[[Tensor], Tensor], out: Tensor, d: Tensor) -> Tensor:
    """J d, where vjp(w) = J'w: the gradient of <vjp(w), d> with respect to w."""
    with recording():
        w = mark_leaf(wrap(np.zeros_like(out._array())))
        pulled = vjp(w)
    if not pulled._requires_grad:
        return wrap(np.zeros_like(out._array()))
    (found,) = grad(pulled, [w], d, create_graph=state.enabled, allow_unused=True)
    return wrap(np.zeros_like(out._array())) if found is None else found
