"""Each broken engine is caught, by a law with a script of at most 8 lines; many are caught by random programs too."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from gradverify.conformance.engines import Engine, find
from gradverify.conformance.law import Law, laws
from gradverify.conformance.machine import search
from gradverify.conformance.session import Broken as Caught

from .broken import BROKEN, Broken, forget

LINES = 8


@pytest.fixture(autouse=True)
def one_at_a_time() -> Iterator[None]:
    yield
    forget()


def asked(engine: Engine) -> Iterator[Law]:
    """Without programs and counted bytes, which take a while: each broken engine has a law that is about just that."""
    slow = ("programs", "memory")
    yield from (law for law in laws().values() if law.family not in slow and not law.missing(engine))


def caught(engine: Engine) -> Iterator[Caught]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from filter(None, (law.check(engine) for law in asked(engine)))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: b.name)
def test_a_law_catches_it_in_eight_lines(broken: Broken) -> None:
    engine = broken.load()
    found = list(caught(engine))
    assert found, "no law is broken"
    shortest = min(found, key=lambda b: len(b.script))
    assert len(shortest.script) <= LINES, "\n".join(shortest.script)
    # The script is no story: it fails on the broken engine, and not on the whole one.
    code = "\n".join(shortest.script)
    try:
        with pytest.raises(Exception) as failed:  # noqa: PT011
            exec(code, {})
        assert not isinstance(failed.value, SyntaxError | NameError)
        exec(code.replace(f"import gradverify.{engine.name} as torch", "import gradverify.engine as torch"), {})
    finally:
        engine.environment()["torch"].set_grad_enabled(True)


def test_there_are_enough_of_them() -> None:
    assert len({b.name for b in BROKEN}) == len(BROKEN) >= 40
    assert len({(b.module, b.old, b.new) for b in BROKEN}) == len(BROKEN)


def by_machine(some: tuple[Broken, ...], steps: int) -> dict[str, int]:
    """Name -> lines of the script, for those that random programs catch."""
    found = {}
    for broken in some:
        done = search(broken.load(), find("engine"), steps)
        if done.divergences:
            found[broken.name] = len(done.divergences[0].script)
    return found


def test_random_programs_catch_accumulation() -> None:
    some = BROKEN[:5]
    found = by_machine(some, 1000)
    assert set(found) == {b.name for b in some}
    assert max(found.values()) <= LINES


@pytest.mark.slow
def test_random_programs_catch_most(request: pytest.FixtureRequest) -> None:
    """What no program can show (an order, a weak reference, an argument that no move has) is left to the laws."""
    if "slow" not in request.config.option.markexpr:
        pytest.skip("a minute: run with -m slow")
    found = by_machine(BROKEN, 5000)
    assert len(found) >= 40, f"only {len(found)}: {sorted(found)}"
    assert sum(n <= LINES for n in found.values()) >= 40


def test_a_text_that_is_gone_is_an_error() -> None:
    with pytest.raises(LookupError, match="is 0 times in"):
        Broken("gone", "autograd.walk", "no such text", "").load()
    with pytest.raises(LookupError, match="no module"):
        Broken("nowhere", "no_such_module", "", "").load()


def test_the_whole_engine_is_not_touched() -> None:
    BROKEN[0].load()
    assert not list(caught(find("engine")))
