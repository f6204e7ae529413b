"""The record of a law, and the decorator that declares one; `law.laws()` lists them.

    @law(needs={"tape"}, source="https://pytorch.org/docs/stable/notes/autograd.html")
    def adds_across_calls(t):
        \"""What it means. Why it matters.\"""
        x = t.tensor(3.0, requires_grad=True)
        (x * x).backward()
        (x * 2.0).backward()
        t.equal(x.grad, 8.0)

Third parties add their own by the entry point group `gradverify.laws`, each naming a decorated function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .engines import CAPABILITIES, Engine
from .session import Broken, Lacks, Session


@dataclass(frozen=True)
class Law:
    """A short program over a session, which raises `Broken` where an engine does not keep it.

    family  the part of autograd that it is about
    doc     what it means and why it matters
    source  who documents it
    needs   the capabilities without which it makes no sense
    """

    name: str
    family: str
    doc: str
    source: str
    needs: frozenset[str]
    program: Callable[[Session], None]

    def missing(self, engine: Engine) -> frozenset[str]:
        missing = self.needs - engine.has
        return missing - {"gpu"} if "gpu" in missing and engine.sees_gpu() else missing

    def check(self, engine: Engine) -> Broken | None:
        """Run the law on an engine: a Broken if it is violated, else None. Raises Lacks for a word that it does not have."""
        t = Session(engine)
        try:
            self.program(t)
        except Broken as broken:
            return broken
        except Lacks:
            raise
        except Exception as e:
            message = str(e).strip().partition("\n")[0]
            script = t.script()
            script[-1] += f"  # {type(e).__name__}"
            return Broken("no error", f"{type(e).__name__}: {message}", script)
        finally:
            t.restore()
        return None


BUILT_IN: dict[str, Law] = {}
"""The laws that the modules of `laws/` have declared, in the order of their declaration."""


def law(needs: Iterable[str] = (), source: str = "") -> Callable[[Callable[[Session], None]], Law]:
    """Declare a law: its name is the function's, its family the module's, its meaning the docstring."""

    def declare(program: Callable[[Session], None]) -> Law:
        family = program.__module__.rpartition(".")[2]
        made = Law(program.__name__, family, inspect.getdoc(program) or "", source, frozenset(needs), program)
        assert made.doc, f"{made.name}: a law says what it means"
        assert made.needs <= set(CAPABILITIES), f"{made.name}: unknown needs {made.needs - set(CAPABILITIES)}"
        if program.__module__.startswith(__package__ or ""):
            assert made.name not in BUILT_IN, f"two laws are called {made.name}"
            BUILT_IN[made.name] = made
        return made

    return declare
