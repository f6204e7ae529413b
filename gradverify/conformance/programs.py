"""Training programs, judged step by step: what the laws come to when they are used together.

Each program is a training loop as users write it, in PyTorch's dialect. Before every optimizer step its gradients are held
against the oracle's for the loss written as one expression, at the parameters that the engine has at that moment; after it,
the parameters against the update rule applied to those gradients. So every step is a case of its own: it starts from the
engine's own numbers, and errors do not add up over steps.

    from gradverify.conformance.programs import run
    import torch
    run("mlp", torch)            # raises Mismatch
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

STEPS = 3
UNIT = 2.0**-24  # unit roundoff of float32, which the programs run in

MORE = 1 + 2.0**-10
"""Room for products of roundings: each is below 2^-40, and there are fewer than ten of them."""


class Mismatch(AssertionError):
    """Raised where a step gives a wrong value: `what`, `expected` and `got`, in words or values."""

    def __init__(self, where: str, what: str, expected: Any, got: Any) -> None:
        self.expected, self.got = expected, got
        super().__init__(f"{where}: {what}: expected {expected}, got {got}")


@dataclass
class Watch:
    """The observer of a running program. It also draws the arrays, so that every engine gets the same."""

    torch: Any
    name: str
    step: int = 0
    tensors: dict[str, Any] = field(default_factory=dict)
    buffers: dict[str, np.ndarray] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)  # entry of a buffer so far

    def parameter(self, name: str, *shape: int, requires_grad: bool = True) -> Any:
        """A leaf with small random numbers."""
        value = (_rng(self.name, name).uniform(-1, 1, shape)).astype(np.float32)
        self.tensors[name] = self.torch.tensor(value.tolist(), requires_grad=requires_grad)
        return self.tensors[name]

    def data(self, name: str, *shape: int) -> Any:
        """A batch of this step."""
        value = (_rng(self.name, name, self.step).uniform(-1, 1, shape)).astype(np.float32)
        self.tensors[name] = self.torch.tensor(value.tolist())
        return self.tensors[name]

    def array(self, name: str) -> np.ndarray:
        return np.array(self.tensors[name].detach().tolist(), dtype=np.float32)

    def gradients(self, loss: str, names: Sequence[str], none: Sequence[str] = ()) -> None:
        """The .grad of `names` is that of the expression `loss`, within the budget of rounding; of `none`, nothing.

        loss  in the language of spec files, over the names of parameters and batches
        """
        inputs = {n: self.array(n) for n in _names(loss, self.tensors)}
        for n, (want, room) in true_gradients(loss, inputs, names).items():
            self._close(f"{n}.grad", want, self._grad(n), room)
        for n in none:
            if self.tensors[n].grad is not None and self._grad(n).any():
                raise Mismatch(self._where(), f"{n}.grad", "none", self._grad(n).tolist())

    def _grad(self, name: str) -> np.ndarray:
        g = self.tensors[name].grad
        if g is None:
            raise Mismatch(self._where(), f"{name}.grad", "a gradient", None)
        return np.array(g.tolist(), dtype=np.float64)

    def descends(self, step: Callable[[], Any], names: Sequence[str], lr: float, momentum: float = 0.0) -> None:
        """`step()` moves the parameters `names` as SGD does, and no others.

        buffer <- momentum buffer + gradient; parameter <- parameter - lr buffer (torch.optim.SGD). Each of the four
        operations rounds once, lr and momentum being powers of two; an error of the buffer counts lr times.
        """
        before = {n: self.array(n).astype(np.float64) for n in self.tensors}
        grads = {n: self._grad(n) for n in names}
        step()
        for n, was in before.items():
            now = self.array(n).astype(np.float64)
            if n not in names:
                if not np.array_equal(was, now):
                    raise Mismatch(self._where(), f"{n}, which is not stepped,", was.tolist(), now.tolist())
                continue
            kept = momentum * self.buffers.get(n, np.zeros_like(was))
            buffer = kept + grads[n]
            want = was - lr * buffer
            inner = (np.abs(kept) + np.abs(buffer)) if momentum else 0.0
            room = MORE * UNIT * (lr * inner + lr * np.abs(buffer) + np.abs(want))
            self._close(n, want, now, room + lr * self._drift(n, momentum))
            self.buffers[n] = buffer
            self.largest[n] = max(self.largest.get(n, 0.0), float(np.abs(buffer).max()))
        self.step += 1

    def _drift(self, name: str, momentum: float) -> float:
        """How far the engine's buffer, which is not looked into, may be from the one kept here.

        A step adds two roundings, of m b and of the sum, at most (1 + m) u max|b|, and passes on m times what there was: in
        all (1 + m)/(1 - m) u max|b|, a geometric series, of which the next step takes m times.
        """
        return MORE * UNIT * momentum * (1 + momentum) / (1 - momentum) * self.largest.get(name, 0.0)

    def _close(self, what: str, want: np.ndarray, got: np.ndarray, room: np.ndarray) -> None:
        want, got = np.asarray(want, dtype=np.float64), np.asarray(got, dtype=np.float64)
        if want.shape != got.shape:
            raise Mismatch(self._where(), what, f"shape {want.shape}", f"shape {got.shape}")
        off = ~(np.abs(want - got) <= room)
        if off.any():
            at = tuple(int(i) for i in np.argwhere(off)[0])
            raise Mismatch(self._where(), f"{what}{list(at) if at else ''}", float(want[at]), float(got[at]))

    def _where(self) -> str:
        return f"{self.name}, step {self.step}"


def true_gradients(
    loss: str, inputs: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The gradients of `loss` at float32 `inputs`, and their budgets in float32; by name."""
    from ..judge.reference import reference
    from ..spec.from_expression import expression_case

    ref = reference(replace(expression_case(loss, inputs, "float32"), wrt=tuple(names)))
    return {n: (ref.truth.gradients[n].hi, ref.budget.gradients[n]) for n in names}


def _rng(*key: Any) -> np.random.Generator:
    return np.random.default_rng(list("/".join(map(str, key)).encode()))


def _names(text: str, known: Mapping[str, Any]) -> list[str]:
    import ast

    used = {n.id for n in ast.walk(ast.parse(text, mode="eval")) if isinstance(n, ast.Name)}
    return [n for n in known if n in used]


@dataclass(frozen=True)
class Program:
    """A training loop. `doc` says what it is about, `source` who documents it."""

    name: str
    doc: str
    source: str
    body: Callable[[Any, Watch], None]


PROGRAMS: dict[str, Program] = {}
DOCS = "https://docs.pytorch.org/docs/stable/"


def _program(source: str) -> Callable[[Callable[[Any, Watch], None]], Callable[[Any, Watch], None]]:
    def declare(body: Callable[[Any, Watch], None]) -> Callable[[Any, Watch], None]:
        doc = " ".join((inspect.getdoc(body) or "").split())
        PROGRAMS[body.__name__] = Program(body.__name__, doc, DOCS + source, body)
        return body

    return declare


def run(name: str, torch: Any) -> None:
    """Run a program on a module that speaks PyTorch's dialect. Raises Mismatch at the first step that is off."""
    PROGRAMS[name].body(torch, Watch(torch, name))


# ---- the programs ---------------------------------------------------------------------------------------------------


@_program("generated/torch.optim.SGD.html")
def mlp(torch: Any, watch: Watch) -> None:
    """A network of three layers learns a batch: forward, backward, step, zero_grad."""
    w, b, v, u = (watch.parameter(n, *s) for n, s in (("w", (3, 4)), ("b", (4,)), ("v", (4, 4)), ("u", (4, 1))))
    optimizer = torch.optim.SGD([w, b, v, u], lr=0.25)
    for _ in range(STEPS):
        x, y = watch.data("x", 5, 3), watch.data("y", 5, 1)
        optimizer.zero_grad()
        hidden = torch.tanh(torch.relu(x @ w + b) @ v)
        ((hidden @ u - y) ** 2).sum().backward()
        watch.gradients("sum((tanh(relu(x @ w + b) @ v) @ u - y) ** 2)", ["w", "b", "v", "u"])
        watch.descends(optimizer.step, ["w", "b", "v", "u"], lr=0.25)


@_program("generated/torch.optim.SGD.html")
def momentum_with_frozen_layers(torch: Any, watch: Watch) -> None:
    """The first layer is frozen for all steps but the last; momentum remembers gradients and no graphs."""
    w, v = watch.parameter("w", 3, 4, requires_grad=False), watch.parameter("v", 4, 1)
    optimizer = torch.optim.SGD([w, v], lr=0.125, momentum=0.5)
    for k in range(STEPS + 1):
        thawed = ["w", "v"] if k == STEPS else ["v"]
        w.requires_grad_(k == STEPS)
        x, y = watch.data("x", 5, 3), watch.data("y", 5, 1)
        optimizer.zero_grad()
        ((torch.tanh(x @ w) @ v - y) ** 2).sum().backward()
        watch.gradients("sum((tanh(x @ w) @ v - y) ** 2)", thawed, none=[n for n in ("w",) if n not in thawed])
        watch.descends(optimizer.step, thawed, lr=0.125, momentum=0.5)


@_program("checkpoint.html")
def checkpointed(torch: Any, watch: Watch) -> None:
    """The middle of the network is not kept but run again within backward, parameters included."""

    class Checkpoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, segment: Any, x: Any, *parameters: Any) -> Any:
            ctx.segment, ctx.parameters = segment, parameters
            ctx.save_for_backward(x)
            return segment(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with torch.enable_grad():
                y = ctx.segment(x)
            return (None, *torch.autograd.grad(y, (x, *ctx.parameters), g))

    w, v, u = watch.parameter("w", 3, 4), watch.parameter("v", 4, 4), watch.parameter("u", 4, 1)
    optimizer = torch.optim.SGD([w, v, u], lr=0.25)
    for _ in range(STEPS):
        x, y = watch.data("x", 5, 3), watch.data("y", 5, 1)
        optimizer.zero_grad()
        middle = Checkpoint.apply(lambda h: torch.tanh(torch.tanh(h) @ v), x @ w, v)
        ((middle @ u - y) ** 2).sum().backward()
        watch.gradients("sum((tanh(tanh(x @ w) @ v) @ u - y) ** 2)", ["w", "v", "u"])
        watch.descends(optimizer.step, ["w", "v", "u"], lr=0.25)


@_program("notes/amp_examples.html#gradient-accumulation")
def micro_batches(torch: Any, watch: Watch) -> None:
    """The gradients of two micro-batches are added in .grad before one step."""
    w, v = watch.parameter("w", 3, 4), watch.parameter("v", 4, 1)
    optimizer = torch.optim.SGD([w, v], lr=0.125)
    for _ in range(STEPS):
        optimizer.zero_grad()
        for name in ("x", "z"):
            x = watch.data(name, 2, 3)
            ((torch.tanh(x @ w) @ v) ** 2).sum().backward()
        watch.gradients("sum((tanh(x @ w) @ v) ** 2) + sum((tanh(z @ w) @ v) ** 2)", ["w", "v"])
        watch.descends(optimizer.step, ["w", "v"], lr=0.125)


@_program("generated/torch.Tensor.detach.html")
def two_optimizers(torch: Any, watch: Watch) -> None:
    """The loop of a GAN: the critic learns from a detached sample, and the maker gets nothing of it; then the maker learns
    through the critic, whose own gradient of that pass is not stepped."""
    maker, critic = watch.parameter("maker", 2, 3), watch.parameter("critic", 3, 1)
    of_maker, of_critic = torch.optim.SGD([maker], lr=0.25), torch.optim.SGD([critic], lr=0.25)
    for _ in range(STEPS):
        x, z = watch.data("x", 4, 3), watch.data("z", 4, 2)
        of_critic.zero_grad()
        of_maker.zero_grad()
        sample = torch.tanh(z @ maker)
        (torch.sigmoid(sample.detach() @ critic) - torch.sigmoid(x @ critic)).sum().backward()
        watch.gradients("sum(sigmoid(tanh(z @ maker) @ critic) - sigmoid(x @ critic))", ["critic"], none=["maker"])
        watch.descends(of_critic.step, ["critic"], lr=0.25)
        (-torch.sigmoid(sample @ critic)).sum().backward()
        watch.gradients("sum(-sigmoid(tanh(z @ maker) @ critic))", ["maker"])
        watch.descends(of_maker.step, ["maker"], lr=0.25)
