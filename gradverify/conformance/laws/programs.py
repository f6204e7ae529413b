"""Training programs against the oracle, step by step, as laws: see `conformance.programs`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..programs import PROGRAMS, STEPS, Mismatch, run, true_gradients
from ..register import Law, law
from ..session import Broken, Session, Var

SGD = "https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html"


def _program(name: str) -> Callable[[Session], None]:
    def program(t: Session) -> None:
        try:
            run(name, t.env[t.engine.module])
        except Mismatch as e:
            call = ["from gradverify.conformance.programs import run", f"run({name!r}, {t.engine.module})"]
            raise Broken(e.expected, e.got, [*t.engine.setup, *call]) from e

    program.__name__ = f"trains_{name}"
    program.__doc__ = PROGRAMS[name].doc
    program.__module__ = __name__
    return program


LAWS: tuple[Law, ...] = tuple(law(needs={"optim"}, source=p.source)(_program(p.name)) for p in PROGRAMS.values())


# ---- for engines without optimizers: the engine gives gradients, and the steps are taken here -----------------------


def _descend(
    t: Session, f: Callable[..., Var], loss: str, parameters: Sequence[str],
    held: Mapping[str, str] = MappingProxyType({}), **shapes: tuple[int, ...],
) -> None:  # fmt: skip
    """Gradient descent in float32; each gradient within the budget of rounding, at the engine's own point.

    f, loss  the same function, of all of `shapes` in order, in the dialect and in the language of spec files
    held     names in `loss` for parameters that `f` detaches
    """
    rng = np.random.default_rng(5)
    values = {n: rng.uniform(-1, 1, shape).astype(np.float32) for n, shape in shapes.items()}
    for step in range(STEPS):
        before = len(t.entries)
        found = t.gradient(f, *(v.tolist() for v in values.values()))
        truth = true_gradients(loss, values | {n: values[p] for n, p in held.items()}, parameters)
        for n, g in zip(shapes, found):
            if n not in parameters:
                continue
            want, room = truth[n]
            got = np.array(t.read(g), dtype=np.float64)
            if got.shape != want.shape or not (np.abs(got - want) <= room).all():
                raise Broken(f"d{n} = {want.tolist()} at step {step}", got.tolist(), t.script())
            values[n] -= np.float32(0.25) * got.astype(np.float32)
        values |= {n: rng.uniform(-1, 1, v.shape).astype(np.float32) for n, v in values.items() if n not in parameters}
        del t.entries[before:]  # so that a script is of one step


@law(needs={"arrays"}, source=SGD)
def trains_by_values(t: Session) -> None:
    """A network of two layers learns a batch, step by step, by gradients that are values."""
    _descend(
        t, lambda w, v, x, y: (((x @ w).relu() @ v - y) ** 2).sum(), "sum((relu(x @ w) @ v - y) ** 2)", ["w", "v"],
        w=(3, 4), v=(4, 1), x=(5, 3), y=(5, 1),
    )  # fmt: skip


@law(needs={"arrays", "cut"}, source="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.detach.html")
def trains_against_a_detached_target(t: Session) -> None:
    """A network learns from its own detached output, as with target networks: nothing flows into the target."""
    _descend(
        t, lambda w, x, z: ((x @ w - (z @ w).detach()) ** 2).sum(), "sum((x @ w - z @ held) ** 2)", ["w"],
        held={"held": "w"}, w=(3, 2), x=(4, 3), z=(4, 3),
    )  # fmt: skip
