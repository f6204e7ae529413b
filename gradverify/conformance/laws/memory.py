"""Memory: what is freed in bytes, whether a loop grows, and reads of what nobody wrote."""

from __future__ import annotations

from ..memory import ARRAY, freed, grown
from ..programs import PROGRAMS, Mismatch, run
from ..register import law
from ..session import Broken, Session

NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html#saved-tensors"
POISON = "https://docs.pytorch.org/docs/stable/deterministic.html#torch.utils.deterministic.fill_uninitialized_memory"


def _broken(t: Session, expected: str, got: str, call: str) -> Broken:
    name = call.partition("(")[0]
    return Broken(
        expected, got, [*t.engine.setup, f"from gradverify.conformance.memory import {name}", f"assert {call}"]
    )


@law(needs={"optim", "freeing"}, source=NOTES)
def backward_frees_all_bytes(t: Session) -> None:
    """After backward less than one array is left of what the graph saved, though its root is still held."""
    before, after = freed(t.env["torch"])
    if before < 2 * ARRAY:
        raise _broken(t, "a graph that saves arrays", f"{before} bytes", f"freed(torch)[0] >= {2 * ARRAY}")
    if after >= ARRAY:
        raise _broken(t, f"less than {ARRAY} bytes", f"{after} bytes", f"freed(torch)[1] < {ARRAY}")


@law(needs={"optim"}, source="https://docs.pytorch.org/docs/stable/notes/faq.html")
def training_does_not_grow_in_bytes(t: Session) -> None:
    """A loop with an optimizer holds after twelve steps what it held after four, to less than one array, without a
    collection of garbage."""
    more = grown(t.env["torch"])
    if more >= ARRAY:
        raise _broken(t, f"less than {ARRAY} bytes more", f"{more} bytes", f"grown(torch) < {ARRAY}")


@law(needs={"optim"}, source=POISON)
def nothing_unwritten_is_read(t: Session) -> None:
    """With NaN in all memory that is allocated without being written, training is the same: no kernel of forward, backward
    or optimizer lives on the zeros of fresh pages."""
    from ...judge.laws.uninitialised import poison_memory

    torch = t.env["torch"]
    kind = "torch" if torch.__name__ == "torch" else "engine"
    for name in PROGRAMS:
        try:
            with poison_memory(kind):
                run(name, torch)
        except Mismatch as e:
            script = [
                *t.engine.setup,
                "from gradverify.conformance.programs import run",
                "from gradverify.judge.laws.uninitialised import poison_memory",
                f"with poison_memory({kind!r}): run({name!r}, torch)",
            ]
            raise Broken(e.expected, e.got, script) from e
