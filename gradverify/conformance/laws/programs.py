"""Training programs against the oracle, step by step, as laws: see `conformance.programs`."""

from __future__ import annotations

from collections.abc import Callable

from ..law import Law, law
from ..programs import PROGRAMS, Mismatch, run
from ..session import Broken, Session


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
