"""`autograd.functional`: Jacobians, Hessians and their products, out of `grad` alone.

The one idea: the VJP is linear in its cotangent v, so differentiating <vjp(v), u> with respect to v gives the JVP: two
backward passes make a forward derivative (the "double backward trick").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..api.joining import stack
from ..api.shape import reshape
from ..modes import enable_grad
from ..tensor import Tensor, wrap
from .gradients import grad

Function = Callable[..., Any]


def _tuple(x: Any, what: str) -> tuple[bool, tuple[Tensor, ...]]:
    many = isinstance(x, tuple | list)
    xs = tuple(x) if many else (x,)
    for k, t in enumerate(xs):
        if not isinstance(t, Tensor):
            raise TypeError(
                f"The {what} given should be either a Tensor or a tuple of Tensors but the value at index {k} has type "
                f"{type(t)}."
            )
    return many, xs


def _leaves(inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    """Fresh ends to differentiate at; with create_graph still connected to the given inputs."""
    if create_graph:
        return tuple(x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in inputs)
    return tuple(x.detach().requires_grad_() for x in inputs)


def _run(func: Function, inputs: tuple[Tensor, ...]) -> tuple[bool, tuple[Tensor, ...]]:
    return _tuple(func(*inputs), "output of the user-provided function")


def _to_output(many: bool, xs: Any, create_graph: bool) -> Any:
    xs = tuple(x if create_graph else x.detach() for x in xs)
    return xs if many else xs[0]


def _grad(outs: Any, inputs: Any, seeds: Any, create_graph: bool, retain: bool = True) -> tuple[Any, ...]:
    pairs = [(o, s) for o, s in zip(outs, seeds) if o.requires_grad]
    if not pairs:
        return tuple(wrap(np.zeros_like(x._data)) for x in inputs)
    outs, seeds = zip(*pairs)
    return grad(outs, inputs, seeds, retain_graph=retain, create_graph=create_graph, materialize_grads=True)


def _require_dependence(outs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], what: str = "") -> None:
    """`strict`: raises RuntimeError where an output has no gradient, or an input has no part in one."""
    for k, out in enumerate(outs):
        found = (
            grad(out.sum(), inputs, retain_graph=True, allow_unused=True) if out.requires_grad else [None] * len(inputs)
        )
        if what:
            for j, g in enumerate(found):
                if g is None:
                    raise RuntimeError(
                        f"While computing the hessian, found that {what} with respect to input {k} is independent of the "
                        "input. This is not allowed in strict mode. You should ensure that your function is thrice "
                        "differentiable and that the hessian depends on the inputs."
                        if not out.requires_grad else
                        f"Output of the jacobian of the user-provided function is independent of input {j}. This is not "
                        "allowed in strict mode."
                    )  # fmt: skip
        elif not out.requires_grad:
            raise RuntimeError(
                f"Output {k} of the user-provided function does not require gradients. The outputs must be computed in a "
                "differentiable manner from the input when running in strict mode."
            )
        elif any(g is None for g in found):
            raise RuntimeError(
                f"Output {k} of the user-provided function is independent of input "
                f"{[g is None for g in found].index(True)}. This is not allowed in strict mode."
            )


def _seeds(v: Any, outs: tuple[Tensor, ...], what: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(outs) != 1 or outs[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
                if what == "output" else
                "The vector v can only be None if the input to the user-provided function is a single Tensor with a single "
                "element."
            )  # fmt: skip
        return (wrap(np.ones_like(outs[0]._data)),)
    _, vs = _tuple(v, "v")
    if len(vs) != len(outs) or any(a._data.shape != b._data.shape for a, b in zip(vs, outs)):
        raise RuntimeError("v has invalid size: it should be the same as that of the " + what)
    return vs


@enable_grad()
def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), vᵀJ)."""
    many_in, xs = _tuple(inputs, "inputs")
    xs = _leaves(xs, create_graph)
    many_out, outs = _run(func, xs)
    if strict:
        _require_dependence(outs, xs)
    grads = _grad(outs, xs, _seeds(v, outs, "output"), create_graph)
    return _to_output(many_out, outs, create_graph), _to_output(many_in, grads, create_graph)


@enable_grad()
def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), Jv), by two backward passes."""
    _, xs = _tuple(inputs, "inputs")
    xs = _leaves(xs, create_graph)
    many_out, outs = _run(func, xs)
    if strict:
        _require_dependence(outs, xs)
    vs = _seeds(v, xs, "input")
    ws = tuple(wrap(np.zeros_like(o._data)).requires_grad_() for o in outs)
    grads = _grad(outs, xs, ws, True)
    found = _grad(grads, ws, vs, create_graph)
    return _to_output(many_out, outs, create_graph), _to_output(many_out, found, create_graph)


@enable_grad()
def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), vᵀH) for a scalar function."""
    many_in, xs = _tuple(inputs, "inputs")
    xs = _leaves(xs, create_graph)
    _, outs = _run(func, xs)
    _single(outs)
    if strict:
        _require_dependence(outs, xs)
    vs = _seeds(v, xs, "input")
    first = _grad(outs, xs, (wrap(np.ones_like(outs[0]._data)),), True)
    if strict:
        _require_dependence(first, xs, "the jacobian of the user-provided function")
    return _to_output(False, outs, create_graph), _to_output(many_in, _grad(first, xs, vs, create_graph), create_graph)


hvp = vhp  # the Hessian is symmetric: both products are one pass over the gradient's graph


def _single(outs: tuple[Tensor, ...]) -> None:
    if len(outs) != 1:
        raise RuntimeError("The function given to hessian should return a single Tensor")
    if outs[0].numel() != 1:
        raise RuntimeError("The Tensor returned by the function given to hessian should contain a single element")


@enable_grad()
def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian, a row per output entry; nested tuples (outputs outside, inputs inside) where there are several."""
    many_in, xs = _tuple(inputs, "inputs")
    xs = _leaves(xs, create_graph)
    many_out, outs = _run(func, xs)
    if strict:
        _require_dependence(outs, xs)
    blocks = []
    for out in outs:
        rows = []
        for k in range(out.numel()):
            seed = np.zeros(out._data.size, out._data.dtype)
            seed[k] = 1
            rows.append(_grad((out,), xs, (wrap(seed.reshape(out._data.shape)),), create_graph))
        columns = zip(*rows) if rows else [[] for _ in xs]
        block = [
            reshape(stack(c), (*out.shape, *x.shape))
            if len(c := list(column))
            else wrap(np.zeros((*out.shape, *x.shape)))
            for column, x in zip(columns, xs)
        ]
        blocks.append(_to_output(many_in, block, create_graph))
    return tuple(blocks) if many_out else blocks[0]


@enable_grad()
def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a scalar function: the Jacobian of its gradient."""
    many_in, xs = _tuple(inputs, "inputs")

    def gradient(*points: Tensor) -> Any:
        _, outs = _run(func, points)
        _single(outs)
        if strict:
            _require_dependence(outs, points)
        first = _grad((reshape(outs[0], ()),), points, (wrap(np.ones((), outs[0]._data.dtype)),), True)
        if strict:
            _require_dependence(first, points, "the jacobian of the user-provided function")
        return first if many_in else first[0]

    return jacobian(gradient, inputs if many_in else xs[0], create_graph)
