"""The quick part of the catalogue as regression tests: no mutant passes, no correct function fails."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from bench.detection import tools
from bench.detection.catalogue import CLASSES, Entry, correct, mutants

# What `check` does not ask with its default settings yet: none. Each would be a mutant that a user would want caught: when
# one is, its test fails (strictly) and the line goes.
MISSED: dict[str, str] = {}

# What is right and fails: none. A name stands here with the reason for which it does.
REJECTED: dict[str, str] = {}


def quick(entries: list[Entry], known: dict[str, str]) -> list:
    chosen = [e for e in entries if e.quick]
    assert not set(known) - {e.name for e in chosen}
    mark = pytest.mark.xfail
    return [
        pytest.param(e, id=e.name, marks=mark(reason=known[e.name], strict=True) if e.name in known else ())
        for e in chosen
    ]


def said(entry: Entry) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tools.run("gradverify.check", entry)


@pytest.mark.parametrize("entry", quick(mutants(), MISSED))
def test_a_mutant_does_not_pass(entry: Entry) -> None:
    outcome, message = said(entry)
    assert outcome in ("caught", "undecided"), message
    if entry.name in MISSED:
        assert outcome == "caught", message


@pytest.mark.parametrize("entry", quick([e for e in correct() if "mended" not in e.name], REJECTED))
def test_a_correct_function_does_not_fail(entry: Entry) -> None:
    outcome, message = said(entry)
    assert outcome != "caught", message


def test_the_catalogue_is_as_large_as_it_says() -> None:
    wrong = mutants()
    assert len(wrong) >= 200
    assert {e.bug for e in wrong} == set(CLASSES) - {0}
    assert sum("mended" not in e.name for e in correct()) >= 100


# Class 5 is about memory: its gradients may be right while they are looked at.
SEEN_IN_VALUES = [e for e in mutants() if e.correct and not e.elsewhere and e.framework == "torch" and e.bug != 5]


@pytest.mark.parametrize("entry", SEEN_IN_VALUES, ids=str)
def test_a_mutant_differs_from_its_mended_twin(entry: Entry) -> None:
    """At the point given, in the gradient for some signed cotangent: otherwise it would be no mutant."""
    import numpy as np
    import torch

    assert entry.correct is not None

    def gradient(make):
        torch.manual_seed(0)
        bridge = tools.Bridge(Entry(name=entry.name, bug=0, about="", make=make))
        g = np.random.default_rng(0).uniform(-2, 2, bridge.call(*bridge.values).shape)
        both = []
        for scale in (1.0, -2.0):  # a second call: some mutants keep state
            both += bridge.vjp(bridge.values, g * scale)
        return both + [v.copy() for v in bridge.values]

    right = gradient(entry.correct)
    try:
        wrong = gradient(entry.make)
    except (TypeError, IndexError, RuntimeError):  # raising is what these do wrong
        assert "raises" in entry.name
        return
    assert any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(wrong, right))
