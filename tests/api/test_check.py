"""gradverify.check and assert_gradients: what they take, what they say, and each kind of bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import gradverify
from gradverify import BadInput, Outcome, Reason, assert_gradients, check
from gradverify.core.verdict import FailKind

from ..helpers import judge

torch = pytest.importorskip("torch")

from gradverify.frameworks.recognise import asking  # noqa: E402

F64 = torch.float64


def randn(*shape: int, dtype: Any = F64) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=F64).to(dtype)


X, W = randn(3, 4), randn(4)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * g * x * x


class Wrong(Cube):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * g * x


@torch.library.custom_op("gradverify_tests::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    return x * x * x


cube.register_autograd(
    lambda ctx, g: 3 * g * ctx.saved_tensors[0] ** 2,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


RIGHT: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "a function": (lambda x, w: torch.tanh(x @ w), (X, W), {}),
    "a builtin": (torch.sin, (X,), {}),
    "a module": (torch.nn.Linear(4, 2).double(), (X,), {}),
    "an autograd.Function": (Cube.apply, (X,), {}),
    "a custom op": (cube, (X,), {}),
    "keyword arguments": (lambda x, *, w: (x * w).sum(), (X,), {"kwargs": {"w": W}}),
    "nested arguments": (lambda p, xs: p["w"] * xs[0] + xs[1][0], ({"w": W}, [X, (X + 1,)]), {}),
    "several outputs": (lambda x: (x.sin(), {"c": x.cos()}, x.argmax()), (X,), {}),
    "integer arguments": (lambda x, i: x[i], (X, torch.tensor([0, 0, 2])), {}),
    "an input that is not used": (lambda x, w: x.sin(), (X, W), {}),
    "0-d": (torch.sin, (torch.tensor(0.3, dtype=F64),), {}),
    "no entries": (torch.sin, (torch.zeros(0, 3, dtype=F64),), {}),
    "the same tensor twice": (lambda a, b: a * b, (X, X), {}),
    "overlapping memory": (lambda x: x.sin() * x, (W.expand(3, 4),), {}),
    "float32": (lambda x, w: torch.tanh(x @ w), (X.float(), W.float()), {}),
    "dropout": (lambda x: torch.nn.functional.dropout(x, 0.5), (X,), {}),
    "checkpointed": (lambda x: torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False), (X,), {}),
    "in-place on an intermediate": (lambda x: x.clone().mul_(2).sin_(), (X,), {}),
    "a branch": (lambda x: x.sin() if x.sum() > 0 else x.cos(), (X,), {}),
}


@pytest.mark.parametrize("what", RIGHT)
def test_right(what: str) -> None:
    fn, args, options = RIGHT[what]
    verdict = judge(fn, *args, **options)
    assert verdict.outcome is Outcome.PASS, verdict.text()


def test_normal_effort_looks_around() -> None:
    verdict = check(torch.sin, X)
    assert verdict, verdict.text()
    assert {"as given", "other values", "a larger batch", "float32"} <= set(verdict.facts["tried"])


def test_a_defect_that_this_point_hides() -> None:
    class OnOnes(Cube):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 3 * g

    ones = torch.ones(3, dtype=F64)
    assert judge(OnOnes.apply, ones)
    assert check(OnOnes.apply, ones).outcome is Outcome.FAIL


def test_assert_gradients() -> None:
    assert assert_gradients(Cube.apply, X, effort="quick").outcome is Outcome.PASS
    with pytest.raises(gradverify.WrongGradient, match="FAIL") as caught:
        assert_gradients(Wrong.apply, X, effort="quick")
    assert isinstance(caught.value, AssertionError)
    assert caught.value.verdict.kind is FailKind.WRONG


def test_tensors_that_require_grad_are_the_ones_that_are_differentiated() -> None:
    verdict = judge(lambda x, w: x @ w, X.clone().requires_grad_(), W)
    assert [c.of for c in verdict.comparisons] == ["out", "dx"]
    both = judge(lambda x, w: x @ w, X, W)
    assert [c.of for c in both.comparisons] == ["out", "dx", "dw"]


def test_wrt() -> None:
    verdict = judge(lambda x, w: x @ w, X, W, wrt="w")
    assert [c.of for c in verdict.comparisons] == ["out", "dw"]


def test_cotangent() -> None:
    """A backward that ignores its cotangent is right for a cotangent of ones."""

    class Deaf(Cube):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x * x

    assert judge(Deaf.apply, X, cotangent=torch.ones(3, 4, dtype=F64)).kind is FailKind.LAW  # but does not scale
    assert judge(Deaf.apply, X).kind is FailKind.WRONG


def test_reference() -> None:
    """Arguments correspond by position; names may differ."""
    assert judge(lambda x: x.sin(), X, reference=lambda y: torch.sin(y))
    assert judge(lambda x: x.sin(), X, reference=lambda y: torch.cos(y)).outcome is Outcome.FAIL
    with pytest.raises(BadInput, match="missing 1 required positional argument: 'z'"):
        judge(lambda x: x.sin(), X, reference=lambda y, z: y)


HIDDEN = """
import json
import numpy as np
import torch
import gradverify

@torch.library.custom_op("gradverify_tests::hidden", mutates_args=())
def hidden(x: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.sin(x.detach().numpy()))

hidden.register_autograd(
    lambda ctx, g: g * torch.cos(ctx.saved_tensors[0]),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
w = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
blind = gradverify.check(hidden, w, effort="quick")
told = gradverify.check(hidden, w, effort="quick", reference=torch.sin)
print(json.dumps([[v.outcome.value, v.power, list(v.notes), v.text()] for v in (blind, told)]))
"""


def test_what_cannot_be_traced_is_judged_by_a_reference_or_less_sharply() -> None:
    # In a process of its own: after a thousand other tests in one process, calling the op was seen to raise. Not yet
    # explained; a registration that outlives its test is the suspect.
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HIDDEN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (blind, sharpness, notes, text), (told, sharper, _, _) = json.loads(done.stdout.splitlines()[-1])
    assert blind == told == "PASS", text
    assert any("no definition" in n for n in notes)
    assert sharper < 1e-13 < sharpness


def no_grad_softmax(x: Any) -> Any:
    with torch.no_grad():
        s = x.exp().sum(-1, keepdim=True)
    return x.exp() / s


DETACHING: dict[str, tuple[Any, str]] = {
    "detach": (lambda x: x * x.detach(), "(detach)"),
    "computed from what is detached": (lambda x: x * x.detach().exp().sum(), "(detach)"),
    ".data": (lambda x: x.sin() + x.data**2, "(detach)"),
    "no_grad": (no_grad_softmax, "(sum, under no_grad)"),
    "a straight-through estimator": (lambda x: x + (x.round() - x).detach(), "(detach)"),
    "of one of two arguments": (lambda x: x.sin() * x.t().sum().detach(), "(detach)"),
    "a copy": (lambda x: x * torch.tensor(x), "(detach)"),
}


@pytest.mark.filterwarnings("ignore:To copy construct")
@pytest.mark.parametrize("name", DETACHING)
def test_what_is_right_only_if_it_is_held_fixed_fails_unless_it_is_meant(name: str) -> None:
    f, op = DETACHING[name]
    verdict = judge(f, X)
    assert verdict.kind is FailKind.DETACHED, verdict.text()
    (where,) = verdict.facts["detached"]
    line = f.__code__.co_firstlineno + (2 if f is no_grad_softmax else 0)
    assert where.endswith(f"test_check.py:{line} {op}")
    assert where in verdict.message
    assert "relative" in verdict.message or "off by" in verdict.message
    assert "stop_gradients=True" in verdict.message
    assert verdict.culprit is None
    meant = judge(f, X, stop_gradients=True)
    assert meant, meant.text()
    assert meant.facts["held"]
    assert any("holds it fixed" in n for n in meant.notes)


def test_what_is_detached_where_it_does_not_matter_passes() -> None:
    def softmax(x: Any) -> Any:
        y = (x - x.amax(-1, keepdim=True).detach()).exp()
        return y / y.sum(-1, keepdim=True)

    verdict = judge(softmax, X)
    assert verdict, verdict.text()
    assert any("differentiates through it" in n for n in verdict.notes)


def test_a_declared_detach_excuses_nothing_else() -> None:
    verdict = judge(lambda x: Wrong.apply(x) * x.detach(), X, stop_gradients=True)
    assert verdict.kind is FailKind.WRONG
    undeclared = judge(lambda x: Wrong.apply(x) * x.detach(), X)
    assert undeclared.kind is FailKind.WRONG


class Foreign(torch.autograd.Function):
    """sin, by another library."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0].cos()


def test_what_cannot_be_traced_cannot_be_held_fixed() -> None:
    f = lambda x: Foreign.apply(x) * x.detach()
    assert judge(f, X).kind is FailKind.WRONG  # held against differences
    verdict = judge(f, X, stop_gradients=True)
    assert verdict.reason is Reason.UNTRACED
    assert "cannot be held fixed" in verdict.message


@pytest.mark.parametrize(
    "f",
    [
        lambda x: torch.nn.functional.gumbel_softmax(x, hard=True),
        lambda x: torch.nn.functional.embedding(torch.tensor([0, 1, 1]), x, padding_idx=1),
        torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(X.shape[-1], 3, dtype=X.dtype)),
    ],
    ids=["gumbel_softmax", "padding_idx", "spectral_norm"],
)
def test_what_pytorch_documents_to_pass_no_gradient_needs_no_declaration(f: Any) -> None:
    verdict = judge(f, X)
    assert verdict, verdict.text()
    assert any("documents to pass no gradient" in n for n in verdict.notes)


# ---- functions that ask whether they are compiled ----------------------------------------------------------------------


def asking_sine(ask: Any) -> Any:
    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0].cos() * (2.0 if ask() else 1.0)

    return Sine.apply


imported = torch.compiler.is_compiling


def test_what_asks_whether_it_is_compiled_is_asked_compiled_too() -> None:
    verdict = gradverify.check(asking_sine(lambda: imported()), X)
    assert verdict.kind is FailKind.WRONG, verdict.text()
    assert "torch.compile" in verdict.message
    right = gradverify.check(asking_sine(lambda: imported() and False), X)
    assert right, right.text()
    assert "torch.compile" in right.facts["tried"]


def test_who_asks() -> None:
    """PyTorch's own functions ask all the time; afterwards nobody listens."""
    with asking() as asked:
        torch.nn.functional.softmax(X, -1)
        assert not asked()
    for ask in (imported, torch.jit.is_scripting, torch.compiler.is_dynamo_compiling):
        before = ask.__code__
        with asking() as asked:
            with asking() as inner:
                assert not inner()
                assert ask() is False
                assert inner()
            assert asked()
        assert ask.__code__ is before
    assert "torch.compile" not in gradverify.check(asking_sine(lambda: False), X).facts["tried"]


# ---- what a run alone shows -------------------------------------------------------------------------------------------


class Halving(torch.autograd.Function):
    """Changes its input and does not say so, either by no means or by a write that PyTorch counts."""

    quietly = True

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        (x.data if Halving.quietly else x).mul_(0.5)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g / 2


@pytest.mark.parametrize("quietly", [True, False])
def test_a_forward_pass_that_changes_its_argument_unseen_fails(quietly: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Halving, "quietly", quietly)
    given = X.clone().requires_grad_()
    verdict = judge(lambda x: Halving.apply(x), given)
    assert verdict.kind is FailKind.LAW, verdict.text()
    assert "changes its argument x" in verdict.message
    assert torch.equal(given, X)


def test_a_backward_pass_that_refuses_an_empty_batch_fails() -> None:
    class Peak(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0].cos() + 0 * g.max()  # no maximum of nothing

    verdict = gradverify.check(Peak.apply, X)
    assert verdict.kind is FailKind.RAISED, verdict.text()
    assert "found with an empty batch" in verdict.message

    class Three(Peak):
        """Whose backward pass is for three rows, and for no other number of them."""

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return (g * ctx.saved_tensors[0].cos()).reshape(3, 4)

    verdict = gradverify.check(Three.apply, X)
    assert verdict, verdict.text()

    def choosy(x: Any) -> Any:
        if not len(x):
            raise ValueError("of nothing there is no sine")
        return x.sin()

    verdict = gradverify.check(choosy, X)
    assert verdict, verdict.text()
    assert any("an empty batch" in s for s in verdict.facts["skipped"])


# ---- what cannot be judged ------------------------------------------------------------------------------------------


def endless(x: Any) -> Any:
    while True:
        x = x * 1.0


class EndlessBackward(Cube):
    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return endless(g)


def writing(x: Any) -> Any:
    x.mul_(2)
    return x.sin()


def raising(x: Any) -> Any:
    raise ZeroDivisionError("of one's own")


BAD: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any], str]] = {
    "not a tensor": (lambda x: x * 2, (3.0,), {}, r"^no array of PyTorch or JAX .*\(got float\)"),
    "a NumPy array": (lambda x: x * 2, (np.ones(3),), {}, "nothing tells whose gradient is meant"),
    "no arguments": (lambda: 2, (), {}, r"\(got nothing\)"),
    "integers only": (lambda x: x * 2, (torch.arange(3),), {}, "no floating-point argument"),
    "raises": (raising, (X,), {}, "the function raising raised ZeroDivisionError: of one's own"),
    "None": (lambda x: None, (X,), {}, "returns no floating-point array"),
    "an integer": (lambda x: x.argmax(), (X,), {}, "returns no floating-point array"),
    "detached": (lambda x: x.detach() * 2, (X,), {}, "returns a detached result"),
    "no_grad": (torch.no_grad()(lambda x: x * 2), (X,), {}, "returns a detached result"),
    "writes to its argument": (writing, (X,), {}, "the function writing writes to its argument x"),
    "hangs": (endless, (X,), {"time_limit": 0.3}, "the function endless hangs: it ran longer than 0.3 s"),
    "hangs backwards": (EndlessBackward.apply, (X,), {"time_limit": 3.0}, "or its backward pass, hangs"),
    "no function": (3, (X,), {}, "must be a function, got int"),
    "an unknown wrt": (torch.sin, (X,), {"wrt": "y"}, "no floating-point argument 'y'"),
    "an unknown effort": (torch.sin, (X,), {"effort": "huge"}, "effort must be one of quick"),
    "an unknown mode": (torch.sin, (X,), {"modes": ("lin",)}, "modes must be some of rev, fwd"),
    "no order": (torch.sin, (X,), {"order": 0}, "order counts from 1"),
    "a cotangent of another shape": (torch.sin, (X,), {"cotangent": torch.ones(2)}, "cotangent: shapes"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_has_its_own_message(what: str) -> None:
    fn, args, options, message = BAD[what]
    with pytest.raises(BadInput, match=message):
        judge(fn, *args, **options)


def test_the_callers_tensors_are_left_alone() -> None:
    x = X.clone()
    with pytest.raises(BadInput, match="writes"):
        judge(writing, x)
    assert torch.equal(x, X)
    assert not x.requires_grad


def test_what_is_raised_stays_attached() -> None:
    with pytest.raises(BadInput) as caught:
        judge(raising, X)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("fn", "args", "message"),
    [
        (lambda x: x.to_dense(), (torch.eye(2, dtype=F64).expand(2, 2, 2).to_sparse_csr(),), "sparse_csr"),
        (lambda x, w: x * w, (X.half(), W.bfloat16()), "float16, float32 in one function"),
        (lambda x, w: x * w, (X, torch.empty(4, device="meta", dtype=F64)), "meta"),
    ],
    ids=["sparse", "mixed dtypes", "mixed devices"],
)
def test_what_is_not_supported_is_inconclusive(fn: Any, args: Any, message: str) -> None:
    verdict = judge(fn, *args)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason is Reason.UNTRACED
    assert message in verdict.message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there() -> None:
    verdict = judge(torch.sin, X, device="cuda")
    assert verdict.reason is Reason.UNAVAILABLE
    with pytest.raises(BadInput, match=r"CUDA|NVIDIA"):
        judge(lambda x: x.cuda().sin(), X)


def test_outside_the_domain_is_not_a_wrong_gradient() -> None:
    verdict = judge(torch.log, -X.abs() - 1)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason is Reason.DOMAIN


def test_a_cotangent_that_is_written_to_is_a_broken_law() -> None:
    class Writes(Cube):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            out = 3 * g * x * x
            g.zero_()
            return out

    verdict = judge(Writes.apply, X)
    assert verdict.kind is FailKind.LAW
    assert "cotangent 0 changed" in verdict.message


# ---- JAX ------------------------------------------------------------------------------------------------------------


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    x = jnp.linspace(0.25, 1.5, 4)
    assert judge(lambda p: jnp.sin(p["a"] * p["b"][0]), {"a": x, "b": [x + 1]})
    assert judge(jax.jit(jnp.sin), x)
    assert judge(lambda x, i: x[i], x, jnp.array([0, 0, 2]))
    wrong = jax.custom_vjp(jnp.exp)
    wrong.defvjp(lambda x: (jnp.exp(x), x), lambda x, g: (g * x,))
    assert judge(wrong, x).kind is FailKind.WRONG
    with pytest.raises(BadInput, match="no floating-point argument"):
        judge(lambda i: i * 2, jnp.arange(3))
