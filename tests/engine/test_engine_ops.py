"""Every op of the table on the engine: forward, backward and backward of backward, in both dtypes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gradverify.engine as torch
from gradverify.core.op import OpSpec
from gradverify.engine import kernels
from gradverify.engine.op_facts import FACTS
from gradverify.namespaces import NUMPY
from gradverify.ops import FAMILIES, OPS
from gradverify.testing.images import draw
from gradverify.testing.ops import _samples

DIFFERENTIABLE = sorted(n for n, s in OPS.items() if s.result == "float" and n != "einsum")


def points(spec: OpSpec, dtype: str, count: int = 6) -> Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]:
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    drawn = draw(spec.name) if spec in FAMILIES["neural"] else None
    for sample in _samples(spec, rng, count, dtype, drawn):
        yield tuple(np.array(a) for a in sample.args), sample.params


def leaves(spec: OpSpec, args: tuple[np.ndarray, ...]) -> list[Any]:
    out = [torch.from_numpy(np.array(a)) for a in args]
    for i, x in enumerate(out):
        if spec.differentiable(i):
            x.requires_grad_()
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(n for n in OPS if n != "einsum"))
def test_forward_is_the_definition(name: str, dtype: str) -> None:
    spec = OPS[name]
    for args, params in points(spec, dtype):
        out = getattr(torch.ENGINE, name)(*leaves(spec, args), **params)
        with np.errstate(all="ignore"):
            want = np.asarray(spec.define(NUMPY, *args, **params))
        got = out.detach().numpy()
        assert got.shape == want.shape
        if spec.result == "float":
            assert got.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(got, want.astype(got.dtype))


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if not OPS[n].composite])
def test_backward_is_the_declared_rule(name: str) -> None:
    spec = OPS[name]
    for args, params in points(spec, "float64"):
        xs = leaves(spec, args)
        out = getattr(torch.ENGINE, name)(*xs, **params)
        g = np.random.default_rng(0).standard_normal(out.shape)
        with np.errstate(all="ignore"):
            for i, x in enumerate(xs):
                if x.requires_grad:
                    want = spec.cotangent(NUMPY, i, g, out.detach().numpy(), args, params)
                    (got,) = torch.autograd.grad(out, x, torch.tensor(g), retain_graph=True)
                    np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if not OPS[n].composite])
def test_a_node_gives_cotangents_of_the_arguments_shapes_and_dtype(name: str) -> None:
    """Nothing is cast or summed behind the rule of an op that does not broadcast: constants must not widen float32."""
    spec = OPS[name]
    for args, params in points(spec, "float32"):
        xs = leaves(spec, args)
        out = getattr(torch.ENGINE, name)(*xs, **params)
        if out.grad_fn is None:
            continue
        with np.errstate(all="ignore"):
            grads = out.grad_fn.run(np.ones_like(out.detach().numpy())[()], False)
        for x, d in zip(xs, grads):
            if x.requires_grad:
                assert (d.shape, d.dtype) == (x.detach().numpy().shape, np.float32)


@pytest.mark.parametrize("name", sorted(name for name, facts in FACTS.items() if facts.passes))
def test_a_large_array_is_taken_block_by_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Working block by block changes neither value nor gradient, in any layout, and with a last block that is not full."""
    rng = np.random.default_rng(0)
    for make in (lambda a: a, lambda a: a.T, lambda a: a[::2]):
        for dtype in ("float32", "float64"):
            x, g = (
                make(rng.uniform(0.1, 0.9, (40, 21)).astype(dtype)),
                make(rng.standard_normal((40, 21)).astype(dtype)),
            )
            found = []
            for block in (10**9, 64):
                monkeypatch.setattr(kernels, "BLOCK", block)
                leaf = torch.from_numpy(x.copy(order="K")).requires_grad_()
                out = getattr(torch.ENGINE, name)(leaf)
                out.backward(torch.from_numpy(g.copy(order="K")))
                found.append((out.detach().numpy(), leaf.grad.numpy()))
            for whole, in_blocks in zip(*found):
                assert in_blocks.dtype == dtype
                np.testing.assert_array_equal(in_blocks, whole)


def derivative_along(
    spec: OpSpec, args: tuple[np.ndarray, ...], params: Any, g: np.ndarray, us: list[np.ndarray]
) -> Any:
    """d/dt of the VJP at args + t u, by a central difference of the engine's own first-order pass."""

    def vjp(t: float) -> list[np.ndarray]:
        moved = tuple(a + t * u if spec.differentiable(i) else a for i, (a, u) in enumerate(zip(args, us)))
        xs = leaves(spec, moved)
        out = getattr(torch.ENGINE, spec.name)(*xs, **params)
        wanted = [x for x in xs if x.requires_grad]
        grads = torch.autograd.grad(out, wanted, torch.tensor(g), allow_unused=True, materialize_grads=True)
        return [d.numpy() for d in grads]

    coarse, fine = ([(a - b) / (2 * h) for a, b in zip(vjp(h), vjp(-h))] for h in (2e-6, 1e-6))
    # Next to a pole a step of 1e-6 is no small one: there the two steps disagree, and nothing is compared.
    steady = all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(coarse, fine))
    return fine if steady else None


@pytest.mark.parametrize("name", [n for n in DIFFERENTIABLE if OPS[n].kinks is None])
def test_second_derivatives_come_from_the_same_text(name: str) -> None:
    """<d(VJP)/dx . u> from create_graph against a difference of first-order passes.

    Whether it is the same function, not how accurate: with h = 1e-6 the difference itself is good to about
    eps / h = 2e-10 of the largest term, so agreement to 1e-5 of the largest entry leaves four digits of slack.
    """
    spec = OPS[name]
    rng = np.random.default_rng(1)
    compared = 0
    for args, params in points(spec, "float64", 4):
        if any(np.abs(a).max(initial=0) > 1e3 for a in args if a.dtype.kind == "f"):
            continue  # a step of 1e-6 is lost in such values
        xs = leaves(spec, args)
        out = getattr(torch.ENGINE, name)(*xs, **params)
        if not out.requires_grad or not out.numel():
            continue
        g = rng.standard_normal(out.shape)
        us = [rng.standard_normal(a.shape) * np.minimum(np.abs(a), 1) if a.dtype.kind == "f" else a for a in args]
        wanted = [x for x in xs if x.requires_grad]
        first = torch.autograd.grad(
            out, wanted, torch.tensor(g), create_graph=True, allow_unused=True, materialize_grads=True
        )
        want = derivative_along(spec, args, params, g, us)
        if want is None:
            continue
        # H u by reverse over reverse: differentiate <first, v> for a random v and contract with u.
        vs = [torch.tensor(rng.standard_normal(d.shape)) for d in first]
        total = sum(((d * v).sum() for d, v in zip(first, vs)), torch.tensor(0.0, dtype=torch.float64))
        if total.requires_grad:
            second = torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True)
        else:
            second = tuple(torch.zeros_like(x) for x in wanted)
        directions = [u for u, x in zip(us, xs) if x.requires_grad]
        got = sum(float((s.numpy() * u).sum()) for s, u in zip(second, directions))
        other = sum(float((w * v.numpy()).sum()) for w, v in zip(want, vs))
        scale = sum(float(np.abs(w * v.numpy()).sum()) for w, v in zip(want, vs))
        if not scale < 1e100:
            continue  # the sums of the comparison would overflow
        size = sum(float(np.abs(d.detach().numpy()).max(initial=0)) for d in first)
        assert abs(got - other) <= 1e-5 * scale + 1e-8 * (1 + size), f"{params}: {got} vs {other}"
        compared += 1
    assert compared or name in UNTESTED


UNTESTED: set[str] = set()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("shapes", [((70, 80),) * 3, ((80,), (70, 80), (70, 80)), ((70, 80), (70, 80), ()),
                                    ((70, 80), (), (70, 80)), ((70, 80), (80,), (70, 80)), ((70, 1), (70, 80), (70, 80)),
                                    ((3, 70, 80), (70, 80), (70, 80)), ((2, 3),) * 3])  # fmt: skip
def test_where_is_numpys_to_the_bit(shapes: tuple[tuple[int, ...], ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random(shapes[0]) < 0.5
    x, y = (np.asarray(rng.standard_normal(s) * 100).astype(dtype) for s in shapes[1:])
    if x.ndim and x.dtype.kind == "f":
        x.flat[:4] = np.nan, np.inf, -np.inf, -0.0
    for order in (lambda a: a, lambda a: np.asarray(a, order="F")):
        want, got = np.where(order(mask), order(x), order(y)), kernels.KERNELS.where(order(mask), order(x), order(y))
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("special", [None, np.nan, -np.inf])
def test_argmax_is_numpys(axis: int, special: float | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (31, 30, 29)).astype(np.float32)  # with ties
    if special is not None:
        x[rng.random(x.shape) < 0.3] = special
        x[3, :, 4] = x[:, 5, 6] = x[7, 8] = special
    for keepdims in (False, True):
        want, got = np.argmax(x, axis, keepdims=keepdims), kernels.KERNELS.argmax(x, axis, keepdims)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_array_equal(got, want)


class ReshapedProduct(torch.autograd.Function):
    """Its gradient is all of the array `product`, in another shape."""

    @staticmethod
    def forward(ctx: Any, w: Any, product: list[np.ndarray]) -> Any:
        ctx.product = product
        return w.sum()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return torch.from_numpy(ctx.product.pop()).reshape(4, 3, 2, 2), None


def test_a_leaf_takes_a_gradient_without_a_copy_where_nobody_else_holds_it() -> None:
    w = torch.ones(4, 3, 2, 2, requires_grad=True)
    product = [np.ones((4, 12), np.float32)]
    place = product[0].ctypes.data
    ReshapedProduct.apply(w, product).backward()
    assert w.grad.data_ptr() == place
    for hold in (lambda a: a, lambda a: a[1:], lambda a: torch.from_numpy(a)):
        w.grad = None
        product = [np.ones((4, 12), np.float32)]
        held = hold(product[0])
        ReshapedProduct.apply(w, product).backward()
        held[...] = 5.0
        assert (w.grad == 1).all()


def test_a_leaf_can_be_added_to_after_a_gradient_that_was_broadcast() -> None:
    """To its own shape, or to one of a single entry: NumPy gives views that may not be written to."""
    for shape in ((), (1,), (1, 1), (3,), (2, 1)):
        for f in (torch.sum, torch.mean, lambda x: x.sum(0).sum(), lambda x: x.expand(4, *x.shape).sum(0).sum()):
            x = torch.ones(shape, requires_grad=True)
            f(x).backward()
            once = x.grad.clone()
            f(x).backward()
            x.grad.add_(1.0)
            assert (x.grad == 2 * once + 1).all()
