"""Samples of PyTorch's own OpInfo database, with the outcomes that are wanted; `bench/opinfo` asks all of them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bench.opinfo.samples import SEED, Place, sample  # noqa: E402
from gradverify.api import check  # noqa: E402
from gradverify.core.verdict import FailKind, Outcome, Reason, Verdict  # noqa: E402

REAL, COMPLEX = "float64", "complex128"


def judged(operator: str, index: int, dtype: str = REAL) -> Verdict:
    warnings.simplefilter("ignore")
    asked = sample(Place(dtype, operator, index))
    torch.manual_seed(SEED + index)
    return check(asked.fn, *asked.args, kwargs=asked.kwargs, effort="quick", order=1)


RIGHT: tuple[tuple[Any, ...], ...] = (
    # Running statistics are updated, by operators whose schema says so and by those whose does not.
    ("_batch_norm_with_update", 0), ("_native_batch_norm_legit", 3), ("native_batch_norm", 6),
    ("nn_functional_batch_norm", 0), ("nn_functional_instance_norm", 2), ("nn_functional_instance_norm", 5),
    # Saved statistics require no grad beside outputs that do.
    ("native_layer_norm", 0), ("_native_batch_norm_legit", 0), ("linalg_lstsq", 0),
    # Keywords that are called as arguments of ours.
    ("nn_functional_linear_cross_entropy_chunked", 0), ("nn_functional_linear_cross_entropy_chunked_none", 25),
    # A part of a storage, of which as_strided reads another.
    ("as_strided_partial_views", 0), ("as_strided_partial_views", 1, COMPLEX), ("as_strided_partial_views", 2, COMPLEX),
    ("as_strided", 1, COMPLEX),
    # Into complex32, which NumPy has not.
    ("chalf", 0), ("chalf", 1, COMPLEX), ("chalf", 4, COMPLEX),
    # Logarithms of running sums that are no principal values.
    ("logcumsumexp", 2, COMPLEX), ("logcumsumexp", 3, COMPLEX), ("logcumsumexp", 3),
    # Complex numbers as fills and paddings, conjugate transposes.
    ("masked_fill", 0, COMPLEX), ("masked_fill", 5, COMPLEX), ("constant_pad_nd", 0, COMPLEX),
    ("nn_functional_pad_constant", 0, COMPLEX),
    ("cholesky", 0, COMPLEX), ("cholesky", 1, COMPLEX), ("linalg_cholesky", 1, COMPLEX), ("cholesky_solve", 0, COMPLEX),
    ("linalg_pinv", 0), ("pinverse", 0), ("linalg_pinv_hermitian", 0),
    # And some of every family.
    ("add", 0), ("addmm", 1, COMPLEX), ("cumprod", 0), ("cdist", 0), ("einsum", 0), ("fft_fft", 0, COMPLEX), ("gather", 0),
    ("index_put", 0), ("linalg_inv", 0, COMPLEX), ("linalg_svdvals", 0), ("masked_softmax", 0), ("nn_functional_conv2d", 0),
    ("nn_functional_gelu", 0), ("scatter_add", 0), ("special_ndtri", 0), ("std_mean", 0), ("tril", 0), ("where", 0),
)  # fmt: skip


@pytest.mark.parametrize("place", RIGHT, ids=lambda p: "-".join(map(str, p)))
def test_a_right_sample_passes(place: tuple[Any, ...]) -> None:
    verdict = judged(*place)
    assert verdict.outcome is Outcome.PASS, verdict.text()
    assert not verdict.power > 1e-6  # by its definition, not by differences alone


@pytest.mark.parametrize(
    ("place", "form"),
    [(("tanh", 0), "tanh"), (("sigmoid", 0, COMPLEX), "sigmoid"), (("digamma", 0), "digamma"),
     (("nn_functional_hardsigmoid", 0), "hardsigmoid"), (("logcumsumexp", 0), "cumulative_logsumexp")],
)  # fmt: skip
def test_what_a_declared_formula_loses_is_known(place: tuple[Any, ...], form: str) -> None:
    verdict = judged(*place)
    assert verdict.outcome is Outcome.KNOWN, verdict.text()
    assert verdict.known.startswith(form)


def test_a_formula_that_loses_digits_is_weak() -> None:
    verdict = judged("logcumsumexp", 0, COMPLEX)
    assert verdict.outcome is Outcome.WEAK, verdict.text()


FINDINGS: tuple[tuple[tuple[Any, ...], FailKind], ...] = (
    (("as_strided_scatter", 0), FailKind.WRONG),
    (("as_strided_scatter", 2, COMPLEX), FailKind.WRONG),
    (("normal", 0), FailKind.WRONG),
    (("matrix_exp", 1), FailKind.LAW),
    (("nn_functional_nll_loss", 20), FailKind.LAW),
    (("nn_functional_max_unpool3d_grad", 0), FailKind.LAW),
)
"""Each is in docs/findings.md, with its closed form."""


@pytest.mark.parametrize(("place", "kind"), FINDINGS, ids=lambda p: str(p))
def test_a_finding_fails(place: tuple[Any, ...], kind: FailKind) -> None:
    verdict = judged(*place)
    assert verdict.outcome is Outcome.FAIL, verdict.text()
    assert verdict.kind is kind


@pytest.mark.parametrize(
    ("operator", "index"),
    [("nn_functional_max_unpool1d", 95), ("nn_functional_max_unpool2d", 95), ("nn_functional_max_unpool3d", 95)],
)
def test_an_entry_that_several_are_put_to_is_undefined(operator: str, index: int) -> None:
    verdict = judged(operator, index)
    assert verdict.outcome is Outcome.INCONCLUSIVE, verdict.text()
    assert verdict.reason is Reason.UNTRACED
    assert "undefined which one stays" in verdict.message


def test_each_failing_operator_has_a_finding() -> None:
    from bench import findings
    from bench.opinfo import triage

    assert {*triage.FINDINGS.values()} <= {f.what for f in findings.FINDINGS}
    assert {operator for (operator, *_), _ in FINDINGS} <= {*triage.FINDINGS}
