"""Which calls are kept: those that may take another branch, though their shapes are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradverify import Outcome
from gradverify.frameworks.torch.arrays import some_entries
from gradverify.frameworks.watching import MOST_ENTRIES
from gradverify.watch.imports import watching
from gradverify.watch.judge import judge
from gradverify.watch.record import BY_VALUE, LATE, MOST_KEYS, Limits, Recorder, Why
from gradverify.watch.sketch import Seen, sketch, sketch_of_cotangents
from gradverify.watch.table import rows, table_lines

from . import functions as F
from .helpers import drawn


def run_tests(*tests: Callable[[], Any], **how: Any) -> Recorder:
    """The recorder after several tests of a suite."""
    recorder = Recorder(**how)
    with watching(recorder):
        for k, test in enumerate(tests):
            recorder.test = f"test {k}"
            test()
    return recorder


def huber(scale: float, function: Any = F.ForgetfulHuber, seed: int = 0) -> Callable[[], Any]:
    def test() -> None:
        x = (scale * drawn(6, seed=seed)).detach().requires_grad_()
        function.apply(x, 0.1 * drawn(6, seed=seed + 1).detach()).sum().backward()

    return test


def outcomes(recorder: Recorder) -> set[Outcome]:
    return {judge(s).verdict.outcome for s in recorder.samples}


@pytest.mark.parametrize("before", [1, 30])
def test_a_later_test_with_larger_values(before: int) -> None:
    recorder = run_tests(*(huber(0.1, seed=k) for k in range(before)), huber(9.0))
    assert f"test {before}" in [s.first for s in recorder.samples]
    assert outcomes(recorder) == {Outcome.PASS, Outcome.FAIL}


def test_the_difference_of_two_large_arrays() -> None:
    def test(target: float) -> Callable[[], Any]:
        x = torch.full((4,), 40.0) + torch.arange(4) / 8
        return lambda: F.ForgetfulHuber.apply(x.clone().requires_grad_(), torch.full((4,), target)).sum().backward()

    assert outcomes(run_tests(test(40.2), test(45.0))) == {Outcome.PASS, Outcome.FAIL}


def test_another_sort_of_cotangent() -> None:
    def test(scale: float) -> Callable[[], Any]:
        return lambda: (scale * F.ClipGradient.apply(drawn(4))).sum().backward()

    recorder = run_tests(*(test(0.01) for _ in range(3)), test(100.0), *(test(0.01) for _ in range(40)))
    assert "test 3" in [s.first for s in recorder.samples]
    assert outcomes(recorder) == {Outcome.PASS, Outcome.FAIL}


def test_the_same_call_again_and_again_is_kept_a_few_times() -> None:
    def test() -> None:
        for _ in range(50):
            F.Sin.apply(drawn(3)).sum().backward()

    recorder = run_tests(*[test] * 50)
    (entry,) = recorder.entries.values()
    assert entry.executed == 2500
    assert [s.seat.why for s in entry.samples] == [Why.FIRST] + [Why.LATE] * LATE
    assert run_tests(*[test] * 50).samples[-1].first == recorder.samples[-1].first  # the same in every run


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_a_test_may_look_at_the_values_first(looks: int) -> None:
    """A call whose backward pass runs is judged in place of like calls before it, up to LATE of them."""

    def test() -> None:
        x = drawn(3)
        for _ in range(looks):
            F.Sin.apply(x)
        F.Sin.apply(x).sum().backward()

    recorder = run_tests(test)
    assert [bool(s.pulled) for s in recorder.samples] == [looks <= LATE]
    note = "the suite never ran its backward pass: the cotangent is drawn"
    assert [note in judge(s).notes for s in recorder.samples] == [looks > LATE]


def test_calls_without_a_backward_pass_are_kept_once() -> None:
    recorder = run_tests(*[lambda: [F.Sin.apply(drawn(3)) for _ in range(50)]] * 3)
    assert len(recorder.samples) == 1


def test_new_kinds_take_the_place_of_late_calls() -> None:
    def test(k: int) -> Callable[[], Any]:
        return lambda: F.Sin.apply(torch.full((k,), 2.0).requires_grad_())

    recorder = run_tests(test(2), test(2), test(2), test(3), test(4), limits=Limits(samples=3))
    assert [s.args[0].shape[0] for s in recorder.samples] == [2, 3, 4]


def test_what_adds_least_makes_room() -> None:
    def test(*values: float) -> Callable[[], Any]:
        return lambda: F.Sin.apply(torch.tensor(values, requires_grad=True))

    few = [test(1.0, 1.0, 2.0**k) for k in range(1, BY_VALUE + 2)]
    recorder = run_tests(test(1.0, 1.0, 1.0), *few, test(-1e30, 0.0, float("nan")))
    kept = [s.args[0].detach().numpy()[0] for s in recorder.samples if s.seat.why is Why.VALUES]
    assert len(kept) == BY_VALUE
    assert kept[-1] < 0
    assert recorder.size == sum(s.size for e in recorder.entries.values() for s in e.samples)


def test_the_table_says_what_was_not_looked_at() -> None:
    recorder = run_tests(huber(0.1, F.Huber))
    lines = table_lines(rows(recorder, [judge(s) for s in recorder.samples]))
    assert lines[0].split() == ["definition", "executed", "looked", "at", "recorded", "judged", "branches", "outcome"]
    assert any("a branch was taken on one side only: abs(subtract(…)) <= 2.0" in line for line in lines)
    both = run_tests(huber(3.0, F.Huber))
    assert not any("one side" in line for line in table_lines(rows(both, [judge(s) for s in both.samples])))


# ---- sketches -------------------------------------------------------------------------------------------------------


def array(*values: float, dtype: Any = np.float32) -> np.ndarray:
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (array(0.5, 0.75), array(0.5, -0.75)),
        (array(1.5), array(19.0)),
        (array(19.0), array(33.0)),
        (array(1.0, 2.0), array(0.0, 2.0)),
        (array(1.0, 1.5), array(1.5, 1.5)),
        (array(1.0), array(np.nan)),
        (array(1.0), array(1e-30)),
        (array(65000, dtype=np.float16), array(6, dtype=np.float16)),
        (array(1.0, dtype=np.float64), array(-1e300, dtype=np.float64)),
        (array(1 + 1j, dtype=np.complex64), array(1 - 1j, dtype=np.complex64)),
        (array(1, 2, dtype=np.int64), array(1, -100, dtype=np.int64)),
        (array(11, 12, dtype=np.int64), array(12, 12, dtype=np.int64)),
        (np.array([[True, False], [True, False]]), np.array([[True, False], [False, False]])),
        (np.ones((2, 3)), np.ones((3, 2)).T),
        (np.ones(2), np.ones(0)),
    ],
)
def test_what_may_take_another_branch_differs(a: np.ndarray, b: np.ndarray) -> None:
    assert sketch({"x": b}) - sketch({"x": a})


def test_what_takes_the_same_branches_does_not() -> None:
    a, b = (np.random.default_rng(k).uniform(1, 2, 20) for k in (1, 2))
    assert sketch({"x": a}) == sketch({"x": b})
    assert sketch({"x": array(5e-10), "y": array(1, dtype=np.int8)}) == sketch(
        {"x": array(6e-10), "y": array(1, dtype=np.int8)}
    )


FORMS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "float32": lambda rng: (rng.standard_normal(5) * 2.0 ** rng.integers(-12, 12)).astype(np.float32),
    "float16": lambda rng: rng.standard_normal((2, 2)).astype(np.float16),
    "float64": lambda rng: rng.integers(-1, 2, 5).astype(np.float64),
    "large": lambda rng: rng.standard_normal(3 * MOST_ENTRIES) * 2.0 ** rng.integers(0, 12),
    "one number": lambda rng: np.asarray(rng.standard_normal() * 100),
    "complex64": lambda rng: (rng.standard_normal(5) + 1j * rng.standard_normal(5)).astype(np.complex64),
    "infinite": lambda rng: np.where(rng.random(5) < 0.1, rng.choice([np.inf, np.nan], 5), rng.random(5)),
    "int64": lambda rng: rng.integers(-20, 20, 3),
    "bool": lambda rng: rng.random((2, 3)) < 0.7,
    "empty": lambda rng: np.zeros((0, 3)),
}


@pytest.mark.parametrize("names", [*[(n,) for n in FORMS], ("float32", "float64", "int64"), ("complex64", "one number"),
                                   ("large", "large"), ("float32", "one number", "infinite", "bool")])  # fmt: skip
def test_a_look_up_tells_what_the_sketch_tells(names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    calls = [[FORMS[n](rng) for n in names] for _ in range(120)]
    seen, known = Seen(calls[0]), set(sketch(dict(enumerate(calls[0]))))  # type: ignore[arg-type]
    told = []
    for call in calls[1:]:
        features = sketch(dict(enumerate(call)))  # type: ignore[arg-type]
        told.append(seen.has_new(call))
        assert told[-1] == (not features <= known)
        if told[-1]:
            seen.add(call)
            known |= features
    assert not all(told)


def test_a_look_up_keeps_what_is_known_apart_by_keys() -> None:
    def test(k: int) -> Callable[[], Any]:
        return lambda: F.Spike.apply(drawn(3), float(k))  # a number that is drawn anew for each call

    (entry,) = run_tests(*map(test, range(3 * MOST_KEYS))).entries.values()
    assert len(entry._known) <= MOST_KEYS
    assert len(entry.samples) <= Limits.samples


def test_the_ends_of_a_large_array_are_seen() -> None:
    x = np.ones(20 * MOST_ENTRIES)
    y = x.copy()
    y[12345] = -3.0
    assert sketch({"x": y}) - sketch({"x": x})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32, torch.bool, torch.complex64])
@pytest.mark.parametrize("n", [0, 3, 5000])
def test_memory_that_was_looked_at_can_be_resized(dtype: torch.dtype, n: int) -> None:
    x = torch.ones(n, dtype=dtype)
    assert some_entries(x, 100).size <= max(n if dtype is torch.bool else 102, 3)
    x.untyped_storage().resize_(0)
    assert some_entries(torch.arange(5000.0), 100)[-1] == 4999


def test_arrays_of_other_shapes_and_formats_are_no_pair() -> None:
    from gradverify.namespaces.dtypes import numpy_dtype

    half = np.ones(3).astype(numpy_dtype("bfloat16"))
    assert sketch({"x": half, "y": np.ones((2, 3)), "z": np.ones(()), "w": half})


def test_cotangents() -> None:
    one = sketch_of_cotangents((np.ones(3), None))
    assert one == sketch_of_cotangents((np.full(3, 1.5), None))
    for other in (np.full(3, 1e-5), array(1, 2, 3), array(1, 0, 1), array(np.inf, 1, 1)):
        assert sketch_of_cotangents((other, None)) != one
    assert sketch_of_cotangents((np.ones(3), np.ones(2))) != one
