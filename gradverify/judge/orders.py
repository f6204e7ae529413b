"""Higher orders: the VJP of a function is a function too, of its arguments and of a cotangent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.case import Case
from ..trace import Traced
from .callables import Question, case_of

Pulled = tuple[Callable[..., Any], tuple[Any, ...]]


def raised(q: Question, *, stops: bool) -> Question:
    """The question one order up: (arguments, cotangents) -> gradients, at the same point, for all of these.

    The definition that its VJP is held against is the traced first VJP: so each order is right only as far as the order
    below it is. `stops` as in Question: where the order below stops no gradient, its backward pass has no business to.
    Raises BadInput and Unsupported.
    """
    case, traced = case_of(q)
    fn, args = {"torch": _torch, "jax": _jax}[traced.framework](traced, case)
    fn.__name__ = fn.__qualname__ = f"VJP of {getattr(q.fn, '__name__', type(q.fn).__name__)}"
    return replace(q, fn=fn, args=args, kwargs={}, wrt=None, cotangent=None, reference=None, stops=stops)


def _values(traced: Traced, case: Case) -> Mapping[str, np.ndarray]:
    """What the traced function takes: all but what it captured."""
    return {a.name: case.values[a.name] if a.name in case.values else traced.values[a.name]
            for a in traced.arguments if a.role != "captured"}  # fmt: skip


def _torch(traced: Traced, case: Case) -> Pulled:
    import torch

    values = _values(traced, case)
    names = list(values)

    def pulled(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))
        with torch.enable_grad():
            # Where the subject freezes an argument, the first derivative needs it all the same.
            given = {n: a.requires_grad_() if n in case.wrt and not a.requires_grad else a for n, a in given.items()}
            pairs = [(o, g) for o, g in zip(traced.function(*given.values()), arrays[len(names) :]) if o.requires_grad]
            outputs, cotangents = zip(*pairs)
            found = torch.autograd.grad(
                outputs, [given[n] for n in case.wrt], cotangents, create_graph=True, allow_unused=True
            )
        return tuple(g for g in found if g is not None)

    args = [torch.from_numpy(np.array(v)).requires_grad_(n in case.wrt) for n, v in values.items()]
    args += [torch.from_numpy(np.array(g)).requires_grad_() for g in case.cotangent]
    return pulled, tuple(args)


def _jax(traced: Traced, case: Case) -> Pulled:
    import jax

    values = _values(traced, case)
    names = list(values)

    def pulled(*arrays: Any) -> Any:
        given = dict(zip(names, arrays))

        def of_wrt(*active: Any) -> Any:
            return tuple(traced.function(*({**given, **dict(zip(case.wrt, active))}.values())))

        return jax.vjp(of_wrt, *(given[n] for n in case.wrt))[1](tuple(arrays[len(names) :]))

    with jax.enable_x64(True):
        return pulled, tuple(jax.device_put(np.array(v)) for v in (*values.values(), *case.cotangent))
