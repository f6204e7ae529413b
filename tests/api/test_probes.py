"""Probes are records: what is asked, and what counts, is read off them, and anybody can add one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify import Outcome, Probe, Verdict, check, register_probe
from gradverify.checker import probes
from gradverify.core.verdict import FailKind

torch = pytest.importorskip("torch")

X = torch.tensor([[0.4, -1.1, 0.7], [1.2, 0.3, -0.6]], dtype=torch.float64)
A = np.array([[0.4, -1.1, 0.7], [1.2, 0.3, -0.6]])


def sine(backward: Callable[[Any, Any], Any], *, once: bool = False) -> Callable[..., Any]:
    """sin with the given backward(x, g)."""

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return backward(*ctx.saved_tensors, g)

    if once:
        Sine.backward = torch.autograd.function.once_differentiable(Sine.backward)
    return lambda x: Sine.apply(x)


def no_empty(x: Any, g: Any) -> Any:
    if not g.numel():
        raise ValueError("of nothing there is no maximum")
    return g * x.cos() + 0 * g.max()


def no_zeros(x: Any, g: Any) -> Any:
    """Refuses a cotangent that is half zeros, as every backward pass must take it."""
    if 1 < int((g == 0).sum()) < g.numel() - 1:
        raise ValueError("zeros")
    return g * x.cos()


def no_zero_values(x: Any, g: Any) -> Any:
    if bool((x == 0).any()):
        raise ValueError("x must not be 0")
    return g * x.cos()


def away(off: float) -> Callable[[Any, Any], Any]:
    return lambda x, g: g * torch.where(x.abs() > 20, x.cos() + off, x.cos())


def smoothly(off: float) -> Callable[[Any, Any], Any]:
    """Off by `off` at 20, by 1e-16 of that at 2, and without a comparison that says so."""
    return lambda x, g: g * (x.cos() + off * (x / 20) ** 16)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Probe]:
    """The registered probes, of which a test may change any."""
    check(torch.sin, X)  # declares the built-in ones
    changed = dict(probes._REGISTERED)
    monkeypatch.setattr(probes, "_REGISTERED", changed)
    return changed


# ---- no behaviour on display strings --------------------------------------------------------------------------------

SPECIAL: dict[str, tuple[Callable[[], Verdict], Outcome, FailKind | None]] = {
    "an empty batch is owed": (lambda: check(sine(no_empty), X), Outcome.FAIL, FailKind.RAISED),
    "a cotangent is legal": (lambda: check(sine(no_zeros), X), Outcome.FAIL, FailKind.RAISED),
    "zeros may be refused": (lambda: check(sine(no_zero_values), X), Outcome.PASS, None),
    "digits far out": (lambda: check(sine(smoothly(1e-6)), X), Outcome.PASS, None),
    "digits behind a branch": (lambda: check(sine(away(1e-6)), X), Outcome.FAIL, FailKind.WRONG),
    "NaN far out": (lambda: check(sine(away(float("nan"))), X), Outcome.FAIL, FailKind.NON_FINITE),
    "float32 by hand": (
        lambda: check(np.sin, A, vjp=lambda g, x: (g * np.cos(x)).astype(np.float64)), Outcome.PASS, None
    ),
    "0-d by hand": (
        lambda: check(np.sin, A, vjp=lambda g, x: np.atleast_1d(g * np.cos(x))), Outcome.PASS, None
    ),
    "float32 of a Function": (
        lambda: check(sine(lambda x, g: (g * x.cos()) * (1 + 1e-2 * (x.dtype == torch.float32))), X), Outcome.FAIL,
        FailKind.WRONG,
    ),
    "the second order is wrong": (
        lambda: check(sine(lambda x, g: g * x.detach().cos()), X), Outcome.FAIL, FailKind.DETACHED
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
def test_a_verdict_does_not_depend_on_what_probes_are_called(name: str, registry: dict[str, Probe]) -> None:
    ask, outcome, kind = SPECIAL[name]
    before = ask()
    assert (before.outcome, before.kind) == (outcome, kind), before.text()
    for k, (key, probe) in enumerate(registry.items()):
        registry[key] = replace(probe, name=f"probe {k}")
    after = ask()
    assert (after.outcome, after.kind) == (before.outcome, before.kind)
    assert str(after.comparisons) == str(before.comparisons)  # to the last digit: what is drawn is the same
    assert len(after.facts["tried"]) == len(before.facts["tried"])
    names = {probe.name for probe in registry.values()}
    assert set(after.facts["tried"]) & names or outcome is Outcome.FAIL
    assert not {key for key in registry if key in after.facts["tried"]}


def test_a_note_does_not_depend_on_names_either(registry: dict[str, Probe]) -> None:
    f = sine(lambda x, g: g * x.cos(), once=True)
    assert any(n.startswith("the second order: ") and "(it was not judged)" in n for n in check(f, X).notes)
    registry["the second order"] = replace(registry["the second order"], name="the next one")
    verdict = check(f, X)
    assert verdict
    assert any(n.startswith("the next one: ") and "(it was not judged)" in n for n in verdict.notes)


def test_the_given_point_comes_before_others_and_after_them(registry: dict[str, Probe]) -> None:
    tried = check(sine(lambda x, g: g * x.cos()), X, order=1).facts["tried"]
    assert tried == [
        "as given", "a cotangent that is half zeros", "a constant, expanded cotangent", "other ways of asking",
        "other values", "zeros among the values", "negated values", "values 64 times as large",
        "a larger batch", "as given, after another shape",
        "a batch of one", "an empty batch", "axes of length 2 instead of 3", "axes of length 4 instead of 3",
        "axes of length 6 instead of 3",
        "a batch of 273", "0-d arguments", "float32", "as given, once more",
    ]  # fmt: skip


# ---- what a record says is done -------------------------------------------------------------------------------------


def test_a_probe_is_asked_at_its_efforts_where_its_conditions_hold(registry: dict[str, Probe]) -> None:
    small = Probe("small", lambda given: given.changed(lambda x: x / 64), efforts=("quick",))
    never = Probe("never", small.make, efforts=("quick",), requires=(lambda given: given.traced.custom,))
    large = Probe("large", lambda given: [probes.OtherArguments((X,), growth=1e9)], efforts=("quick",))
    for probe in (small, never, large):
        register_probe(probe)
    quick, normal = check(torch.sin, X, effort="quick"), check(torch.sin, X)
    assert quick.facts["tried"] == ["as given", "small"]
    assert quick.facts["skipped"] == []
    assert "small" not in normal.facts["tried"]


def test_what_counts_is_the_records_to_say(registry: dict[str, Probe]) -> None:
    f = sine(lambda x, g: g * x.cos() * (1 + (x == 3).double()))
    threes = Probe("threes", lambda given: given.changed(lambda x: np.full_like(x, 3.0)), efforts=("quick",))
    register_probe(threes)
    wrong = check(f, X, effort="quick")
    assert wrong.kind is FailKind.WRONG
    assert wrong.message.endswith("(found with threes)")
    register_probe(replace(threes, counts=probes.count_non_finite))
    spared = check(f, X, effort="quick")
    assert spared
    assert spared.facts["skipped"][0].startswith("threes: ")


def test_an_exception_fails_where_a_probe_is_legal(registry: dict[str, Probe]) -> None:
    zeros = Probe("all zeros", lambda given: given.changed(np.zeros_like), efforts=("quick",), legal=True)
    register_probe(zeros)
    assert check(sine(no_zero_values), X, effort="quick").kind is FailKind.RAISED
    register_probe(replace(zeros, legal=False))
    assert check(sine(no_zero_values), X, effort="quick")


def test_nothing_to_ask_is_skipped_with_the_reason(registry: dict[str, Probe]) -> None:
    from gradverify import Unsupported

    def refuse(given: Any) -> Any:
        raise Unsupported("not today")

    register_probe(Probe("refused", refuse, efforts=("quick",)))
    assert check(torch.sin, X, effort="quick").facts["skipped"] == ["refused: not today"]


# ---- probes of others -----------------------------------------------------------------------------------------------


def test_a_registered_probe_is_tried(registry: dict[str, Probe]) -> None:
    register_probe(
        Probe("halved values", lambda given: given.changed(lambda x: x / 2 if x.dtype.kind == "f" else None))
    )
    verdict = check(torch.sin, X)
    assert verdict
    assert "halved values" in verdict.facts["tried"]
    assert verdict.facts["tried"][-1] == "as given, once more"


def test_third_parties_add_theirs_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_probes.py").write_text(
        "from gradverify import Probe\nhalved = Probe('halved', lambda given: given.changed(lambda x: x / 2))\n"
    )
    info = tmp_path / "their_probes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-probes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradverify.probes]\nhalved = their_probes:halved\n")
    monkeypatch.syspath_prepend(tmp_path)
    probes._load_entry_points.cache_clear()
    try:
        assert "halved" in check(torch.sin, X).facts["tried"]
    finally:
        probes._load_entry_points.cache_clear()
