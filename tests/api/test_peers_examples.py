"""The functions that the peers' own documentation shows, and what their own checks make of them.

PyTorch: "Extending PyTorch", "Autograd mechanics" and the double-backward tutorial; JAX: "Custom derivative rules for
JAX-transformable Python functions"; HIPS autograd: README and docs/tutorial. The functions are written anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify
from gradverify.core.verdict import FailKind, Outcome

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

F64 = {"dtype": torch.float64, "requires_grad": True}


def randn(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


class Linear(torch.autograd.Function):
    """A linear layer with an optional bias."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        ctx.save_for_backward(x, weight, bias)
        out = x.mm(weight.t())
        return out if bias is None else out + bias

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        x, weight, bias = ctx.saved_tensors
        return g.mm(weight), g.t().mm(x), None if bias is None else g.sum(0)


class TimesConstant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any, constant: float) -> Any:
        ctx.constant = constant
        return x * constant

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.constant, None


class Inverted(torch.autograd.Function):
    """1/x from its result."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        out = 1 / x
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (out,) = ctx.saved_tensors
        return -g * out**2


class Legendre(torch.autograd.Function):
    """(5x³ - 3x)/2."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return 0.5 * (5 * x**3 - 3 * x)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * 1.5 * (5 * x**2 - 1)


class Sinh(torch.autograd.Function):
    """sinh with an intermediate result saved as an output, so that it can be differentiated twice."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        up, down = torch.exp(x), torch.exp(-x)
        ctx.save_for_backward(up, down)
        return (up - down) / 2, up, down

    @staticmethod
    def backward(ctx: Any, g: Any, g_up: Any, g_down: Any) -> Any:
        up, down = ctx.saved_tensors
        return g * (up + down) / 2 + g_up * up - g_down * down


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (Linear.apply, (randn(4, 3), randn(2, 3), randn(2))),
        (Linear.apply, (randn(4, 3), randn(2, 3))),
        (TimesConstant.apply, (randn(3), 2.5)),
        (Inverted.apply, (randn(3),)),
        (Legendre.apply, (randn(3),)),
        (lambda x: Sinh.apply(x)[0], (randn(3),)),
        (torch.nn.Linear(3, 2).double(), (randn(4, 3),)),
    ],
    ids=["Linear", "Linear without bias", "TimesConstant", "Inverted", "Legendre", "Sinh", "nn.Linear"],
)
def test_pytorchs_examples_are_right_under_both(f: Any, args: Any) -> None:
    assert torch.autograd.gradcheck(f, args)
    gradverify.assert_gradients(f, *args)


def test_pytorchs_double_backward_examples() -> None:
    for f in (Inverted.apply, Legendre.apply):
        assert torch.autograd.gradgradcheck(f, (randn(3),))
        gradverify.assert_gradients(f, randn(3), order=2, effort="quick")


def test_intermediates_that_are_no_outputs_are_told_as_pytorch_tells_them() -> None:
    """The tutorial's warning: intermediates saved without being outputs give silent zeros in the second derivative."""

    class Silent(Sinh):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            up, down = torch.exp(x), torch.exp(-x)
            ctx.up, ctx.down = up, down
            return (up - down) / 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * (ctx.up + ctx.down) / 2

    x = randn(3)
    gradverify.assert_gradients(Silent.apply, x, order=1)
    assert not torch.autograd.gradgradcheck(Silent.apply, (x,), raise_exception=False)
    assert gradverify.check(Silent.apply, x).outcome is Outcome.FAIL


# ---- JAX's tutorial on custom rules ---------------------------------------------------------------------------------

X = np.linspace(0.25, 1.5, 4)


def log1pexp() -> Any:
    f = jax.custom_jvp(lambda x: jnp.log(1.0 + jnp.exp(x)))
    f.defjvps(lambda t, out, x: (1 - 1 / (1 + jnp.exp(x))) * t)
    return f


def sine() -> Any:
    f = jax.custom_vjp(lambda x, y: jnp.sin(x) * y)
    f.defvjp(lambda x, y: (jnp.sin(x) * y, (jnp.cos(x), jnp.sin(x), y)), lambda r, g: (r[0] * g * r[2], r[1] * g))
    return f


def test_jaxs_examples_of_right_rules() -> None:
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        gradverify.assert_gradients(log1pexp(), x)
        gradverify.assert_gradients(sine(), x, x + 1)
        gradverify.assert_gradients(jax.jit(sine()), x, x + 1)


def test_jaxs_example_of_clipping_is_no_derivative() -> None:
    """It is not meant to be one; JAX's own check, whose cotangents are of the size of one, says the same by chance."""
    clip = jax.custom_vjp(lambda lo, hi, x: x)
    clip.defvjp(lambda lo, hi, x: (x, (lo, hi)), lambda r, g: (None, None, jnp.clip(g, r[0], r[1])))
    with jax.enable_x64(True):
        verdict = gradverify.check(lambda x: clip(-1.0, 1.0, x * 1.0), jnp.asarray(X))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.kind in (FailKind.WRONG, FailKind.LAW)


# ---- found on the way -----------------------------------------------------------------------------------------------


def test_pytorchs_batch_norm_reads_a_strided_weight_as_if_it_were_contiguous() -> None:
    """torch 2.13.0, CPU: with a contiguous input and a weight of stride 2, dx is made from the gaps between the weights.

    No check that keeps to contiguous memory sees it. Shown in PyTorch alone, then as `check` reports it.
    """
    x, weight, bias = randn(3, 2), torch.tensor([2.0, 3.0], **F64), torch.zeros(2, **F64)
    room = torch.zeros(2, 2, dtype=torch.float64)
    room[:, 0] = weight.detach()
    gapped = room[:, 0].requires_grad_()
    norm = lambda w: torch.nn.functional.batch_norm(x, None, None, w, bias, training=True)
    right, wrong = (torch.autograd.grad(norm(w), x, x.detach() ** 2)[0] for w in (weight, gapped))
    assert torch.allclose(norm(gapped), norm(weight))  # the forward pass knows of strides
    assert not torch.allclose(right, wrong)
    assert (wrong[:, 1] == 0).all()  # the gap

    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    assert gradverify.check(net.double(), x, effort="quick")  # a module's weights are where its users have them
    both = lambda x, w: torch.nn.functional.batch_norm(x, None, None, w, bias, training=True)
    verdict = gradverify.check(both, x, weight.requires_grad_(), effort="quick")
    assert verdict.kind is FailKind.LAW
    assert "input_layout is broken" in verdict.message


# ---- PyTorch: "Extending torch.func with autograd.Function" ---------------------------------------------------------


class Sort(torch.autograd.Function):
    """Through NumPy: opaque to a trace, with indices that are marked non-differentiable."""

    @staticmethod
    def forward(x: Any, dim: int) -> Any:
        array = x.detach().numpy()
        order = np.argsort(array, axis=dim)
        return tuple(map(torch.from_numpy, (np.take_along_axis(array, order, dim), order, np.argsort(order, axis=dim))))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, order, inverse = output
        ctx.dim = inputs[1]
        ctx.mark_non_differentiable(order, inverse)
        ctx.save_for_backward(order, inverse)

    @staticmethod
    def backward(ctx: Any, g: Any, _order: Any, _inverse: Any) -> Any:
        order, inverse = ctx.saved_tensors
        return Take.apply(g, inverse, order, ctx.dim), None


class Take(torch.autograd.Function):
    @staticmethod
    def forward(x: Any, indices: Any, inverse: Any, dim: int) -> Any:
        return torch.from_numpy(np.take_along_axis(x.detach().numpy(), indices.numpy(), dim))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.dim = inputs[3]
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        indices, inverse = ctx.saved_tensors
        return Take.apply(g, inverse, indices, ctx.dim), None, None, None


class CubeAndSlope(torch.autograd.Function):
    """x³ and 3x²: the intermediate is an output, so that it can be differentiated twice; forward mode and vmap too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any) -> Any:
        return x**3, 3 * x**2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0], output[1])
        ctx.save_for_forward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        x, slope = ctx.saved_tensors
        return g * slope + h * 6 * x

    @staticmethod
    def jvp(ctx: Any, t: Any) -> Any:
        x, slope = ctx.saved_tensors
        return t * slope, 6 * x * t


def test_pytorchs_sort_through_numpy() -> None:
    verdict = gradverify.check(lambda x: Sort.apply(x, 1)[0], randn(3, 4), effort="quick")
    assert verdict, verdict.text()


def test_pytorchs_cube_in_every_mode() -> None:
    cube = lambda x: CubeAndSlope.apply(x)[0]
    assert gradverify.check(cube, randn(3), modes=("rev", "fwd"), effort="quick")
    every = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    for gradcheck in (torch.autograd.gradcheck, gradverify.torch.gradcheck):
        assert gradcheck(cube, (randn(3),), **every)
    assert gradverify.torch.gradgradcheck(cube, (randn(3),))


# ---- JAX's tutorial, the rest ---------------------------------------------------------------------------------------


def fixed_point() -> Any:
    """x* = f(a, x*) by iteration, with the implicit function theorem as its rule."""

    def fixed(f: Any, a: Any, x: Any) -> Any:
        go, step = lambda c: jnp.max(jnp.abs(c[0] - c[1])) > 1e-15, lambda c: (c[1], f(a, c[1]))
        return jax.lax.while_loop(go, step, (x, f(a, x)))[1]

    solve = jax.custom_vjp(fixed, nondiff_argnums=(0,))

    def forward(f: Any, a: Any, x: Any) -> Any:
        found = solve(f, a, x)
        return found, (a, found)

    def backward(f: Any, residuals: Any, g: Any) -> Any:
        a, found = residuals
        _, by_a = jax.vjp(lambda a: f(a, found), a)
        _, by_x = jax.vjp(lambda x: f(a, x), found)
        u = fixed(lambda a, u: g + by_x(u)[0], a, jnp.zeros_like(found))
        return by_a(u)[0], jnp.zeros_like(found)

    solve.defvjp(forward, backward)
    return solve


def test_jaxs_fixed_point_is_a_square_root() -> None:
    """A while loop has no reverse mode of its own; its trace is the iteration."""
    solve = fixed_point()
    newton = lambda a: solve(lambda a, x: 0.5 * (x + a / x), a, a)
    with jax.enable_x64(True):
        verdict = gradverify.check(newton, jnp.asarray(2.0), effort="quick")
        assert verdict, verdict.text()
        assert gradverify.check(newton, jnp.asarray(2.0), reference=jnp.sqrt, effort="quick")


def test_jaxs_functions_as_arguments_and_trees() -> None:
    apply = jax.custom_vjp(lambda f, x: f(x), nondiff_argnums=(0,))
    apply.defvjp(lambda f, x: (f(x), x), lambda f, x, g: (jnp.cos(x) * g,))
    tree = jax.custom_vjp(lambda p: {"b": jnp.sin(p["a"][0]) * p["a"][1]})
    tree.defvjp(
        lambda p: (tree(p), p),
        lambda p, g: ({"a": [jnp.cos(p["a"][0]) * p["a"][1] * g["b"], jnp.sin(p["a"][0]) * g["b"]]},),
    )
    with jax.enable_x64(True):
        x = jnp.asarray(X)
        gradverify.assert_gradients(lambda x: apply(jnp.sin, x), x, effort="quick")
        gradverify.assert_gradients(tree, {"a": [x, x + 1]}, effort="quick")
        gradverify.assert_gradients(jax.jit(jax.vmap(log1pexp())), x, modes=("rev", "fwd"), effort="quick")
        gradverify.assert_gradients(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), x, effort="quick")
        assert (
            gradverify.check(lambda x: apply(jnp.exp, x), x, effort="quick").outcome is Outcome.FAIL
        )  # it is sin's rule
