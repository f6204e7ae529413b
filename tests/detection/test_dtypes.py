"""Entries of the catalogue in other dtypes: what is cast, and what is left out with a reason."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from bench.detection.catalogue import Entry, mutants  # noqa: E402
from bench.detection.dtypes import DTYPES, in_dtype  # noqa: E402
from bench.detection.tools import NotApplicable  # noqa: E402


def entry(fn, *args, **more) -> Entry:
    return Entry(name="n", bug=more.pop("bug", 2), about="", make=lambda: (fn, args), **more)


@pytest.mark.parametrize("dtype", DTYPES[:4])
def test_real_arrays_are_cast_and_integers_are_not(dtype: str) -> None:
    x, at = torch.zeros(3, dtype=torch.float64, requires_grad=True), torch.tensor([0, 2])
    fn, args = in_dtype(entry(lambda x, at: x[at], x, at), dtype).make()
    assert [a.dtype for a in args] == [getattr(torch, dtype), torch.int64]
    assert args[0].requires_grad
    assert fn(*args).dtype == getattr(torch, dtype)


def test_a_module_is_cast() -> None:
    net = torch.nn.Linear(3, 2).double()
    fn, args = in_dtype(entry(net, torch.ones(1, 3, dtype=torch.float64)), "bfloat16").make()
    assert fn(*args).dtype is torch.bfloat16


def test_complex_numbers_keep_their_kind() -> None:
    z, x = torch.ones(2, dtype=torch.complex128), torch.ones(2, dtype=torch.float64)
    _, args = in_dtype(entry(lambda z, x: z * x, z, x), "complex64").make()
    assert [a.dtype for a in args] == [torch.complex64, torch.float32]


def numpy_backward() -> type:
    class OverNumPy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return torch.from_numpy(g.numpy() * 2)

    return OverNumPy


@pytest.mark.parametrize(
    ("case", "dtype", "why"),
    [
        (entry(torch.sin, torch.ones(2)), "complex64", "real numbers"),
        (entry(torch.sin, torch.ones(2, dtype=torch.complex128)), "float16", "no 16 bits"),
        (entry(torch.linalg.inv, torch.eye(2)), "bfloat16", "forward pass raises"),
        (entry(torch.log, torch.tensor([1e-300], dtype=torch.float64)), "float32", "an argument leaves the range"),
        (entry(torch.exp, torch.tensor([20.0])), "float16", "its value leaves the range"),
        (entry(numpy_backward().apply, torch.ones(2, requires_grad=True), bug=0), "bfloat16", "backward pass raises"),
    ],
)
def test_what_takes_no_such_array_is_left_out(case: Entry, dtype: str, why: str) -> None:
    with pytest.raises(NotApplicable, match=why):
        in_dtype(case, dtype).make()


def test_what_raises_in_its_own_dtype_as_well_is_asked() -> None:
    def fn(x):
        raise ValueError

    assert in_dtype(entry(fn, torch.ones(2)), "float32").make()


def _gradients(e: Entry, fn, args, cast) -> list[torch.Tensor]:
    given = [cast(a).detach().requires_grad_() for a in args]
    out = fn(*given)
    g = torch.linspace(-1.5, 2.0, out.numel(), dtype=torch.float64).reshape(out.shape)
    return [d.double() for d in torch.autograd.grad(out, given, cast(g).to(out.dtype))]


def test_a_tail_that_underflows_loses_no_digits() -> None:
    e = next(m for m in mutants() if m.name == "numpy-tail-of-tanh")
    with pytest.raises(NotApplicable, match="no digit is lost"):
        in_dtype(e, "float16").make()
    assert in_dtype(e, "float32").make()


def test_what_keeps_its_first_call_has_not_been_called() -> None:
    fn, args = in_dtype(next(m for m in mutants() if m.name == "state-cached-norm"), "float32").make()
    assert not fn.cache
    assert args[0].dtype is torch.float32


NOWHERE = [(e, d) for e in mutants() if e.framework == "torch" for d in sorted(e.none_in)]


@pytest.mark.parametrize(("e", "dtype"), NOWHERE, ids=[f"{e}-{d}" for e, d in NOWHERE])
def test_what_is_no_mistake_in_a_dtype_is_no_further_off_than_its_mended_twin(e: Entry, dtype: str) -> None:
    """In ulps of each entry, over values of many sizes; the twin in float64 is the truth. (In it, it is a mistake.)"""
    assert e.correct is not None
    narrow, rng = getattr(torch, dtype), torch.Generator().manual_seed(0)
    worst = {"mutant": 0.0, "mended": 0.0}
    for _ in range(20):
        _, args = e.make()
        args = [torch.rand(a.shape, generator=rng, dtype=torch.float64) * 1.5 + 0.5 for a in args]
        args = [a.to(narrow).double() for a in args]
        true = _gradients(e, e.correct()[0], args, lambda t: t.to(narrow).double())
        for name, make in (("mutant", e.make), ("mended", e.correct)):
            found = _gradients(e, make()[0], args, lambda t: t.to(narrow))
            off = max(float(((a - b).abs() / b.abs().max()).max()) for a, b in zip(found, true))
            worst[name] = max(worst[name], off)
    assert worst["mutant"] <= 1.01 * worst["mended"], worst
    assert "float64" not in e.none_in


def test_there_are_such() -> None:
    assert len(NOWHERE) > 8
