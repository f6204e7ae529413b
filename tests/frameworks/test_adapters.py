"""What an adapter promises besides the numbers: memory, layout, None, stages of failure, users' own functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify.core.errors import Unsupported
from gradverify.frameworks import Framework, find
from gradverify.frameworks.jax.adapter import JaxFramework
from gradverify.frameworks.jax.bindings import bindings as jax_bindings
from gradverify.frameworks.torch.adapter import TorchFramework
from gradverify.frameworks.torch.bindings import bindings as torch_bindings
from gradverify.frameworks.values import mutated
from gradverify.ops import OPS
from gradverify.ops.build import GraphBuilder
from gradverify.spec.from_expression import expression_case

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

BOTH = pytest.mark.parametrize("subject", [find("torch"), find("jax")], ids=lambda s: s.name)
X = np.array([0.5, -1.25, 2.0])


def run(subject: Framework, text: str, **inputs: Any) -> Any:
    case = expression_case(text, inputs)
    return case, subject.run_vjp(subject.function(case.graph, case.dtype), case.values, case.wrt, case.cotangent)


@BOTH
def test_it_is_a_subject(subject: Framework) -> None:
    assert isinstance(subject, Framework)
    assert subject.unavailable() is None


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_kept(subject: Framework, dtype: str) -> None:
    case = expression_case("exp(x) * 3 + 0.1", {"x": X}, dtype)
    seen = subject.run_vjp(subject.function(case.graph, dtype), case.values, case.wrt, case.cotangent)
    assert seen.outputs[0].dtype == dtype
    assert seen.gradients["x"].dtype == dtype


@BOTH
def test_a_literal_is_rounded_to_the_dtype(subject: Framework) -> None:
    case = expression_case("x * 0 + 0.1", {"x": X}, "float32")
    seen = subject.run_vjp(subject.function(case.graph, "float32"), case.values, case.wrt, case.cotangent)
    assert (seen.outputs[0] == np.float32(0.1)).all()


@BOTH
def test_an_unused_input_has_no_gradient_or_zero(subject: Framework) -> None:
    _, seen = run(subject, "sin(x)", x=X, y=np.ones(2))
    assert seen.gradients["y"] is None or (seen.gradients["y"] == 0).all()


def test_pytorch_says_none_for_an_unused_input() -> None:
    assert run(find("torch"), "sin(x)", x=X, y=np.ones(2))[1].gradients["y"] is None


@BOTH
def test_nothing_but_wrt_is_differentiated(subject: Framework) -> None:
    case = expression_case("x * y", {"x": X, "y": X})
    seen = subject.run_vjp(subject.function(case.graph, case.dtype), case.values, ("y",), case.cotangent)
    assert list(seen.gradients) == ["y"]
    np.testing.assert_array_equal(seen.gradients["y"], case.cotangent[0] * X)


@BOTH
def test_several_outputs_take_a_cotangent_each(subject: Framework) -> None:
    b = GraphBuilder()
    x = b.input("x", (3,))
    graph = b.graph(b.apply("multiply", x, x), x, b.constant(2.0))
    g = (np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]), np.array(5.0))
    seen = subject.run_vjp(subject.function(graph, "float64"), {"x": X}, ("x",), g)
    assert [o.shape for o in seen.outputs] == [(3,), (3,), ()]
    np.testing.assert_array_equal(seen.gradients["x"], 2 * X * g[0] + g[1])


@BOTH
def test_integers_and_masks_are_passed_through(subject: Framework) -> None:
    case, seen = run(
        subject, "take(where(m, x, 2 * x), i)", x=X, m=np.array([True, False, True]), i=np.array([1, 1, 0])
    )
    g = case.cotangent[0]
    np.testing.assert_array_equal(seen.gradients["x"], [g[2], 2 * (g[0] + g[1]), 0.0])
    assert set(seen.gradients) == {"x"}


@BOTH
def test_results_share_no_memory_and_inputs_are_left_alone(subject: Framework) -> None:
    case = expression_case("x", {"x": X})
    given, g = np.array(X), np.array(case.cotangent[0])
    seen = subject.run_vjp(subject.function(case.graph, case.dtype), {"x": given}, ("x",), (g,))
    seen.outputs[0][:] = 7
    seen.gradients["x"][:] = 7
    np.testing.assert_array_equal(given, X)
    np.testing.assert_array_equal(g, case.cotangent[0])
    assert seen.mutated == ()


@BOTH
def test_a_function_of_the_users_own_may_return_a_tuple(subject: Framework) -> None:
    seen = subject.run_vjp(lambda x, y: (x * y, y + x), {"x": X, "y": 2 * X}, ("x",), (np.ones(3), np.full(3, 10.0)))
    np.testing.assert_array_equal(seen.gradients["x"], 2 * X + 10)


@BOTH
def test_what_raises_forwards_is_put_into_the_observation(subject: Framework) -> None:
    def broken(x: Any) -> Any:
        raise ValueError("no such luck")

    seen = subject.run_vjp(broken, {"x": X}, ("x",), (X,))
    assert isinstance(seen.raised, ValueError)
    assert seen.stage == "forward"
    assert seen.outputs == ()


def test_what_raises_backwards_is_told_apart() -> None:
    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            raise ValueError("no way back")

    @jax.custom_vjp
    def broken(x: Any) -> Any:
        return x

    def back(_: None, g: Any) -> Any:
        raise ValueError("no way back")

    broken.defvjp(lambda x: (x, None), back)
    for subject, function in ((find("torch"), Broken.apply), (find("jax"), broken)):
        seen = subject.run_vjp(function, {"x": X}, ("x",), (X,))
        assert seen.stage == "backward", subject.name
        assert "no way back" in str(seen.raised)


@BOTH
def test_unsupported_is_raised_and_not_observed(subject: Framework) -> None:
    with pytest.raises(Unsupported, match="complex64"):
        subject.function(expression_case("x", {"x": X}).graph, "complex64")
    with pytest.raises(Unsupported, match="nonsense"):
        {"torch": torch_bindings, "jax": jax_bindings}[subject.name]()("nonsense")

    def refuses(x: Any) -> Any:
        raise Unsupported("not today")

    with pytest.raises(Unsupported, match="not today"):
        subject.run_vjp(refuses, {"x": X}, ("x",), (X,))


def test_jax_leaves_the_global_configuration_alone() -> None:
    run(find("jax"), "exp(x)", x=X)
    assert not jax.config.jax_enable_x64
    case = expression_case("exp(x) + 0.1", {"x": X})
    function = find("jax").function(case.graph, "float64")
    with jax.enable_x64(True):
        x = jax.numpy.asarray(X)
    assert function(x).dtype == "float64"


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((3, 2, 2))[..., 0].T + 1,
        np.arange(24.0).reshape(4, 6)[::2, ::3],
        np.broadcast_to(np.arange(3.0), (2, 3)),
        np.broadcast_to(np.arange(3.0)[:, None, None], (3, 1, 4)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
        np.array(2.0),
    ],
)  # fmt: skip
def test_pytorch_sees_the_layout_that_it_is_given(value: np.ndarray) -> None:
    strides: list[tuple[int, ...]] = []

    def function(x: Any) -> Any:
        strides.append(x.stride())
        return x * 1

    seen = TorchFramework().run_vjp(function, {"x": value}, ("x",), (np.ones(value.shape),))
    np.testing.assert_array_equal(seen.outputs[0], value)
    assert strides == [tuple(s // 8 for s in value.strides)]


def test_pytorch_takes_negative_strides_as_contiguous() -> None:
    seen = TorchFramework().run_vjp(lambda x: x * 2, {"x": X[::-1]}, ("x",), (X[::-1],))
    np.testing.assert_array_equal(seen.outputs[0], 2 * X[::-1])


def test_what_changed_is_told_by_bytes() -> None:
    given = {"a": np.array([np.nan, 0.0]), "b": np.array([0.0]), "c": np.array(1)}
    now = [np.array([np.nan, 0.0]), np.array([-0.0]), np.array(2)]
    assert mutated(given, now, (X, X), (X.copy(), X[::-1]), np.asarray) == ("b", "c", "cotangent 1")


def test_a_mutated_input_and_a_mutated_cotangent_are_named() -> None:
    class Mutates(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.x = x
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            ctx.x.data.add_(1)
            return g.mul_(2)

    seen = TorchFramework().run_vjp(Mutates.apply, {"x": X}, ("x",), (X,))
    assert seen.mutated == ("x", "cotangent 0")


@pytest.mark.parametrize("make", [TorchFramework, JaxFramework])
def test_an_op_can_be_replaced_and_is_then_judged_without_excuse(make: Any) -> None:
    subject = make(table={"tanh": lambda x: x * 3})
    np.testing.assert_array_equal(run(subject, "tanh(x)", x=X)[1].outputs[0], 3 * X)
    assert "tanh" in make().forms
    assert "tanh" not in subject.forms


@pytest.mark.parametrize("make", [TorchFramework, JaxFramework])
def test_forms_are_of_ops_and_say_why(make: Any) -> None:
    for op, form in make().forms.items():
        assert op in OPS
        assert form.reason
        assert form.vjp is not None or form.define is not None or form.second


@pytest.mark.parametrize("make", [TorchFramework, JaxFramework])
def test_a_device_that_is_not_there_is_a_reason(make: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert make(device="cuda").unavailable()


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    case = expression_case("softplus(x) * exp(-x)", {"x": X})
    seen = [s.run_vjp(s.function(case.graph, case.dtype), case.values, case.wrt, case.cotangent)
            for s in (TorchFramework("cuda"), TorchFramework())]  # fmt: skip
    assert seen[0].devices == {}
    np.testing.assert_allclose(seen[0].gradients["x"], seen[1].gradients["x"], rtol=1e-14)
