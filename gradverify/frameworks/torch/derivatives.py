"""PyTorch's JVPs, and its derivatives as functions to be differentiated in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...core.errors import NoRule
from ...trace import Traced
from ..base import Derived, Pushed
from ..values import argnums, restricted
from .arrays import from_numpy, to_numpy


def run_jvp(
    function: Any, values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray], batched: bool
) -> Pushed:
    """(outputs, tangents of the outputs) along `tangents`; with `batched`, under vmap."""
    import torch
    from torch import _vmap_internals
    from torch.autograd import forward_ad

    def pushed(*along: Any) -> Any:
        given = dict(zip(tangents, along))
        with forward_ad.dual_level():
            inputs = [forward_ad.make_dual(p, given[n]) if n in given else p for n, p in primals.items()]
            pairs = [forward_ad.unpack_dual(o) for o in function(*inputs)]
            outs = tuple(p.primal for p in pairs)
            return outs, tuple(torch.zeros_like(p.primal) if p.tangent is None else p.tangent for p in pairs)

    primals = {n: from_numpy(v) for n, v in values.items()}
    of_wrt = restricted(function, list(primals.values()), argnums(values, tangents))
    along = [from_numpy(t) for t in tangents.values()]
    if batched:
        outs, _ = pushed(*along)
        many = [torch.stack([t, -t, 2 * t]) for t in along]
        try:
            # The way of torch.autograd.gradcheck, which asks nothing of custom Functions.
            found = _vmap_internals._vmap(lambda *a: pushed(*a)[1])(*many)
        except RuntimeError:
            push = lambda *a: torch.func.jvp(of_wrt, tuple(primals[n] for n in tangents), a)[1]
            found = torch.func.vmap(push, randomness="same")(*many)
        result = tuple(r[0] for r in found)
    else:
        try:
            outs, result = pushed(*along)
        except RuntimeError as e:
            if "Nested forward mode" not in str(e):
                raise
            # The function is a JVP itself: levels of torch.func nest, those of forward_ad do not.
            outs, result = torch.func.jvp(of_wrt, tuple(primals[n] for n in tangents), tuple(along))[:2]
    return tuple(map(to_numpy, outs)), tuple(map(to_numpy, result))


def lift_vjp(
    function: Callable[..., Any],
    values: Mapping[str, np.ndarray],
    wrt: tuple[str, ...],
    cotangent: tuple[np.ndarray, ...],
) -> Derived:
    """The VJP as a function of tensors, with its point."""
    import torch

    from .tracer import seeded

    names = list(values)

    def pull(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))
        with torch.enable_grad():
            # Where the subject freezes an argument, the first derivative needs it all the same.
            given = {n: a.requires_grad_() if n in wrt and not a.requires_grad else a for n, a in given.items()}
            outputs, cotangents = seeded(function(*given.values()), arrays[len(names) :])
            found = torch.autograd.grad(
                outputs, [given[n] for n in wrt], cotangents, create_graph=True, allow_unused=True
            )
        if any(g is not None and _once(g) for g in found):
            raise NoRule("the backward pass is marked once_differentiable: it is not meant to be differentiated")
        return tuple(g for g in found if g is not None)

    args = [from_numpy(v).requires_grad_(n in wrt) for n, v in values.items()]
    args += [from_numpy(g).requires_grad_() for g in cotangent]
    return pull, tuple(args)


def trace_vjp(
    function: Callable[..., Any],
    values: Mapping[str, np.ndarray],
    wrt: tuple[str, ...],
    cotangent: tuple[np.ndarray, ...],
) -> Traced:
    """The trace of the backward pass as users run it."""
    from .tracer import pulled, trace

    args = [from_numpy(v).requires_grad_(n in wrt) for n, v in values.items()]
    return trace(pulled(function, list(values), wrt), (*args, *map(from_numpy, cotangent)), strict=False)


def lift_jvp(
    function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
) -> Derived:
    """The JVP as a function of tensors, with its point."""
    import torch

    at = argnums(values, tangents)

    def push(*arrays: Any) -> Any:
        given, along = arrays[: len(values)], arrays[len(values) :]
        return torch.func.jvp(restricted(function, given, at), tuple(given[k] for k in at), along)[1]

    args = [from_numpy(v).requires_grad_(n in tangents) for n, v in values.items()]
    return push, (*args, *(from_numpy(t).requires_grad_() for t in tangents.values()))


def _once(gradient: Any) -> bool:
    """Does the graph behind it lead to a node of `once_differentiable`, which raises?
    `autograd.grad` finds no way past it to the inputs, and says nothing."""
    from .tracer import nodes_behind

    return any(node.name() == "torch::autograd::Error" for node in nodes_behind([gradient]))
