"""The sweep over JAX, by its quickest and most common functions; and what it found in gradverify."""

from __future__ import annotations

from typing import Any

import pytest

jax = pytest.importorskip("jax")

BEFORE = jax.config.jax_enable_x64

from bench.sweep import jax_functions, run, work  # noqa: E402
from bench.sweep.points import RULINGS, assigned, called  # noqa: E402

# The table turns 64-bit types on for its own process; here each test says for itself.
jax.config.update("jax_enable_x64", BEFORE)

COMMON = """
jax.numpy.sin jax.numpy.exp jax.numpy.sqrt jax.numpy.abs jax.numpy.add jax.numpy.multiply jax.numpy.divide jax.numpy.power
jax.numpy.maximum jax.numpy.clip jax.numpy.where jax.numpy.sum jax.numpy.mean jax.numpy.max jax.numpy.cumsum
jax.numpy.matmul jax.numpy.einsum jax.numpy.reshape jax.numpy.concatenate jax.numpy.take jax.numpy.sort jax.nn.relu
jax.nn.sigmoid jax.nn.softplus jax.lax.dot_general jax.lax.cummax jax.lax.dynamic_slice jax.Array.at.add
jax.numpy.linalg.cholesky jax.ops.segment_sum
""".split()

# What JAX 0.10 is wrong about, as far as it is quick: a repaired one fails here, and goes.
WRONG = {
    "jax.numpy.hypot": "large in float32",
    "jax.numpy.divide": "small in float32",
    "jax.numpy.power": "zero exponent",
    "jax.numpy.vander": "zero",
    "jax.Array.__getitem__": "out of bounds",
    "jax.scipy.special.i0": "zeros",
    "jax.scipy.linalg.cholesky": "lower",
    "jax.nn.tanh": "tails in float32",
}

POINTS = {(p.function, p.edge): p for p in jax_functions.POINTS}


@pytest.fixture(autouse=True)
def doubles() -> Any:
    with jax.enable_x64(True):
        yield


def swept(function: str, edge: str = run.ORDINARY) -> work.Row:
    return work.judged(POINTS[function, edge], jax_functions, 60.0, "quick")


@pytest.mark.parametrize("function", COMMON)
def test_a_common_function_passes(function: str) -> None:
    row = swept(function)
    assert row.outcome == "PASS", row


@pytest.mark.parametrize("function", WRONG)
def test_what_jax_is_wrong_about_is_found(function: str) -> None:
    row = swept(function, WRONG[function])
    assert row.outcome in ("FAIL", "KNOWN"), row
    assert run.explained(row, jax_functions.JUDGEMENTS)


@pytest.mark.parametrize("judgement", jax_functions.JUDGEMENTS, ids=lambda j: f"{j.functions[0]}-{j.ruling}")
def test_a_judgement_shows_its_error_and_speaks_of_points_that_there_are(judgement: Any) -> None:
    shown, still = judgement.shown(jax_functions.NAMES)
    assert still, shown
    assert "Error:" not in shown, shown
    assert judgement.ruling in RULINGS
    for function in judgement.functions:
        assert any(f == function and (not judgement.edges or e in judgement.edges) for f, e in POINTS), function


def test_every_entry_of_the_table_is_well_formed() -> None:
    assert len(POINTS) == len(jax_functions.POINTS)  # no point stands twice
    assert len({p.function for p in jax_functions.POINTS}) >= 150
    for p in jax_functions.POINTS:
        _, args = called(p, jax_functions)
        assert len(args) == len(assigned(p.inputs))
        assert any(isinstance(a, jax.Array) and a.dtype.kind == "f" for a in args), p
        assert p.function.startswith("jax."), p


# ---- what the sweep found in gradverify -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "edge"),
    [
        ("jax.numpy.nansum", "nan"),  # a NaN among the inputs cost every entry its budget
        ("jax.lax.cummax", "ties"),  # where the running extreme stands was held, and its ties with it
        ("jax.lax.cumlogsumexp", "far, far"),  # one shift for all entries
        ("jax.scipy.special.i0e", "ordinary"),
        (
            "jax.numpy.fmod",
            "large",
        ),  # rounding of large inputs passed for another function, and a sawtooth for a flat one
        ("jax.numpy.std", "offset"),
    ],
)
def test_what_was_wrong_with_ourselves(function: str, edge: str) -> None:
    row = swept(function, edge)
    assert row.outcome == "PASS", row


def test_what_jax_does_not_implement_is_no_wrong_gradient() -> None:
    row = swept("jax.Array.at.multiply", "repeated")
    assert (row.outcome, row.what) == ("INCONCLUSIVE", "subject"), row
    assert "unique_indices" in row.message
