"""`torch.func`: derivatives as functions of functions. They nest: every one is differentiable again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .api.indexing import getitem
from .api.joining import stack
from .autograd import functional
from .autograd.gradients import grad as _grad
from .modes import enable_grad
from .tape import Node
from .tensor import AccumulateGrad, Tensor, wrap

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp", "vmap"]


def _as_leaf(x: Tensor) -> Tensor:
    """`x` as a tensor of its own to differentiate at, still connected to its history."""
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()


def _detach_unused(results: Any, own: list[Tensor]) -> Any:
    """Detach results that depend on our own leaves only.

    Results that an outer derivative (or a closure) needs stay connected.
    """
    if isinstance(results, tuple | list):
        return type(results)(_detach_unused(r, own) for r in results)
    if not isinstance(results, Tensor) or not results.requires_grad:
        return results
    ours = {id(x) for x in own}
    seen: set[Node] = set()
    stack_ = [results._gradient_edge()[0]]
    while stack_:
        node = stack_.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, AccumulateGrad) and id(node.variable) not in ours:
            return results
        stack_ += [edge[0] for edge in node.edges if edge is not None]
    return results.detach()


def grad_and_value(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns (gradient, value) of a scalar function."""

    @enable_grad()
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        which = (argnums,) if isinstance(argnums, int) else argnums
        points = list(args)
        for k in which:
            points[k] = _as_leaf(args[k])
        ends = [points[k] for k in which]
        out = func(*points, **kwargs)
        out, aux = out if has_aux else (out, None)
        if not isinstance(out, Tensor):
            raise RuntimeError(
                f"grad_and_value(f)(*args): Expected f(*args) to return a single tensor, got {type(out).__name__}"
            )
        if out.dim():
            raise RuntimeError(
                "grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor with "
                f"{out.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?"
            )
        if out.requires_grad:
            found = _grad(out, ends, create_graph=True, materialize_grads=True)
        else:
            found = tuple(wrap(np.zeros_like(e._data)) for e in ends)
        found, out, aux = _detach_unused((found, out, aux), ends)
        result = found[0] if isinstance(argnums, int) else found
        return (result, (out, aux)) if has_aux else (result, out)

    return wrapped


def grad(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of a scalar function."""
    both = grad_and_value(func, argnums, has_aux)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        g, value = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return wrapped


def vjp(func: Callable[..., Any], *primals: Tensor) -> tuple[Any, Callable[..., tuple[Any, ...]]]:
    """(func(*primals), a function of the cotangent)."""
    with enable_grad():
        points = [_as_leaf(p) for p in primals]
        out = func(*points)
    outs = out if isinstance(out, tuple) else (out,)

    def pull(*cotangents: Any) -> tuple[Any, ...]:
        seeds = cotangents[0] if isinstance(cotangents[0], tuple) else cotangents
        found = _grad(outs, points, seeds, retain_graph=True, create_graph=True, materialize_grads=True)
        return _detach_unused(tuple(found), points)

    return _detach_unused(out, points), pull


def jvp(func: Callable[..., Any], primals: tuple[Tensor, ...], tangents: tuple[Tensor, ...]) -> tuple[Any, Any]:
    """(func(*primals), its derivative along the tangents)."""
    return functional.jvp(func, tuple(primals), tuple(tangents))


def _jacobian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that returns the Jacobian with respect to the arguments `argnums`."""

    @enable_grad()
    def wrapped(*args: Any) -> Any:
        which = (argnums,) if isinstance(argnums, int) else argnums
        points = list(args)
        ends = []
        for k in which:
            points[k] = _as_leaf(args[k])
            ends.append(points[k])

        def of(*xs: Tensor) -> Any:
            for k, x in zip(which, xs):
                points[k] = x
            return func(*points)

        found = functional.jacobian(of, tuple(ends), create_graph=True)
        found = _detach_unused(found, ends)
        return found[0] if isinstance(argnums, int) and isinstance(found[0], Tensor) else (
            tuple(f[0] for f in found) if isinstance(argnums, int) else found
        )  # fmt: skip

    return wrapped


jacrev = jacfwd = _jacobian


def hessian(func: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that returns the Hessian of a scalar function."""
    return _jacobian(_jacobian(func, argnums), argnums)


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: Any = None
) -> Callable[..., Any]:
    """`func` over a batch, row by row: the meaning of PyTorch's vmap, without its speed."""

    def wrapped(*args: Any) -> Any:
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
        sizes = {a.shape[d] for a, d in zip(args, dims) if d is not None}
        if len(sizes) != 1:
            raise ValueError(
                f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sorted(sizes)}"
            )
        rows = []
        for k in range(sizes.pop()):
            row = [a if d is None else getitem(a, (slice(None),) * d + (k,)) for a, d in zip(args, dims)]
            rows.append(func(*row))
        if isinstance(rows[0], tuple):
            outs = out_dims if isinstance(out_dims, tuple) else (out_dims,) * len(rows[0])
            return tuple(stack(column, d) for column, d in zip(zip(*rows), outs))
        return stack(rows, out_dims)

    return wrapped
