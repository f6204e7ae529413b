"""`autograd.functional`: Jacobians, Hessians and their products, out of `grad` alone.

The one idea: the VJP is linear in its cotangent v, so differentiating <vjp(v), u> with respect to v gives the JVP: two
backward passes make a forward derivative (the "double backward trick").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..api.joining import stack
from ..api.shape import reshape
from ..modes import enable_grad
from ..tensor import Tensor, wrap
from .gradients import grad

Function = Callable[..., Any]


_TOGETHER = (
    "torch.autograd.functional.{}: `strict=True` and `vectorize=True` are not supported together. Please either set "
    "`strict=False` or `vectorize=False`."
)


def _tuple(x: Any, what: str, function: str) -> tuple[bool, tuple[Tensor, ...]]:
    """(Was it a tuple?, as one). Raises TypeError where it holds anything but tensors."""
    many = isinstance(x, tuple | list)
    xs = tuple(x) if many else (x,)
    for k, t in enumerate(xs):
        if not isinstance(t, Tensor):
            where = f"the value at index {k} has" if many else f"the given {what} has"
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but {where} type {type(t)}."
            )
    return many, xs


def _leaves(inputs: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    """Fresh ends to differentiate at; with create_graph still connected to the given inputs."""
    if create_graph:
        return tuple(x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in inputs)
    return tuple(x.detach().requires_grad_() for x in inputs)


def _run(func: Function, inputs: tuple[Tensor, ...], function: str) -> tuple[bool, tuple[Tensor, ...]]:
    return _tuple(func(*inputs), "outputs of the user-provided function", function)


def _to_output(many: bool, xs: Any, create_graph: bool) -> Any:
    xs = tuple(x if create_graph else x.detach() for x in xs)
    return xs if many else xs[0]


def _grad(outs: Any, inputs: Any, seeds: Any, create_graph: bool, retain: bool = True) -> tuple[Any, ...]:
    pairs = [(o, s) for o, s in zip(outs, seeds) if o.requires_grad]
    if not pairs:
        return tuple(wrap(np.zeros_like(x._data)) for x in inputs)
    outs, seeds = zip(*pairs)
    return grad(outs, inputs, seeds, retain_graph=retain, create_graph=create_graph, materialize_grads=True)


def _require_dependence(outs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], each: bool = False) -> None:
    """`strict`: raises RuntimeError where an output has no gradient, or none with respect to an input.

    each  is it the Jacobian of every output that is asked for, rather than one product?
    """
    for k, out in enumerate(outs):
        if not out.requires_grad:
            raise RuntimeError(
                f"Output {k} of the user-provided function does not require gradients. The outputs must be computed in a "
                "differentiable manner from the input when running in strict mode."
            )
        for j in _independent(out, inputs):
            what = f"Output {k}" if each else "The output"
            raise RuntimeError(
                f"{what} of the user-provided function is independent of input {j}. This is not allowed in strict mode."
            )


def _require_second(grads: Sequence[Tensor], inputs: tuple[Tensor, ...], hessian: bool = False) -> None:
    """`strict` with create_graph, or for Hessians: raises RuntimeError where the gradient of an input is a constant."""
    for j, g in enumerate(grads):
        if not g.requires_grad or len(_independent(g, inputs)) == len(inputs):
            raise RuntimeError(
                f"The jacobian of the user-provided function with respect to input {j} is independent of the input. This is "
                "not allowed in strict mode. You should ensure that your function is thrice differentiable and that the "
                "hessian depends on the inputs." if hessian else
                f"The jacobian of the user-provided function is independent of input {j}. This is not allowed in strict "
                "mode when create_graph=True."
            )  # fmt: skip


def _independent(out: Tensor, inputs: tuple[Tensor, ...]) -> list[int]:
    """The inputs that an output does not depend on."""
    found = grad(out.sum(), inputs, retain_graph=True, allow_unused=True)
    return [j for j, g in enumerate(found) if g is None]


def _seeds(v: Any, outs: tuple[Tensor, ...], what: str, function: str) -> tuple[Tensor, ...]:
    """The vectors of a product, checked against what they are multiplied with; 1 for a single entry."""
    if v is None:
        if len(outs) != 1 or outs[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
                if what == "output" else
                "The vector v can only be None if the input to the user-provided function is a single Tensor with a single "
                "element."
            )  # fmt: skip
        return (wrap(np.ones_like(outs[0]._data)),)
    _, vs = _tuple(v, "v", function)
    if len(vs) != len(outs):
        raise RuntimeError(
            "The given v should contain a single Tensor." if len(outs) == 1 else
            f"v is a tuple of invalid length: should be {len(outs)} but got {len(vs)}."
        )  # fmt: skip
    for k, (a, b) in enumerate(zip(vs, outs)):
        if a._data.shape != b._data.shape:
            entry = f"Entry {k} in " if len(outs) > 1 else ""
            raise RuntimeError(f"{entry}v has invalid size: should be {b.shape} but got {a.shape}.")
    return vs


@enable_grad()
def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), vᵀJ)."""
    many_in, xs = _tuple(inputs, "inputs", "vjp")
    xs = _leaves(xs, create_graph)
    many_out, outs = _run(func, xs, "vjp")
    if strict:
        _require_dependence(outs, xs)
    grads = _grad(outs, xs, _seeds(v, outs, "output", "vjp"), create_graph)
    if strict and create_graph:
        _require_second(grads, xs)
    return _to_output(many_out, outs, create_graph), _to_output(many_in, grads, create_graph)


@enable_grad()
def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), Jv), by two backward passes."""
    _, xs = _tuple(inputs, "inputs", "jvp")
    xs = _leaves(xs, create_graph)
    many_out, outs = _run(func, xs, "jvp")
    if strict:
        _require_dependence(outs, xs)
    vs = _seeds(v, xs, "input", "jvp")
    ws = tuple(wrap(np.zeros_like(o._data)).requires_grad_() for o in outs)
    grads = _grad(outs, xs, ws, True)
    found = _grad(grads, ws, vs, create_graph)
    if strict and create_graph:
        _require_second(found, xs)
    return _to_output(many_out, outs, create_graph), _to_output(many_out, found, create_graph)


def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), vᵀH) for a scalar function."""
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


@enable_grad()
def _hessian_product(
    name: str, func: Function, inputs: Any, v: Any, create_graph: bool, strict: bool
) -> tuple[Any, Any]:
    many_in, xs = _tuple(inputs, "inputs", name)
    xs = _leaves(xs, create_graph)
    _, outs = _run(func, xs, name)
    _single(outs, name)
    if strict:
        _require_dependence(outs, xs)
    vs = _seeds(v, xs, "input", name)
    first = _grad(outs, xs, (wrap(np.ones_like(outs[0]._data)),), True)
    if strict:
        _require_second(first, xs, hessian=True)
    return _to_output(False, outs, create_graph), _to_output(many_in, _grad(first, xs, vs, create_graph), create_graph)


def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(inputs), Hv) for a scalar function. The Hessian is symmetric: it is the product of `vhp`."""
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _single(outs: tuple[Tensor, ...], name: str) -> None:
    if len(outs) != 1:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if outs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")


def _unit_vectors(x: Tensor) -> Iterator[Tensor]:
    """The rows of the identity, one at a time."""
    for k in range(x._data.size):
        row = np.zeros(x._data.size, x._data.dtype)
        row[k] = 1
        yield wrap(row)


def _construct_standard_basis_for(tensors: Sequence[Tensor], tensor_numels: Sequence[int]) -> tuple[Tensor, ...]:
    """The identity over all entries of all tensors, cut into the columns of each, in its dtype. PyTorch's name."""
    whole = np.eye(sum(tensor_numels))
    ends = np.cumsum(tensor_numels)[:-1]
    return tuple(wrap(part.astype(x._data.dtype)) for part, x in zip(np.split(whole, ends, axis=1), tensors))


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
    many_in, xs = _tuple(inputs, "inputs", "jacobian")
    xs = _leaves(xs, create_graph)
    many_out, outs = _run(func, xs, "jacobian")
    if strict and vectorize:
        raise RuntimeError(_TOGETHER.format("jacobian"))
    if strict:
        _require_dependence(outs, xs, each=True)
    blocks = []
    for out in outs:
        rows = []
        (basis,) = _construct_standard_basis_for((out,), (out.numel(),)) if vectorize else (_unit_vectors(out),)
        for seed in basis:
            rows.append(_grad((out,), xs, (reshape(seed, out._data.shape),), create_graph))
            if strict and create_graph:
                _require_second(rows[-1], xs)
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
    many_in, xs = _tuple(inputs, "inputs", "hessian")
    if strict and vectorize:
        raise RuntimeError(_TOGETHER.format("hessian"))

    def gradient(*points: Tensor) -> Any:
        _, outs = _run(func, points, "hessian")
        _single(outs, "hessian")
        if strict and not outs[0].requires_grad:
            _require_dependence(outs, points)
        first = _grad((reshape(outs[0], ()),), points, (wrap(np.ones((), outs[0]._data.dtype)),), True)
        if strict:
            _require_second(first, points, hessian=True)
        return first if many_in else first[0]

    return jacobian(gradient, inputs if many_in else xs[0], create_graph)
