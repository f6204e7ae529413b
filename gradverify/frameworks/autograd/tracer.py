"""HIPS autograd: the tracer of NumPy, since a function that is called on plain arrays runs `autograd.numpy` as NumPy.

User primitives (`@primitive`, `defvjp`) are functions of NumPy then, so that their own forward is the definition. Where
the function differentiates inside (`grad`, `elementwise_grad`), recorded arrays are boxed as any others are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import builtins
from autograd.builtins import DictBox, SequenceBox
from autograd.extend import VSpace, defjvp, defvjp, primitive
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vspaces import ArrayVSpace
from autograd.tracer import isbox

from ...trace.calls import OPENERS, FlatCall
from ...trace.value import Traced
from ..numpy.tracer import Recorded, is_array, replaced, traced_call

__all__ = ["replaced", "trace"]

# What a function under differentiation returns its tuples and mappings as.
OPENERS[SequenceBox] = lambda box: tuple(box[k] for k in range(len(box)))
OPENERS[DictBox] = lambda box: {key: box[key] for key in box._value}


def trace(
    fn: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    confirm: bool = True,
    strict: bool = True,
) -> Traced:
    """The graph of `fn(*args, **kwargs)` around this point; see `numpy.trace`."""
    ArrayBox.register(Recorded)
    VSpace.register(Recorded, lambda x: ArrayVSpace(np.ndarray.view(x, np.ndarray)))
    call = BoxedCall(fn, tuple(args), dict(kwargs or {}), is_array, seed)
    return traced_call(
        call, "autograd", partial(over_parts, call), confirm=confirm, strict=strict, modules=(anp, numpy_wrapper),
        takes_complex=True,
    )  # fmt: skip


class BoxedCall(FlatCall):
    """A call whose tuples, lists and dicts are autograd's own, as those are that autograd differentiates with respect to.

    Boxes in a plain tuple would reach a primitive that takes tuples as they are.
    """

    def filled(self, arrays: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().filled(arrays)
        return tuple(map(_contained, args)), {n: _contained(x) for n, x in kwargs.items()}


def _contained(tree: Any) -> Any:
    """A tuple, list or dict with boxes in it as one box; others as they are."""
    if type(tree) is dict:
        entries = [_contained(v) for v in tree.values()]
        return _as_dict(tuple(tree), builtins.list(entries)) if any(map(isbox, entries)) else dict(zip(tree, entries))
    if type(tree) not in (tuple, list):
        return tree
    inside = [_contained(v) for v in tree]
    make = builtins.tuple if type(tree) is tuple else builtins.list
    return make(inside) if any(map(isbox, inside)) else type(tree)(inside)


@primitive
def _as_dict(keys: tuple[Any, ...], values: Sequence[Any]) -> dict[Any, Any]:
    """What autograd.builtins.dict makes; that has no forward mode."""
    return dict(zip(keys, values))


defvjp(_as_dict, lambda ans, keys, values: lambda g: builtins.list([g[k] for k in keys]), argnums=(1,))
defjvp(_as_dict, lambda g, ans, keys, values: _as_dict(keys, g), argnums=(1,))


def over_parts(call: FlatCall, kept: tuple[int, ...]) -> Callable[..., tuple[Any, ...]]:
    """Return the call as a function of flat real arrays, two for each complex one.

    Joined and split by autograd's own functions, whose derivatives have its convention for complex gradients.
    """
    native = call.flat(kept)
    pairs = [np.iscomplexobj(a) for a in call.arrays]

    def function(*given: Any) -> tuple[Any, ...]:
        rest = iter(given)
        whole = [next(rest) + 1j * next(rest) if pair else next(rest) for pair in pairs]
        return tuple(half for out in native(*whole) for half in _halves(out))

    return function


def _halves(x: Any) -> tuple[Any, ...]:
    return (anp.real(x), anp.imag(x)) if anp.iscomplexobj(x) else (x,)
