"""The vocabulary that an op's `define` and `vjp` may use, and how composite ops join it.

Kernels, under Array API names unless noted. `axis` is an int, a tuple of ints or None (all); every kernel also takes
plain Python numbers where the maths has scalars.

==============  ======================================================================================================
arithmetic      the operators + - * / ** and unary -, or add subtract multiply divide pow negative
elementwise     abs sign square sqrt reciprocal exp expm1 exp2 log log1p log2 log10 sin cos tan asin acos atan sinh
                cosh tanh asinh acosh atanh atan2 hypot maximum minimum floor ceil round trunc
special         erf erfc erfinv lgamma digamma polygamma(x, n=)   (PyTorch's names; the standard has none)
comparisons     equal not_equal less less_equal greater greater_equal isfinite -> bool arrays;
                logical_and logical_or logical_not; where(mask, x, y). Never a bare `<`: in balls it may be undecidable
reductions      sum prod max min (x, axis=None, keepdims=False); any all argmax argmin; cumulative_sum(x, axis=),
                cumulative_prod(x, axis=); argsort(x, axis=)
shape           reshape(x, shape) permute_dims(x, axes) expand_dims(x, axis) squeeze(x, axis) broadcast_to(x, shape)
                concat(xs, axis) stack(xs, axis) flip(x, axis) roll(x, shift, axis) pad(x, pads) tril(x, k) triu(x, k)
                diagonal(x) (last two axes) matrix_transpose(x)
indexing        getitem(x, index) with an index of ints, None, "..." and (start, stop, step) triples;
                embed(x, index, shape): its adjoint, x placed in zeros; take(x, indices, axis);
                index_add(x, indices, updates, axis); take_along_axis(x, indices, axis);
                scatter_add(x, indices, updates, axis)   (PyTorch's names for the two adjoints)
linear algebra  matmul einsum(subscripts, *xs) inv solve cholesky det solve_triangular(a, b, upper=, unit_diagonal=)
creation        zeros(shape, like=x) ones(shape, like=x) zeros_like ones_like full_like(x, v) eye(n, like=x) arange(n)
constants       pi ln2 ln10 sqrt2: plain numbers, in each namespace's own precision; not in composite definitions
helpers         shape(x); sum_to(x, shape): sum over what broadcasting added, the adjoint of broadcast_to
==============  ======================================================================================================

A text never asks for a dtype, never assigns into an array, and never branches on a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from ..core.errors import Unsupported
from ..core.op import Shape
from ..ops import OPS
from .kernels import KERNELS, Kernel, Run


class Namespace:
    """An array namespace. What it has no kernel for, it takes from the op table, where that op is no primitive."""

    name = "abstract"

    # Python floats, so that they take the dtype of the array that they meet; namespaces of higher precision override.
    pi: Any = math.pi
    ln2: Any = math.log(2.0)
    ln10: Any = math.log(10.0)
    sqrt2: Any = math.sqrt(2.0)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = KERNELS.get(name)
        run = None if kernel is None else self.registered(kernel)
        if run is not None:
            return run
        spec = OPS.get(name)
        if spec is None or spec.primitive:
            # AttributeError for dunders and typos keeps copy, pickle and hasattr working.
            if spec is None:
                raise AttributeError(f"{type(self).__name__} has no {name!r}")
            raise Unsupported(f"the {self.name} namespace has no kernel for {name}")
        return partial(spec.define, self)

    def registered(self, kernel: Kernel) -> Run | None:
        """The kernel of a record that brings functions of its own; None where this namespace takes none."""
        return None

    def shape(self, x: Any) -> Shape:
        return tuple(getattr(x, "shape", ()))

    def sum_to(self, x: Any, shape: Shape) -> Any:
        """Sum `x` over the axes that broadcasting `shape` to `x.shape` added or stretched: its adjoint."""
        have = self.shape(x)
        if have == tuple(shape):
            return x
        extra = len(have) - len(shape)
        axes = tuple(range(extra)) + tuple(extra + i for i, n in enumerate(shape) if n == 1 and have[extra + i] != 1)
        return self.reshape(self.sum(x, axis=axes), tuple(shape)) if axes else self.reshape(x, tuple(shape))
