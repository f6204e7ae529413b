"""The engine's namespace: the vocabulary of the op table over tensors, every op of it recorded.

The one idea: a VJP text that is read with this namespace leaves its own trace on the tape; that makes second derivatives,
and all higher ones, from the one text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.op import Shape, split_arguments
from ..namespaces.base import Namespace
from ..namespaces.numpy import NUMPY
from .dispatch import apply
from .kernels import gpu, kernels_for
from .local_ops import spec_of
from .rules import rule
from .tensor import Tensor, wrap


class EngineNamespace(Namespace):
    """Array API names over tensors. What is no op (creation, indices) goes to NumPy and is not recorded."""

    name = "engine"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        call = self._op(name) if spec_of(name) is not None else self._run_kernel(name)
        setattr(self, name, call)  # found once
        return call

    def _op(self, name: str) -> Callable[..., Tensor]:
        op = rule(name)
        spec = op.spec

        def call(*args: Any, **params: Any) -> Tensor:
            if len(args) != spec.arity:
                args, given = split_arguments(spec, args)
                params = given | params
            if op.params:
                params = op.params | params
            return apply(op, args, params)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = f"{spec.doc}\n\nExample: {spec.example}"
        return call

    def _run_kernel(self, name: str) -> Callable[..., Any]:
        kernel = getattr(NUMPY, name, None)
        if kernel is None:
            raise AttributeError(f"the engine has no op {name!r}")

        def call(*args: Any, **params: Any) -> Tensor:
            raws = [_raw(a) for a in args]
            own = kernel if gpu.kernels is None else getattr(kernels_for(*raws), name)
            return wrap(own(*raws, **{k: _raw(v) for k, v in params.items()}))

        return call

    def shape(self, x: Any) -> Shape:
        return tuple(x._data.shape) if isinstance(x, Tensor) else tuple(getattr(x, "shape", ()))

    # Creation: constants with respect to every input.
    def zeros(self, shape: Shape, like: Any) -> Tensor:
        return wrap(kernels_for(_raw(like)).zeros(shape, _raw(like)))

    def ones(self, shape: Shape, like: Any) -> Tensor:
        return wrap(kernels_for(_raw(like)).ones(shape, _raw(like)))

    def zeros_like(self, x: Any) -> Tensor:
        return self.zeros(self.shape(x), x)

    def ones_like(self, x: Any) -> Tensor:
        return self.ones(self.shape(x), x)

    def full_like(self, x: Any, value: Any) -> Tensor:
        return wrap(kernels_for(_raw(x)).module.full(self.shape(x), value, dtype=_raw(x).dtype))

    def eye(self, n: int, like: Any) -> Tensor:
        return wrap(kernels_for(_raw(like)).eye(n, _raw(like)))

    def arange(self, n: int) -> Tensor:
        return wrap(NUMPY.arange(n))


def _raw(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x._data
    return [_raw(e) for e in x] if isinstance(x, list) else x


ENGINE = EngineNamespace()
