"""`torch.utils.checkpoint`: forget what a part of forward saved, and run that part again in backward.

The one idea: what would be saved is packed into a slot (`saved_tensors_hooks`); whoever unpacks the first one in a backward
pass runs the part again, with hooks that collect what it saves, in the same order.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

from .. import dtypes, trees
from ..api import creation
from ..autograd.function import Function
from ..autograd.gradients import backward
from ..autograd.graph import saved_tensors_hooks
from ..autograd.walk import current_walk, is_whole
from ..modes import enable_grad, no_grad, state
from ..tensor import Size, Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "set_checkpoint_early_stop"]


class CheckpointError(RuntimeError):
    """The part did not save the same tensors when it was run again."""


class _Stop(Exception):
    """Running a part again has saved everything that is needed."""


_early_stop = True


class set_checkpoint_early_stop:
    """Whether running a part again stops at the last tensor that is needed, for checkpoints made inside."""

    def __init__(self, enable: bool) -> None:
        self.enable = enable

    def __enter__(self) -> None:
        global _early_stop
        self.before, _early_stop = _early_stop, self.enable

    def __exit__(self, *exc: object) -> None:
        global _early_stop
        _early_stop = self.before


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
    context = (contextlib.nullcontext(), contextlib.nullcontext()) if context_fn is None else context_fn()
    if not state.enabled:
        with context[0]:
            return function(*args, **kwargs)
    stop, check = _early_stop and early_stop, determinism_check != "none"
    return _Part(function, args, kwargs, preserve_rng_state, stop, context, check).run((args, kwargs))


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


class _SavedInputs(Function):
    """Saves a part's tensors as an op would, so that a checkpoint around this one forgets them as well."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *tensors: Tensor) -> Any:
        ctx.save_for_backward(*tensors)
        return anchor.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise AssertionError("nobody differentiates this")


class _Slot:
    """Stands on the tape for a saved tensor. Once it is gone, nobody will ask for that tensor."""

    def __init__(self, number: int) -> None:
        self.number = number


Meta = tuple[Any, Any]  # shape and dtype


class _Part:
    """A part of forward, with what backward needs in order to run it again.

    slots       per saved tensor of the first run, its slot (weakly) and its shape and dtype
    recomputed  per backward pass, the tensors that were saved again and not asked for yet
    complete    has the first run ended? It may itself differentiate what it has computed so far
    """

    complete = False

    def __init__(
        self, function: Callable[..., Any], args: Any, kwargs: Any, preserve: bool, early_stop: bool, context: Any,
        check: bool,
    ) -> None:  # fmt: skip
        self.function, self.randomness = function, _Randomness(preserve)
        self.early_stop, self.context, self.check = early_stop, context, check
        self.inputs = _SavedInputs.apply(creation.zeros(0, requires_grad=True), *trees.tensors((args, kwargs))).grad_fn
        self.slots: list[tuple[weakref.ref[_Slot], Meta]] = []
        self.recomputed: dict[int | None, dict[int, Tensor]] = {}
        # The arguments are held by `inputs` alone.
        self.structure = trees.map_tensors(lambda x: _HOLE, (args, kwargs))

    def run(self, given: Any) -> Any:
        out = _run_under(self.context[0], self.function, self._pack, self._unpack, given)
        self.complete = True
        return out

    def _arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        tensors = iter(self.inputs.saved_tensors)
        return trees.map_leaves(lambda leaf: next(tensors) if leaf is _HOLE else leaf, self.structure)

    def _pack(self, x: Tensor) -> _Slot:
        slot = _Slot(len(self.slots))
        self.slots.append((weakref.ref(slot), (x._data.shape, x._data.dtype)))
        return slot

    def _unpack(self, slot: _Slot) -> Tensor:
        walk = current_walk()
        if walk not in self.recomputed:
            self.recomputed[walk] = self._save_again()
        found = self.recomputed[walk].pop(slot.number, None)
        if walk is None:  # outside of a backward pass nothing is kept
            del self.recomputed[walk]
        if found is None:
            raise CheckpointError(
                "torch.utils.checkpoint: Unpack is being triggered for a tensor that was already unpacked once. If you are "
                "calling ctx.saved_tensors in backward, make sure to do so only once. Otherwise please open an issue with "
                "details on your use case."
            )
        return found

    def _save_again(self) -> dict[int, Tensor]:
        """What the part saves when it is run again, by number. Raises CheckpointError where that is something else."""
        saved: dict[int, Tensor] = {}
        metas: list[Meta] = []

        def pack(x: Tensor) -> Tensor:
            number = len(metas)
            metas.append((x._data.shape, x._data.dtype))
            if number < len(self.slots) and self.slots[number][0]() is not None:
                saved[number] = x
            if self.early_stop and len(metas) == len(self.slots):
                raise _Stop
            return x

        args = self._arguments()
        with contextlib.suppress(_Stop), enable_grad(), self.randomness:
            _run_under(self.context[1], self.function, pack, lambda x: x, args)
        if not self.complete:
            self.check = False
        if not self.check:
            return saved
        if len(metas) != len(self.slots):
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {len(self.slots)}\nNumber of tensors saved during "
                f"recomputation: {len(metas)}."
            )
        changed = [k for k, (meta, (_, before)) in enumerate(zip(metas, self.slots)) if meta != before]
        if changed:
            lines = [
                f"tensor at position {k}:\nsaved metadata: {_described(self.slots[k][1])}\nrecomputed metadata: "
                f"{_described(metas[k])}"
                for k in changed
            ]
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than during "
                "the forward pass.\n" + "\n".join(lines)
            )
        return saved


class _Hole:
    """Stands for a tensor in a part's arguments."""


_HOLE = _Hole()


def _run_under(context: Any, function: Callable[..., Any], pack: Any, unpack: Any, given: Any) -> Any:
    args, kwargs = given
    with context, saved_tensors_hooks(pack, unpack):
        return function(*args, **kwargs)


def _described(meta: Meta) -> str:
    shape, dtype = meta
    return str({"shape": Size(shape), "dtype": dtypes.OF_NUMPY[dtype], "device": dtypes.CPU})


class _Reentrant(Function):
    """The part as one node; its backward runs it again and differentiates that."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        ctx.part, ctx.args, ctx.randomness = function, args, _Randomness(preserve)
        with no_grad():
            return function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if not is_whole():
            raise RuntimeError(
                "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` "
                "parameter to .backward(). To resolve this error, you can either set use_reentrant=False, or call "
                ".backward() without passing the `inputs` argument."
            )
        points = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in ctx.args]
        with enable_grad(), ctx.randomness:
            out = ctx.part(*points)
        outs = out if isinstance(out, tuple) else (out,)
        pairs = [(o, g) for o, g in zip(outs, grads) if isinstance(o, Tensor) and o.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([o for o, _ in pairs], [g for _, g in pairs])
        return None, None, *(p.grad if isinstance(p, Tensor) else None for p in points)
