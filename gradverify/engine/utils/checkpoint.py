"""`torch.utils.checkpoint`: forget what a part of forward saved, and run that part again in backward.

The one idea: what would be saved is packed into a number (`saved_tensors_hooks`); whoever unpacks the first one runs the
part again, with hooks that collect what it saves, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import trees
from ..api import creation
from ..autograd.function import Function
from ..autograd.gradients import backward
from ..autograd.graph import saved_tensors_hooks
from ..modes import enable_grad, no_grad
from ..tensor import Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "set_checkpoint_early_stop"]


class CheckpointError(RuntimeError):
    """The part did not save the same tensors when it was run again."""


class set_checkpoint_early_stop:
    """Whether running a part again stops at the last tensor that is needed; here it always runs to its end."""

    def __init__(self, enable: bool) -> None:
        self.enable = enable

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, preserve_rng_state: bool = True,
    context_fn: Any = None, determinism_check: str = "default", debug: bool = False, early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`, of which backward keeps the arguments only.

    use_reentrant       run the part again in a backward pass of its own (the arguments then must require grad)
    preserve_rng_state  the second run draws the random numbers of the first
    """
    if use_reentrant is None:
        import warnings

        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. use_reentrant=False is "
            "recommended.",
            stacklevel=2,
        )
        use_reentrant = True
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        return _Reentrant.apply(function, preserve_rng_state, *args)
    return _Part(function, args, kwargs, preserve_rng_state).run()


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """Modules in a row, checkpointed in so many segments; the last one is not."""
    modules = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(modules) // segments
    for k in range(segments - 1):
        part = modules[k * size : (k + 1) * size]
        input = checkpoint(lambda x, part=part: _in_a_row(part, x), input, use_reentrant=use_reentrant, **kwargs)
    return _in_a_row(modules[(segments - 1) * size :], input)


def _in_a_row(modules: list[Any], x: Any) -> Any:
    for module in modules:
        x = module(x)
    return x


class _Randomness:
    """The state of the random numbers, to be taken up again."""

    def __init__(self, preserve: bool) -> None:
        self.state = creation.default_generator.random.bit_generator.state if preserve else None

    def __enter__(self) -> None:
        generator = creation.default_generator.random.bit_generator
        self.before = generator.state
        if self.state is not None:
            generator.state = self.state

    def __exit__(self, *exc: object) -> None:
        if self.state is not None:
            creation.default_generator.random.bit_generator.state = self.before


class _Part:
    """A part of forward, with what backward needs in order to run it again."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, preserve: bool) -> None:
        self.function, self.given, self.randomness = function, (args, kwargs), _Randomness(preserve)
        self.packed = 0
        self.saved: list[Tensor] | None = None

    def run(self) -> Any:
        args, kwargs = self.given
        with saved_tensors_hooks(self._pack, self._unpack):
            return self.function(*args, **kwargs)

    def _pack(self, x: Tensor) -> tuple[int, Any]:
        self.packed += 1
        return self.packed - 1, (x._data.shape, x._data.dtype)

    def _unpack(self, packed: tuple[int, Any]) -> Tensor:
        if self.saved is None:
            self.saved = self._save_again()
        k, meta = packed
        if len(self.saved) != self.packed:
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {self.packed}\nNumber of tensors saved during "
                f"recomputation: {len(self.saved)}."
            )
        found = self.saved[k]
        if (found._data.shape, found._data.dtype) != meta:
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than during "
                f"the forward pass.\ntensor at position {k}"
            )
        return found

    def _save_again(self) -> list[Tensor]:
        saved: list[Tensor] = []
        apart = lambda x: x.detach().requires_grad_(x.requires_grad)
        args, kwargs = trees.map_tensors(apart, self.given[0]), trees.map_tensors(apart, self.given[1])
        with enable_grad(), self.randomness, saved_tensors_hooks(saved.append, _never):
            self.function(*args, **kwargs)
        return saved


def _never(packed: Any) -> Tensor:
    raise CheckpointError(
        "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once."
    )


class _Reentrant(Function):
    """The part as one node; its backward runs it again and differentiates that."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        ctx.part, ctx.args, ctx.randomness = function, args, _Randomness(preserve)
        with no_grad():
            return function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        points = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in ctx.args]
        with enable_grad(), ctx.randomness:
            out = ctx.part(*points)
        outs = out if isinstance(out, tuple) else (out,)
        pairs = [(o, g) for o, g in zip(outs, grads) if isinstance(o, Tensor) and o.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([o for o, _ in pairs], [g for _, g in pairs])
        return None, None, *(p.grad if isinstance(p, Tensor) else None for p in points)
