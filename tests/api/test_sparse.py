"""Sparse tensors of PyTorch: as arguments, as results, as gradients."""

from __future__ import annotations

from typing import Any

import pytest

from gradverify import check
from gradverify.core.verdict import FailKind, Outcome, Reason

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:.*Sparse.*:UserWarning")

F64 = torch.float64
A = torch.tensor([[0.0, 1.5, 0.0], [0.7, 0.0, -2.0]], dtype=F64)
W = torch.tensor([[0.5, -0.2], [0.1, 0.9], [-1.3, 0.8]], dtype=F64)
TWICE = torch.sparse_coo_tensor([[0, 0, 1], [1, 1, 0]], torch.tensor([0.5, 0.7, -1.0], dtype=F64), (2, 3))

SPARSE = {"coo": A.to_sparse(), "csr": A.to_sparse_csr(), "csc": A.to_sparse_csc(), "uncoalesced": TWICE}

FUNCTIONS = {
    "mm": lambda s, w: s @ w,
    "torch.sparse.mm": lambda s, w: torch.sparse.mm(s, w),
    "to_dense": lambda s, w: torch.tanh(s.to_dense() @ w),
    "a sparse result": lambda s, w: s * w.sum(),
}


@pytest.mark.parametrize("what", FUNCTIONS)
@pytest.mark.parametrize("layout", SPARSE)
def test_sparse_arguments(layout: str, what: str) -> None:
    s = SPARSE[layout]
    if layout == "csc" and what in ("torch.sparse.mm", "a sparse result"):
        with pytest.raises(RuntimeError):  # PyTorch 2.13 has no backward pass for it
            FUNCTIONS[what](A.to_sparse_csc().requires_grad_(), W.clone().requires_grad_()).sum().backward()
        return
    verdict = check(FUNCTIONS[what], s, W, effort="quick")
    assert verdict, verdict.text()
    sizes = {c.of: c.size for c in verdict.comparisons}
    assert sizes["ds"] == s._nnz()
    assert verdict.power < 1e-12  # held against the dense function, not against differences
    assert any("stored values" in n for n in verdict.notes)


class Product(torch.autograd.Function):
    """Sparse times dense; its gradient with respect to the sparse one is off by `factor`."""

    @staticmethod
    def forward(ctx: Any, s: Any, w: Any, factor: float) -> Any:
        ctx.save_for_backward(s, w)
        ctx.factor = factor
        return s @ w

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        s, w = ctx.saved_tensors
        return (g @ w.T * ctx.factor).sparse_mask(s), s.t().to_dense() @ g, None


def test_a_custom_sparse_product() -> None:
    s = A.to_sparse().coalesce()
    right = check(lambda s, w: Product.apply(s, w, 1.0), s, W, order=1)
    assert right, right.text()
    wrong = check(lambda s, w: Product.apply(s, w, 1.5), s, W, order=1, effort="quick")
    assert wrong.kind is FailKind.WRONG
    assert "ds[" in wrong.message


def test_a_function_of_sparse_tensors_alone_is_held_against_differences() -> None:
    verdict = check(lambda s: s.values() * 2, A.to_sparse_csr(), effort="quick")
    assert verdict, verdict.text()
    assert any("differences" in n for n in verdict.notes)


def test_other_sizes_are_not_tried_on_a_fixed_pattern() -> None:
    """PyTorch reads beyond the end of values that are fewer than their indices."""
    for s in SPARSE.values():
        verdict = check(FUNCTIONS["mm"], s, W)
        assert verdict, verdict.text()
        assert "other values" in verdict.facts["tried"]
        assert any(t.startswith("an empty batch") and "stored" in t for t in verdict.facts["skipped"])


def test_requires_grad_decides_as_for_dense_ones() -> None:
    verdict = check(FUNCTIONS["mm"], A.to_sparse().requires_grad_(), W, effort="quick")
    assert {c.of for c in verdict.comparisons} == {"out", "ds"}


def test_a_sparse_result_of_dense_arguments() -> None:
    verdict = check(lambda x: (x * 2).to_sparse(), A + 1, effort="quick")
    assert verdict, verdict.text()
    assert any("the result is sparse" in n for n in verdict.notes)


def test_sparse_gradients_are_compared_as_dense_ones() -> None:
    rows = torch.tensor([[0, 2], [2, 2]])
    lookup = lambda w: torch.nn.functional.embedding(rows, w, sparse=True)
    verdict = check(lookup, W, effort="quick")
    assert verdict, verdict.text()

    class Lookup(torch.autograd.Function):
        """An uncoalesced gradient; wrong where an index that is met again is left out."""

        @staticmethod
        def forward(ctx: Any, w: Any, all_of_them: bool) -> Any:
            ctx.all = all_of_them
            return w[rows.flatten()]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            found = rows.flatten()[None]
            keep = slice(None) if ctx.all else slice(0, 2)
            return torch.sparse_coo_tensor(found[:, keep], g[keep], (3, 2)), None

    assert check(lambda w: Lookup.apply(w, True), W, effort="quick", order=1)
    wrong = check(lambda w: Lookup.apply(w, False), W, effort="quick", order=1)
    assert wrong.kind is FailKind.WRONG
    assert "dw[2" in wrong.message


def test_an_embedding_module_with_sparse_gradients() -> None:
    bag = torch.nn.EmbeddingBag(4, 3, mode="sum", sparse=True).double()
    verdict = check(bag, torch.tensor([0, 1, 1, 3]), torch.tensor([0, 2]), effort="quick")
    assert verdict, verdict.text()


def test_higher_orders_are_refused() -> None:
    for options in ({"order": 2}, {"order": 2, "modes": "fwd"}):
        verdict = check(FUNCTIONS["mm"], A.to_sparse(), W, **options)
        assert verdict.reason is Reason.NO_RULE
        assert "first order alone" in verdict.message


BLOCKS = [
    A.repeat(2, 2).to_sparse_bsr((2, 3)),
    A.repeat(2, 2).to_sparse_bsc((2, 1)),
    torch.eye(4, dtype=F64).to_sparse_bsr((2, 2)),
]


@pytest.mark.parametrize("blocks", BLOCKS, ids=["bsr", "bsc", "some stored"])
def test_blocks(blocks: Any) -> None:
    assert check(lambda s: s.to_dense() ** 2, blocks, effort="quick").outcome is Outcome.PASS
    assert check(lambda s: torch.sum(s), blocks, effort="quick").outcome is Outcome.PASS

    class Off(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, s: Any) -> Any:
            return s.to_dense() * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            g = g.clone()
            g[0, 0] *= 1.5
            return g.to_sparse(layout=blocks.layout, blocksize=blocks.values().shape[1:])

    assert check(Off.apply, blocks, effort="quick").outcome is Outcome.FAIL


def test_batches_are_refused() -> None:
    verdict = check(lambda s: s.to_dense(), torch.eye(4, dtype=F64).expand(2, 4, 4).to_sparse_csr())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason is Reason.UNTRACED
    assert "sparse_csr" in verdict.message
