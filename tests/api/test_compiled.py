"""Compiled, scripted and checkpointed functions and functions that differentiate inside: held against one truth."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from gradverify.core.verdict import FailKind, Outcome

torch = pytest.importorskip("torch")

from torch.utils.checkpoint import checkpoint  # noqa: E402

from gradverify.frameworks.torch.compiled import compiling  # noqa: E402

from ..helpers import judge  # noqa: E402

X = torch.tensor([[0.4, -1.1, 0.7], [1.2, 0.3, -0.6]], dtype=torch.float64)
W = torch.tensor([[0.5, -0.2], [0.1, 0.9], [-1.3, 0.8]], dtype=torch.float64)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


class Cube(torch.autograd.Function):
    """x³, whose backward pass is another one where it is compiled."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * g * x * x * (1.01 if torch.compiler.is_compiling() else 1.0)


def forward(x: Any, w: Any) -> Any:
    return torch.tanh(x @ w)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_function_is_judged_as_compiled(backend: str) -> None:
    right = judge(torch.compile(forward, backend=backend), X, W)
    assert right, right.text()
    assert any("the compiled function is what was judged" in n for n in right.notes)
    cube = lambda x: Cube.apply(x)
    assert judge(cube, X)
    wrong = judge(torch.compile(cube, backend=backend), X)
    assert wrong.kind is FailKind.WRONG
    assert "1.01" in wrong.message


def test_a_forward_pass_that_differs_when_it_is_compiled() -> None:
    other = torch.compile(lambda x: x.cos() if torch.compiler.is_compiling() else x.sin(), backend="eager")
    verdict = judge(other, X)
    assert verdict.kind is FailKind.WRONG
    assert any(c.of == "out" and c.failing for c in verdict.comparisons)


def test_it_is_never_run_eagerly_instead() -> None:
    """PyTorch gives up compiling after 8 recompilations, and every layout that is tried is one."""
    cube = torch.compile(lambda x: Cube.apply(x), backend="eager")
    with compiling(cube), torch.no_grad():
        for n in range(2, 14):
            cube(torch.zeros((1,) * n, dtype=torch.float64))
    assert judge(cube, X).kind is FailKind.WRONG


def test_a_compiled_module_and_a_function_that_compiles() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh()).double()
    verdict = judge(torch.compile(net, backend="aot_eager"), X)
    assert verdict, verdict.text()
    assert {c.of for c in verdict.comparisons} == {"out", "dx", "d_orig_mod.0.weight", "d_orig_mod.0.bias"} or any(
        c.of.endswith("0.weight") for c in verdict.comparisons
    )
    assert judge(lambda x: torch.compile(torch.sin, backend="aot_eager")(x) * 2, X)


def test_compiled_random_draws_are_those_of_the_definition() -> None:
    drop = torch.compile(lambda x: torch.nn.functional.dropout(x, 0.5), backend="aot_eager")
    verdict = judge(drop, X)
    assert verdict, verdict.text()
    assert verdict.power < 1e-12  # by the definition, not by differences


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler")
def test_inductor() -> None:
    drop = torch.compile(lambda x: torch.nn.functional.dropout(Cube.apply(x), 0.5), backend="inductor")
    assert judge(drop, X).kind is FailKind.WRONG
    right = judge(torch.compile(lambda x: torch.nn.functional.dropout(x.sin(), 0.5), backend="inductor"), X)
    assert right, right.text()
    assert right.power < 1e-12


# ---- checkpoints, TorchScript, torch.func ---------------------------------------------------------------------------


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints(reentrant: bool) -> None:
    """Reentrant ones work with .backward() alone."""
    verdict = judge(lambda x, w: checkpoint(forward, x, w, use_reentrant=reentrant), X, W)
    assert verdict, verdict.text()

    class Wrong(Cube):
        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 3 * g * ctx.saved_tensors[0]

    assert judge(lambda x: checkpoint(Wrong.apply, x, use_reentrant=reentrant), X).kind is FailKind.WRONG


def by_forward_mode(x: Any) -> Any:
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        return torch.autograd.forward_ad.unpack_dual(dual.sin() * dual).tangent


def functional(params: Any, x: Any) -> Any:
    return torch.func.functional_call(torch.nn.Linear(3, 2).double(), params, (x,))


class Late:
    """A function that its test makes: to script or to trace one takes a second of imports."""

    def __init__(self, make: Any) -> None:
        self.make = make


def scripted() -> Any:
    @torch.jit.script
    def f(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(x @ w)
        if y.sum() > 0:
            y = y * 2
        return y

    return f


TRANSFORMED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "functional_call": (functional, ({"weight": W.T, "bias": W[0]}, X)),
    "vmap": (lambda x, w: torch.func.vmap(lambda row: torch.tanh(row @ w))(x), (X, W)),
    "grad": (lambda x: torch.func.grad(lambda y: (y**3).sum())(x), (X,)),
    "hessian": (lambda x: torch.func.hessian(lambda y: (y**3).sum())(x[0]), (X,)),
    "autograd.grad": (
        lambda x: torch.autograd.grad((x**3).sum(), x, create_graph=True)[0],
        (X.clone().requires_grad_(),),
    ),
    "jvp": (lambda x: torch.func.jvp(torch.sin, (x,), (torch.ones_like(x),))[1], (X,)),
    "forward_ad": (by_forward_mode, (X,)),
    "jit.script": (Late(scripted), (X, W)),
    "jit.trace": (Late(lambda: torch.jit.trace(forward, (X, W))), (X, W)),
    "dropout in train mode": (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5)).double(), (X,)),
    "batch norm in train mode": (lambda x: torch.nn.functional.batch_norm(x, None, None, training=True), (X,)),
}  # fmt: skip


@pytest.mark.parametrize("what", TRANSFORMED)
def test_what_pytorch_transforms(what: str) -> None:
    fn, args = TRANSFORMED[what]
    verdict = judge(fn.make() if isinstance(fn, Late) else fn, *args)
    assert verdict, verdict.text()
    assert verdict.outcome is Outcome.PASS


def test_a_wrong_gradient_inside_a_transformation() -> None:
    class Wrong(Cube):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Any) -> Any:
            return x * x * x

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return 3 * g * ctx.saved_tensors[0]

    assert judge(lambda x: torch.func.vmap(Wrong.apply)(x), X).kind is FailKind.WRONG
