"""The moves of random programs: a table, each a line in the dialect of laws.

Every value is a small integer, so that no engine rounds and two engines must agree to the last bit. Which of its input
and output an op saves is its own affair (PyTorch's relu saves the output), so the ops here leave no choice; custom functions
save the one or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .session import Session, Var

TENSOR, HANDLE, PAIR = "tensor", "handle", "pair"


@dataclass(frozen=True)
class Move:
    """One kind of step.

    takes    what its arguments are
    options  the literals that it is drawn with; the first is the simplest
    makes    what it leaves for later steps, if anything
    weight   how often it is drawn, against the others
    do       do(session, *arguments, option)
    """

    name: str
    takes: tuple[str, ...]
    do: Callable[..., Any]
    options: Sequence[Any] = (None,)
    makes: str | None = TENSOR
    weight: int = 4

    @property
    def shares(self) -> bool:
        """Its result has its argument's memory (for a pair: so has each of it)."""
        return self.name in ("index", "view", "t", "expand", "unsqueeze", "detach", "unbind", "split")

    @property
    def walks(self) -> bool:
        """Does the move run a backward pass?"""
        return self.name.startswith(("backward", "grad"))

    @property
    def inplace(self) -> bool:
        return self.name in (
            "add_", "mul_", "scale_", "zero_", "copy_", "write", "write_constant", "Double_", "data_scale", "t_"
        )  # fmt: skip

    @property
    def indexes(self) -> bool:
        """Does the move take a part of its argument, so that it fails where there is none?"""
        return self.name in ("index", "unbind", "split", "write", "write_constant")


LEAVES = [(v, r) for v in (3.0, [2.0, -1.0], [[1.0, 2.0], [3.0, -2.0]]) for r in (True, False)]

SQUARE = """class Square(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: (ctx.save_for_backward(x), x * x)[1])
    backward = staticmethod(lambda ctx, g: g * 2 * ctx.saved_tensors[0])"""

KEEP = """class Keep(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: (ctx.save_for_backward(y := x * 2), y)[1])
    backward = staticmethod(lambda ctx, g: g * 2 + ctx.saved_tensors[0] * 0)"""

FORK = """class Fork(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: (x * 2, x * 3))
    backward = staticmethod(lambda ctx, a, b: a * 2 + b * 3)"""

PICK = """class Pick(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x, y: x + y)
    backward = staticmethod(lambda ctx, g: tuple(g * k if n else None for k, n in enumerate(ctx.needs_input_grad, 1)))"""


MASK = """class Mask(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: (ctx.mark_non_differentiable(m := x * 0 + 1), (x * 2, m))[1])
    backward = staticmethod(lambda ctx, a, b: a * 2 + b * 5)"""

LAZY = """class Lazy(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: (ctx.set_materialize_grads(False), (x * 2, x * 3))[1])
    backward = staticmethod(lambda ctx, a, b: None if a is None else a * 2)"""

DOUBLE = """class Double_(torch.autograd.Function):
    forward = staticmethod(lambda ctx, x: (ctx.mark_dirty(x), x.mul_(2))[1])
    backward = staticmethod(lambda ctx, g: g * 2)"""


def custom(text: str) -> Callable[..., Var]:
    """Apply a custom function, defined the first time."""
    name = text.split()[1].split("(")[0]

    def do(t: Session, *xs: Any) -> Var:
        if name not in t.env:
            t.define(text)
        places = ", ".join(f"{{{k}}}" for k in range(len(xs) - 1))
        return t.do(f"{name}.apply({places})", *xs[:-1])

    return do


def seen(t: Session) -> None:
    if "seen" not in t.env:
        t.define("seen = []")


def _write(x: Var, index: Any, value: Any) -> None:
    x[index] = value


def _set_data(x: Var, y: Var) -> None:
    x.data = y


def _assign(x: Var, value: Any) -> None:
    x.grad = value


def _hook(t: Session, x: Var, text: str) -> Var:
    if "seen" in text:
        seen(t)
    return x.register_hook(t.code(text))


FLAGS: list[tuple[str, ...]] = [(), ("retain_graph",), ("retain_graph",), ("create_graph",)]
HOOKS = ["lambda g: g * 2", "lambda g: seen.append(g.tolist())", "lambda g: None"]
INDICES = [0, slice(0, 1), slice(None)]


def _post_hook(t: Session, x: Var) -> Var:
    seen(t)
    return x.register_post_accumulate_grad_hook(t.code("lambda p: seen.append(p.grad.tolist())"))


def _hook_once(t: Session, x: Var, option: None) -> Var:
    """A hook that removes itself when it is called."""
    if "once" not in t.env:
        t.define("def once(x):\n    h = x.register_hook(lambda g: h.remove()); return h")
    return t.do("once({0})", x)


_true = dict.fromkeys

MOVES: Mapping[str, Move] = MappingProxyType({m.name: m for m in (
    Move("tensor", (), lambda t, o: t.tensor(o[0], requires_grad=o[1]), LEAVES, weight=16),
    # out of place
    Move("add", (TENSOR, TENSOR), lambda t, x, y, o: x + y, weight=8),
    Move("sub", (TENSOR, TENSOR), lambda t, x, y, o: x - y),
    Move("mul", (TENSOR, TENSOR), lambda t, x, y, o: x * y, weight=16),
    Move("scale", (TENSOR,), lambda t, x, o: x * 2.0),
    Move("neg", (TENSOR,), lambda t, x, o: -x),
    Move("square", (TENSOR,), lambda t, x, o: x ** 2),
    Move("sum", (TENSOR,), lambda t, x, o: x.sum(), weight=10),
    Move("clone", (TENSOR,), lambda t, x, o: x.clone()),
    # views
    Move("index", (TENSOR,), lambda t, x, o: x[o], INDICES, weight=6),
    Move("view", (TENSOR,), lambda t, x, o: x.view(-1)),
    Move("t", (TENSOR,), lambda t, x, o: x.t(), weight=2),
    Move("expand", (TENSOR,), lambda t, x, o: x.expand(2, 2), weight=2),
    Move("unsqueeze", (TENSOR,), lambda t, x, o: x.unsqueeze(0), weight=2),
    Move("unbind", (TENSOR,), lambda t, x, o: x.unbind(), makes=PAIR, weight=2),
    Move("split", (TENSOR,), lambda t, x, o: x.split(1), makes=PAIR, weight=1),
    # cuts and flags
    Move("detach", (TENSOR,), lambda t, x, o: x.detach(), weight=5),
    Move("detach_", (TENSOR,), lambda t, x, o: x.detach_(), makes=None, weight=1),
    Move("requires_grad_", (TENSOR,), lambda t, x, o: x.requires_grad_(o), [True, False], makes=None),
    Move("no_grad", (), lambda t, o: getattr(t, o)(), ["no_grad", "enable_grad"], makes="block", weight=5),
    # in place
    Move("add_", (TENSOR, TENSOR), lambda t, x, y, o: x.add_(y), makes=None),
    Move("mul_", (TENSOR, TENSOR), lambda t, x, y, o: x.mul_(y), makes=None, weight=6),
    Move("scale_", (TENSOR,), lambda t, x, o: x.mul_(2.0), makes=None, weight=6),
    Move("zero_", (TENSOR,), lambda t, x, o: x.zero_(), makes=None, weight=2),
    Move("copy_", (TENSOR, TENSOR), lambda t, x, y, o: x.copy_(y), makes=None, weight=2),
    Move("write", (TENSOR, TENSOR), lambda t, x, y, o: _write(x, o, y), INDICES, makes=None, weight=4),
    Move("write_constant", (TENSOR,), lambda t, x, o: _write(x, o, 7.0), INDICES, makes=None, weight=2),
    Move("t_", (TENSOR,), lambda t, x, o: x.t_(), makes=None, weight=2),
    Move("data_scale", (TENSOR,), lambda t, x, o: x.data.mul_(2.0), makes=None, weight=2),
    Move("set_data", (TENSOR, TENSOR), lambda t, x, y, o: _set_data(x, y), makes=None, weight=1),
    # .grad
    Move("drop_grad", (TENSOR,), lambda t, x, o: _assign(x, None), makes=None, weight=3),
    Move("zero_grad", (TENSOR,), lambda t, x, o: x.grad.zero_(), makes=None, weight=2),
    Move("take_grad", (TENSOR,), lambda t, x, o: x.grad, weight=2),
    Move("set_grad", (TENSOR, TENSOR), lambda t, x, y, o: _assign(x, y), makes=None, weight=1),
    Move("retain_grad", (TENSOR,), lambda t, x, o: x.retain_grad(), makes=None, weight=5),
    # hooks
    Move("hook", (TENSOR,), _hook, HOOKS, makes=HANDLE, weight=6),
    Move("post_hook", (TENSOR,),
         lambda t, x, o: _post_hook(t, x),
         makes=HANDLE, weight=2),
    Move("hook_once", (TENSOR,), _hook_once, makes=HANDLE, weight=2),
    Move("remove", (HANDLE,), lambda t, h, o: h.remove(), makes=None, weight=2),
    # custom functions
    Move("Square", (TENSOR,), custom(SQUARE), weight=3),
    Move("Keep", (TENSOR,), custom(KEEP), weight=3),
    Move("Pick", (TENSOR, TENSOR), custom(PICK), weight=2),
    Move("Fork", (TENSOR,), custom(FORK), makes=PAIR, weight=2),
    Move("Mask", (TENSOR,), custom(MASK), makes=PAIR, weight=1),
    Move("Lazy", (TENSOR,), custom(LAZY), makes=PAIR, weight=1),
    Move("Double_", (TENSOR,), custom(DOUBLE), makes=None, weight=3),
    Move("take", (PAIR,), lambda t, p, o: p[o], [0, 1], weight=4),
    # backward
    Move("backward", (TENSOR,), lambda t, x, o: x.sum().backward(**_true(o, True)), FLAGS, makes=None, weight=20),
    Move("backward_bare", (TENSOR,), lambda t, x, o: x.backward(), makes=None, weight=3),
    Move("backward_gradient", (TENSOR, TENSOR), lambda t, x, g, o: x.backward(g.clone(), **_true(o, True)), FLAGS,
         makes=None),
    Move("backward_twice", (TENSOR,),
         lambda t, x, o: t.do("torch.autograd.backward([{0}, {0}], [torch.ones_like({0}), torch.ones_like({0})])", x),
         makes=None, weight=2),
    Move("backward_inputs", (TENSOR, TENSOR), lambda t, x, y, o: x.sum().backward(inputs=[y], **_true(o, True)), FLAGS,
         makes=None, weight=6),
    Move("grad", (TENSOR, TENSOR), lambda t, x, y, o: t.grad(x.sum(), [y], **_true(o, True))[0].clone(),
         [*FLAGS, ("allow_unused",), ("create_graph", "allow_unused"), ("materialize_grads",)], weight=8),
)})  # fmt: skip
