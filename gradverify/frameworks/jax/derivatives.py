"""JAX's JVPs, and its derivatives as functions to be differentiated in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..base import Derived, Pushed
from ..values import argnums, restricted


def run_jvp(
    function: Any, values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray], batched: bool
) -> Pushed:
    """(outputs, tangents of the outputs) along `tangents`; with `batched`, under vmap."""
    import jax

    with jax.enable_x64(True):
        primals, active = [jax.device_put(np.array(v)) for v in values.values()], argnums(values, tangents)
        of_wrt, at = restricted(function, primals, active), [primals[k] for k in active]
        push = lambda *along: jax.jvp(of_wrt, at, list(along))
        along = [jax.device_put(np.array(t)) for t in tangents.values()]
        outs, result = push(*along)
        if batched:
            many = [jax.numpy.stack([t, -t, 2 * t]) for t in along]
            result = [r[0] for r in jax.vmap(lambda *a: push(*a)[1])(*many)]
        return tuple(np.array(o) for o in outs), tuple(np.array(r) for r in result)


def drops_outputs(jaxpr: Any) -> bool:
    """Does a call of a custom function, here or within, have an output that nothing reads?"""
    from jax.extend.core import ClosedJaxpr, Jaxpr

    read = {id(v) for eqn in jaxpr.eqns for v in eqn.invars} | {id(v) for v in jaxpr.outvars}
    for eqn in jaxpr.eqns:
        if eqn.primitive.name.startswith("custom_vjp") and any(id(v) not in read for v in eqn.outvars):
            return True
        for inner in eqn.params.values():
            inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
            if isinstance(inner, Jaxpr) and drops_outputs(inner):
                return True
    return False


def lift_jvp(
    function: Callable[..., Any], values: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
) -> Derived:
    """The JVP as a function of arrays, with its point."""
    import jax

    at = argnums(values, tangents)

    def push(*arrays: Any) -> Any:
        given, along = arrays[: len(values)], arrays[len(values) :]
        return jax.jvp(restricted(function, given, at), [given[k] for k in at], list(along))[1]

    with jax.enable_x64(True):
        return push, tuple(jax.device_put(np.array(v)) for v in (*values.values(), *tangents.values()))


def lift_vjp(
    function: Callable[..., Any],
    values: Mapping[str, np.ndarray],
    wrt: tuple[str, ...],
    cotangent: tuple[np.ndarray, ...],
) -> Derived:
    """The VJP as a function of arrays, with its point."""
    import jax

    at = argnums(values, wrt)

    def pull(*arrays: Any) -> Any:
        given, cotangents = arrays[: len(values)], arrays[len(values) :]
        return jax.vjp(restricted(function, given, at), *(given[k] for k in at))[1](cotangents)

    with jax.enable_x64(True):
        return pull, tuple(jax.device_put(np.array(v)) for v in (*values.values(), *cotangent))
