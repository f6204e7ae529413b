"""The sweep over PyTorch, by its quickest and most common functions; and what it found in gradverify."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from bench.sweep import run, torch_functions, work  # noqa: E402
from bench.sweep.points import RULINGS, Point, assigned, called, last, parsed  # noqa: E402
from gradverify import Outcome, Reason, check  # noqa: E402

from ..helpers import judge  # noqa: E402

F64 = torch.float64

COMMON = """
torch.add torch.sub torch.mul torch.div torch.pow torch.exp torch.log torch.sqrt torch.sin torch.tanh torch.sigmoid
torch.abs torch.clamp torch.where torch.maximum torch.sum torch.mean torch.var torch.amax torch.logsumexp torch.cumsum
torch.sort torch.cat torch.stack torch.gather torch.index_select torch.matmul torch.bmm torch.einsum torch.tril
torch.det torch.linalg.solve torch.linalg.cholesky torch.linalg.vector_norm torch.special.log_ndtr
torch.nn.functional.relu torch.nn.functional.gelu torch.nn.functional.softmax torch.nn.functional.layer_norm
torch.nn.functional.linear torch.nn.functional.conv2d torch.nn.functional.max_pool2d torch.nn.functional.cross_entropy
torch.nn.functional.scaled_dot_product_attention torch.Tensor.expand torch.Tensor.__getitem__
""".split()

# What PyTorch 2.13 is wrong about, as far as it takes a tenth of a second: a repaired one fails here, and goes.
WRONG = {
    "torch.det": "singular",
    "torch.ldexp": "negative exponents",
    "torch.cholesky_inverse": "the triangle that is not read",
    "torch.linalg.cond": "p=fro",
    "torch.nn.functional.nll_loss": "images",
    "torch.nn.functional.cosine_similarity": "tiny",
    "torch.nn.functional.hardsigmoid": "0-d",
    "torch.asinh": "beyond the square's range",
}

POINTS = {(p.function, p.edge): p for p in torch_functions.POINTS}


def swept(function: str, edge: str = run.ORDINARY) -> work.Row:
    return work.judged(POINTS[function, edge], torch_functions, 60.0, "quick")


@pytest.mark.parametrize("function", COMMON)
def test_a_common_function_passes(function: str) -> None:
    row = swept(function)
    assert row.outcome == "PASS", row


@pytest.mark.parametrize("function", WRONG)
def test_what_pytorch_is_wrong_about_is_found(function: str) -> None:
    row = swept(function, WRONG[function])
    assert row.outcome in ("FAIL", "KNOWN"), row
    assert run.explained(row, torch_functions.JUDGEMENTS)


@pytest.mark.parametrize("judgement", torch_functions.JUDGEMENTS, ids=lambda j: f"{j.functions[0]}-{j.ruling}")
def test_a_judgement_shows_its_error_and_speaks_of_points_that_there_are(judgement) -> None:
    shown, still = judgement.shown(torch_functions.NAMES)
    assert still, shown
    assert judgement.ruling in RULINGS
    for function in judgement.functions:
        assert any(f == function and (not judgement.edges or e in judgement.edges) for f, e in POINTS), function


def test_every_entry_of_the_table_is_well_formed() -> None:
    assert len(POINTS) == len(torch_functions.POINTS)  # no point stands twice
    assert len({p.function for p in torch_functions.POINTS}) >= 250
    for p in torch_functions.POINTS:
        assert last(p.function, dict(torch_functions.NAMES)) is not None, p.function
        method = p.function.startswith("torch.Tensor.")
        assert method or f"{p.function}(" in p.call, p
        _, args = called(p, torch_functions)
        assert len(args) == len(assigned(p.inputs))
        assert any(isinstance(a, torch.Tensor) and a.is_floating_point() for a in args), p


def test_a_table_reads_as_it_says() -> None:
    first, edge, *layouts = parsed(
        """
torch.clamp: f(x, -1., 1.) | x = real(5)
    max only: f(x, max=.5) |
    + layouts
"""
    )
    assert first == Point("torch.clamp", "ordinary", "torch.clamp(x, -1., 1.)", "x = real(5)")
    assert edge == Point("torch.clamp", "max only", "torch.clamp(x, max=.5)", "x = real(5)")
    assert [p.said for p in layouts] == [
        "torch.clamp(x, -1., 1.) | x = real()",
        "torch.clamp(x, -1., 1.) | x = real(0)",
        "torch.clamp(x.T, -1., 1.) | x = real(2, 3)",
        "torch.clamp(x[::2], -1., 1.) | x = real(6)",
    ]


def test_what_breaks_is_a_row_of_the_sweep_and_not_its_end() -> None:
    def judged(call: str, limit: float = 60.0) -> work.Row:
        return work.judged(Point("f", "e", call, "x = real(3)"), torch_functions, limit, "quick")

    assert judged("torch.nonsense(x)").outcome == "REFUSED"
    assert judged("1 // 0").outcome == "REFUSED"
    assert judged("x.argmax()").outcome == "REFUSED"
    assert judged("[torch.sin(x) for _ in iter(int, 1)]", limit=0.5).what == "time limit"


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=F64)


def test_a_gradient_without_memory_is_zero() -> None:
    """PyTorch's gradient of sgn is a ZeroTensor, which has no storage to read."""
    assert judge(torch.sgn, randn(4))


def test_arguments_that_autograd_refuses_are_held() -> None:
    """Class weights may not require grad: the loss is judged with respect to its other arguments."""
    loss = lambda x, w: torch.nn.functional.nll_loss(x, torch.tensor([0, 2, 1]), weight=w)
    verdict = judge(loss, randn(3, 4), randn(4).abs())
    assert verdict
    assert {c.of for c in verdict.comparisons} == {"out", "dx"}


def test_asking_for_what_autograd_refuses_is_still_answered_with_its_message() -> None:
    loss = lambda x, w: torch.nn.functional.nll_loss(x, torch.tensor([0, 2, 1]), weight=w)
    verdict = judge(loss, randn(3, 4), randn(4).abs(), wrt="w")
    assert verdict.outcome is Outcome.FAIL
    assert "not differentiable with respect to argument" in verdict.message


@pytest.mark.parametrize("fn", [lambda x: torch.heaviside(x, x), lambda x: torch.linalg.qr(x, mode="complete")])
def test_a_derivative_that_pytorch_says_it_lacks_is_no_wrong_one(fn) -> None:
    verdict = judge(fn, randn(4, 3))
    assert verdict.reason is Reason.NO_RULE


def test_a_function_that_refuses_strided_inputs_is_in_its_right() -> None:
    assert judge(lambda x: x.view(-1), randn(2, 3))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: torch.kthvalue(x, 2).values,
        lambda x: torch.mode(x).values,
        lambda x: torch.cummax(x, 0).values,
        lambda x: torch.median(x, 0).values,
    ],
)
def test_which_of_equal_entries_is_taken_is_pytorchs_choice(fn) -> None:
    assert judge(fn, torch.tensor([3.0, 3.0, 3.0, 1.0], dtype=F64))


@pytest.mark.parametrize("reduce", ["prod", "amax", "amin"])
@pytest.mark.parametrize("own", [True, False])
def test_scatter_reduce_is_traced(reduce: str, own: bool) -> None:
    k = torch.tensor([0, 0, 2, 2, 0])
    verdict = judge(lambda x, y: x.scatter_reduce(0, k, y, reduce, include_self=own), randn(4), randn(5, 1)[:, 0])
    assert verdict
    assert not any("cannot be traced" in n for n in verdict.notes)


def test_pow_in_place() -> None:
    assert judge(lambda x: (x * 1).pow_(3), randn(4))


def test_the_padding_row_of_an_embedding_passes_no_gradient() -> None:
    k = torch.tensor([0, 2, 2])
    assert judge(lambda w: torch.nn.functional.embedding(k, w, padding_idx=2), randn(4, 3))


def test_what_pytorch_leaves_undefined_is_not_judged() -> None:
    """Of several values written to one place one stays, and the documentation leaves open which."""
    put = lambda x, y, k: x.index_put((k,), y)
    assert judge(put, randn(4), randn(2, 1)[:, 0], torch.tensor([2, 0]))
    twice = judge(put, randn(4), randn(2, 1)[:, 0], torch.tensor([2, 2]))
    assert twice.reason is Reason.UNTRACED
    assert "undefined" in twice.message


def test_a_matrix_that_has_no_factor_is_outside_the_domain() -> None:
    """`cholesky_ex` does not raise: the judge's own NumPy must not either."""
    verdict = judge(lambda x: torch.linalg.cholesky_ex((x + x.mT) / 2)[0], -torch.eye(2, dtype=F64))
    assert verdict.reason is Reason.DOMAIN


def test_a_view_that_is_edited_with_its_input_is_no_broken_law() -> None:
    assert check(lambda x: x.unflatten(0, (2, 2)), randn(4))
