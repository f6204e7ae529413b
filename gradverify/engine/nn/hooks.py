"""Hooks around a module's forward, and around the way of gradients through it.

The one idea: hooks on a module's gradients are hooks of two nodes. One stands between the module's inputs and its forward,
the other behind its outputs (`BackwardHookFunction`, which hands on what it is given); what passes them is grad_input and
grad_output.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import trees
from ..autograd.function import Function
from ..modes import state
from ..tape import RemovableHandle
from ..tensor import Tensor

Hook = Callable[..., Any]


class Hooks:
    """One kind of hook of a module, or of all modules: in order, each with its options."""

    def __init__(self) -> None:
        self.hooks: OrderedDict[int, Hook] = OrderedDict()
        self.options: dict[int, frozenset[str]] = {}

    def add(self, hook: Hook, prepend: bool = False, **options: bool) -> RemovableHandle:
        handle = RemovableHandle(self.hooks)
        self.hooks[handle.id] = hook
        self.options[handle.id] = frozenset(name for name, on in options.items() if on)
        if prepend:
            self.hooks.move_to_end(handle.id, last=False)
        return handle

    def items(self) -> list[tuple[Hook, frozenset[str]]]:
        return [(hook, self.options[key]) for key, hook in self.hooks.items()]

    def __bool__(self) -> bool:
        return bool(self.hooks)

    def __len__(self) -> int:
        return len(self.hooks)


KINDS = ("forward_pre", "forward", "backward_pre", "backward")
EVERYWHERE = {kind: Hooks() for kind in KINDS}
"""The hooks of all modules."""


class BackwardHookFunction(Function):
    """The identity on several tensors: a node for hooks to stand at. PyTorch's name, which error messages say."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.mark_non_differentiable(*(x for x in tensors if not x.requires_grad))
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads


class GradientHooks:
    """The hooks on the gradients of one call of a module.

    inputs   how many arguments the call has, and which of them are tensors; the latter None where none requires grad
    outputs  the same of what the call returned
    """

    def __init__(self, module: Any, hooks: Sequence[Hook], pre_hooks: Sequence[Hook]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.inputs: tuple[int, list[int] | None] = (0, None)
        self.outputs: tuple[int, list[int] | None] = (0, None)
        self.grad_outputs: tuple[Any, ...] | None = None

    def around_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, behind a passage."""
        args, places, node = _through_passage(args)
        self.inputs = (len(args), places)
        if node is not None:
            node.register_hook(self._leave)
        return args

    def around_outputs(self, out: Any) -> Any:
        """The result, behind a passage."""
        many = isinstance(out, tuple)
        results, places, node = _through_passage(out if many else (out,))
        self.outputs = (len(results), places)
        if node is not None:
            node.register_hook(self._enter)
        return results if many else results[0]

    def _enter(self, grad_inputs: Any, grads: tuple[Any, ...]) -> Any:
        """Gradients reach the module's outputs."""
        n, places = self.outputs
        assert places is not None
        grad_outputs = _spread(n, places, grads)
        for hook in self.pre_hooks:
            grad_outputs = _changed(hook(self.module, grad_outputs), grad_outputs, "Backward pre hook", "grad_output")
        self.grad_outputs = grad_outputs
        if self.inputs[1] is None:  # no gradient leaves the module: the hooks are called here
            for hook in self.hooks:
                answer = hook(self.module, (None,) * self.inputs[0], grad_outputs)
                if answer is not None and not (isinstance(answer, tuple) and all(g is None for g in answer)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None for "
                        "all gradients."
                    )
            self.grad_outputs = None
        return tuple(grad_outputs[k] for k in places)

    def _leave(self, grads: tuple[Any, ...], grad_outputs_of_passage: Any) -> Any:
        """Gradients have reached the module's inputs."""
        if self.grad_outputs is None:  # nothing came in through the outputs
            return None
        n, places = self.inputs
        assert places is not None
        grad_inputs = _spread(n, places, grads)
        for hook in self.hooks:
            answer = hook(self.module, grad_inputs, self.grad_outputs)
            grad_inputs = _changed(answer, grad_inputs, "Backward hook", "grad_input")
        self.grad_outputs = None
        return tuple(grad_inputs[k] for k in places)


def _through_passage(args: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int] | None, Any]:
    """(Arguments, the places of tensors, the passage's node); None and None where no tensor requires grad."""
    places = [k for k, a in enumerate(args) if isinstance(a, Tensor)]
    if not (state.enabled and any(args[k].requires_grad for k in places)):
        return args, None, None
    passed = BackwardHookFunction.apply(*(args[k] for k in places))
    out = list(args)
    for k, x in zip(places, passed):
        out[k] = x
    node = next(x.grad_fn for x in passed if x.grad_fn is not None)
    return (type(args)(*out) if hasattr(args, "_fields") else tuple(out)), places, node


def _spread(n: int, places: Sequence[int], grads: Sequence[Any]) -> tuple[Any, ...]:
    out = [None] * n
    for k, g in zip(places, grads):
        out[k] = g
    return tuple(out)


def _changed(answer: Any, before: tuple[Any, ...], who: str, what: str) -> tuple[Any, ...]:
    if answer is None:
        return before
    answer = answer if isinstance(answer, tuple) else (answer,)
    if len(answer) != len(before):
        raise RuntimeError(f"{who} returned an invalid number of {what}, got {len(answer)}, but expected {len(before)}")
    return answer


def hook_last_node(module: Any, out: Any, args: tuple[Any, ...], hooks: Sequence[Hook]) -> None:
    """`register_backward_hook`, PyTorch's old way: hooks of the node that made the module's (first) output."""
    tensors = trees.tensors(out)
    node = tensors[0].grad_fn if tensors else None
    if node is None:
        return
    why = _why_not_full(out, args, node)
    if why:
        missing = "grad_output" if "return" in why or "outputs" in why else "grad_input"
        warnings.warn(
            f"Using a non-full backward hook when {why} is deprecated and will be removed in future versions. This hook "
            f"will be missing some {missing}. Please use register_full_backward_hook to get the documented behavior.",
            FutureWarning,
            stacklevel=4,
        )
    for hook in hooks:
        node.register_hook(partial(hook, module))


def _why_not_full(out: Any, args: tuple[Any, ...], node: Any) -> str:
    """Why a hook of the last node does not see all of the module's gradients; "" where it does."""
    if not isinstance(out, Tensor) and not (isinstance(out, tuple) and all(isinstance(x, Tensor) for x in out)):
        return "the forward does not return a single Tensor or a tuple of Tensors"
    if not all(isinstance(x, Tensor) for x in args):
        return "the forward does not take as input a single Tensor or a tuple of Tensors"
    if len({x.grad_fn for x in trees.tensors(out) if x.grad_fn is not None}) > 1:
        return "outputs are generated by different autograd Nodes"
    given = {x.grad_fn for x in trees.tensors(args) if x.grad_fn is not None}
    direct = {n for n, _ in node.next_functions}
    return "" if given == direct else "the forward contains multiple autograd Nodes"


def _register_everywhere(kind: str, hook: Hook, **options: bool) -> RemovableHandle:
    return EVERYWHERE[kind].add(hook, **options)


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """`hook(module, args)` before the forward of every module."""
    return _register_everywhere("forward_pre", hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """`hook(module, args, output)` after the forward of every module."""
    return _register_everywhere("forward", hook, with_kwargs=with_kwargs, always_call=always_call)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """`hook(module, grad_output)` when the gradients of a module's outputs are known."""
    return _register_everywhere("backward_pre", hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """`hook(module, grad_input, grad_output)` when the gradients of a module's inputs are known."""
    _one_way(old=False)
    return _register_everywhere("backward", hook)


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """A hook of the node that made a module's output (PyTorch's old way)."""
    _one_way(old=True)
    return _register_everywhere("backward", hook, old=True)


def _one_way(old: bool) -> None:
    if any(("old" in options) != old for _, options in EVERYWHERE["backward"].items()):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. Please use only one of "
            "them."
        )
