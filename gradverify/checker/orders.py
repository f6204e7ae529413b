"""Higher orders: the VJP of a function is a function too, of its arguments and of a cotangent, and so is its JVP, of its
arguments and of tangents.

The definition that a derivative of order k is held against is the traced derivative of the order below it: so each order
is right only as far as the order below it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import NoRule
from ..frameworks.base import places, restricted
from ..frameworks.recognise import FRAMEWORKS
from ..judge.draws import tangents_of
from ..trace import Traced

Derived = tuple[Callable[..., Any], tuple[Any, ...]]


def pulled(traced: Traced, case: Case, name: str) -> Derived:
    """(arguments, cotangents) -> gradients, and where: the VJP of the traced function at the case's point.

    Its parameters are named as the case's inputs are, as far as Python allows, then `cotangent` (`cotangent0`, ...).
    """
    known: Mapping[str, Callable[[Traced, Case], Derived]] = {
        "torch": _torch, "jax": _jax, "autograd": _autograd, "mlx": _mlx, "engine": _engine
    }  # fmt: skip
    if traced.framework not in known:
        raise NoRule(f"a backward pass of {FRAMEWORKS[traced.framework]} cannot be differentiated in turn")
    fn, args = known[traced.framework](traced, case)
    fn.__name__ = fn.__qualname__ = f"VJP of {name}"
    several = len(case.cotangent) > 1
    labels = [*_values(traced, case), *(f"cotangent{k if several else ''}" for k in range(len(case.cotangent)))]
    fn.__signature__ = _signature(labels)  # type: ignore[attr-defined]
    return fn, args


def pushed(traced: Traced, case: Case, name: str, seed: int) -> Derived:
    """(arguments, tangents of those that are differentiated) -> tangents of the outputs, and where: the JVP of the traced
    function at the case's point, along tangents that are drawn as cotangents are. Raises Unsupported for a framework
    without a differentiable JVP."""
    known: Mapping[str, Callable[[Traced, Case, Mapping[str, np.ndarray]], Derived]] = {
        "torch": _torch_jvp, "jax": _jax_jvp
    }  # fmt: skip
    if traced.framework not in known:
        raise NoRule(f"a JVP of {FRAMEWORKS[traced.framework]} is not differentiated in turn")
    tangents = tangents_of(case, [seed, 8])
    fn, args = known[traced.framework](traced, case, tangents)
    fn.__name__ = fn.__qualname__ = f"JVP of {name}"
    fn.__signature__ = _signature([*_values(traced, case), *(f"tangent of {n}" for n in tangents)])  # type: ignore[attr-defined]
    return fn, args


def _signature(labels: Sequence[str]) -> Signature:
    names = ["_".join(re.findall(r"\w+", label)) for label in labels]
    fine = len(set(names)) == len(names) and all(n.isidentifier() for n in names)
    names = names if fine else [f"x{k}" for k in range(len(names))]
    return Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in names])


def _values(traced: Traced, case: Case) -> Mapping[str, np.ndarray]:
    """What the traced function takes: all but what it captured."""
    return {a.name: case.values[a.name] if a.name in case.values else traced.values[a.name]
            for a in traced.arguments if a.role != "captured"}  # fmt: skip


def _torch(traced: Traced, case: Case) -> Derived:
    import torch

    from ..frameworks.torch.adapter import from_numpy

    values = _values(traced, case)
    names = list(values)

    def pull(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))
        with torch.enable_grad():
            # Where the subject freezes an argument, the first derivative needs it all the same.
            given = {n: a.requires_grad_() if n in case.wrt and not a.requires_grad else a for n, a in given.items()}
            pairs = [(o, g) for o, g in zip(traced.function(*given.values()), arrays[len(names) :]) if o.requires_grad]
            outputs, cotangents = zip(*pairs)
            found = torch.autograd.grad(
                outputs, [given[n] for n in case.wrt], cotangents, create_graph=True, allow_unused=True
            )
        if any(g is not None and _once(g) for g in found):
            raise NoRule("the backward pass is marked once_differentiable: it is not meant to be differentiated")
        return tuple(g for g in found if g is not None)

    args = [from_numpy(v).requires_grad_(n in case.wrt) for n, v in values.items()]
    args += [from_numpy(g).requires_grad_() for g in case.cotangent]
    return pull, tuple(args)


def _torch_jvp(traced: Traced, case: Case, tangents: Mapping[str, np.ndarray]) -> Derived:
    import torch

    from ..frameworks.torch.adapter import from_numpy

    values = _values(traced, case)
    at = places(values, tangents)

    def push(*arrays: Any) -> Any:
        given, along = arrays[: len(values)], arrays[len(values) :]
        return torch.func.jvp(restricted(traced.function, given, at), tuple(given[k] for k in at), along)[1]

    args = [from_numpy(v).requires_grad_(n in case.wrt) for n, v in values.items()]
    return push, (*args, *(from_numpy(t).requires_grad_() for t in tangents.values()))


def _jax_jvp(traced: Traced, case: Case, tangents: Mapping[str, np.ndarray]) -> Derived:
    import jax

    values = _values(traced, case)
    at = places(values, tangents)

    def push(*arrays: Any) -> Any:
        given, along = arrays[: len(values)], arrays[len(values) :]
        return jax.jvp(restricted(traced.function, given, at), [given[k] for k in at], list(along))[1]

    with jax.enable_x64(True):
        return push, tuple(jax.device_put(np.array(v)) for v in (*values.values(), *tangents.values()))


def _once(gradient: Any) -> bool:
    """Does the graph behind it lead into what `once_differentiable` put there, to raise whenever .backward() comes by?
    `autograd.grad` finds no way past it to the inputs, and says nothing."""
    from ..frameworks.torch.tracer import nodes_behind

    return any(node.name() == "torch::autograd::Error" for node in nodes_behind([gradient]))


def _jax(traced: Traced, case: Case) -> Derived:
    import jax

    values = _values(traced, case)
    at = places(values, case.wrt)

    def pull(*arrays: Any) -> Any:
        given, cotangents = arrays[: len(values)], arrays[len(values) :]
        return jax.vjp(restricted(traced.function, given, at), *(given[k] for k in at))[1](cotangents)

    with jax.enable_x64(True):
        return pull, tuple(jax.device_put(np.array(v)) for v in (*values.values(), *case.cotangent))


def _autograd(traced: Traced, case: Case) -> Derived:
    from ..frameworks.autograd.adapter import pullback

    values = _values(traced, case)
    at = places(values, case.wrt)

    def pull(*arrays: Any) -> Any:
        _, back = pullback(traced.function, list(arrays[: len(values)]), at)
        return tuple(back(list(arrays[len(values) :])))

    return pull, tuple(np.array(v) for v in (*values.values(), *case.cotangent))


def _mlx(traced: Traced, case: Case) -> Derived:
    import mlx.core as mx

    from ..frameworks.mlx.tracer import made

    values = _values(traced, case)
    at = places(values, case.wrt)

    def pull(*arrays: Any) -> Any:
        given, cotangents = arrays[: len(values)], arrays[len(values) :]
        return tuple(mx.vjp(restricted(traced.function, given, at), [given[k] for k in at], list(cotangents))[1])

    return pull, tuple(made(np.array(v)) for v in (*values.values(), *case.cotangent))


def _engine(traced: Traced, case: Case) -> Derived:
    from .. import engine

    values = _values(traced, case)
    names = list(values)

    def pull(*arrays: Any) -> Any:
        given = {n: a.requires_grad_() if n in case.wrt else a for n, a in zip(names, arrays)}
        outputs = zip(traced.function(*given.values()), arrays[len(names) :])
        ends, seeds = zip(*((o, g) for o, g in outputs if o.requires_grad))
        found = engine.autograd.grad(ends, [given[n] for n in case.wrt], seeds, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    args = [engine.from_numpy(np.array(v)).requires_grad_(n in case.wrt) for n, v in values.items()]
    return pull, (*args, *(engine.from_numpy(np.array(g)).requires_grad_() for g in case.cotangent))
