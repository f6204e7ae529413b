"""Findings of gradverify in PyTorch and JAX, each compared with a closed form in mpmath.

    python bench/findings.py [--write]

prints the table of docs/findings.md, and writes it there. An entry whose framework has become right says so.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
from mpmath import mp, mpf

HERE = Path(__file__).resolve().parent
PACKAGES = "\n## In packages\n"
sys.path[:] = [p for p in sys.path if Path(p).resolve() != HERE]  # its folder `triton` is not what PyTorch imports


@dataclass(frozen=True)
class Finding:
    """`got` runs the framework; `want` is the same number by mpmath at 60 digits."""

    what: str
    framework: str
    dtype: str
    code: str
    got: Callable[[], float]
    want: Callable[[], Any]
    why: str


def torch_gradient(f: Callable[[Any, Any], Any], x: float, dtype: str) -> float:
    import torch

    leaf = torch.tensor([x], dtype=getattr(torch, dtype), requires_grad=True)
    f(torch, leaf).sum().backward()
    return float(leaf.grad[0])


def mixed_of_power() -> float:
    """d/dy of PyTorch's d/dx of x**y, at x = 1.25 and y = 0."""
    import torch

    x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.25, 0.0))
    (slope,) = torch.autograd.grad(torch.pow(x, y), x, create_graph=True)
    return float(torch.autograd.grad(slope, y)[0])


def norm_of_nothing() -> float:
    """What the gradient of w times the norm of no numbers changes by with w."""
    import torch

    x = torch.zeros(0, 1, dtype=torch.float64, requires_grad=True)
    w = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(w * torch.linalg.vector_norm(x, 3, dim=0), x, create_graph=True)
    return float(torch.autograd.grad(gradient.sum(), w)[0])


def eigenvector_of(t: Any) -> Any:
    """The first entry of the eigenvector of A + tE to the largest eigenvalue, A and E as in `second_of_lobpcg`."""
    a = mp.matrix([[3 + 2 * t, 1, 0], [1, 1 - t, t / 2], [0, t / 2, mpf(-1)]])
    values, vectors = mp.eigsy(a)
    largest = max(range(3), key=lambda k: values[k])
    return mp.fabs(vectors[0, largest])


def second_of_lobpcg() -> float:
    """d²/dt² of that entry by PyTorch, of a matrix that is stored by columns."""
    import torch

    a = torch.tensor([[3.0, 1, 0], [1, 1, 0], [0, 0, -1]], dtype=torch.float64)
    along = torch.tensor([[2.0, 0, 0], [0, -1, 0.5], [0, 0.5, 0]], dtype=torch.float64)
    start = torch.tensor([[1.0], [0.5], [0.25]], dtype=torch.float64)
    x = a.T.contiguous().T.requires_grad_()
    entry = torch.lobpcg(x, k=1, X=start, tol=1e-14)[1][0, 0].abs()
    (gradient,) = torch.autograd.grad(entry, x, create_graph=True)
    (second,) = torch.autograd.grad((gradient * along).sum(), x)
    return float((second * along).sum())


def cosine_at_zero() -> float:
    """The second derivative of cosine_similarity in a vector that is shorter than eps."""
    import torch

    x, y = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (0.7, 0.0))
    (slope,) = torch.autograd.grad(torch.nn.functional.cosine_similarity(x, y, dim=0, eps=0.5), y, create_graph=True)
    return float(torch.autograd.grad(slope.sum(), y)[0])


def jax_value(f: Callable[[Any, Any], Any], x: float, dtype: str, gradient: bool = True) -> float:
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        at = jnp.asarray(x, dtype=dtype)
        return float(jax.grad(lambda v: f(jax, v))(at) if gradient else f(jax, at))


def attention(j: Any, x: Any) -> Any:
    """One query, two keys: the logits are x and 0, the values 1 and 3."""
    keys = j.numpy.array([1.0, 0.0]).reshape(1, 2, 1, 1)
    values = j.numpy.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    return j.nn.dot_product_attention(x.reshape(1, 1, 1, 1), keys, values, scale=1.0).reshape(())


def single(x: float) -> Any:
    import numpy as np

    return mpf(float(np.float32(x)))


TERMS = (1.265625, -0.54296875, 0.765625, -1.46875)
CLASSES = lambda t, b: (
    b * t.nn.functional.nll_loss(t.tensor([[v] for v in TERMS], dtype=b.dtype), t.zeros(4, dtype=t.long))
)
BROADCAST = lambda j, b: ((j.numpy.zeros(4, b.dtype) + b) * j.numpy.array([1.0, 2**-8, -1.0, 2**-8], b.dtype)).sum()

TORCH_TANH = lambda x: lambda: torch_gradient(lambda t, v: t.tanh(v), x, "float32")

X = ((1.0, 2.0), (3.0, 5.0), (4.0, -1.0))
G = ((1.0, 2.0), (0.5, -1.0), (2.0, 1.0))
WEIGHTS = ((1.0, 9.0), (2.0, 9.0))


def torch_where_real() -> float:
    """dx of where(mask, z, x) at an entry that takes x."""
    import torch

    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    out = torch.where(torch.tensor([False]), torch.tensor([1j], dtype=torch.complex128), x)
    try:
        out.real.sum().backward()
    except RuntimeError as e:  # of its long text what fits into a table
        raise RuntimeError(str(e).partition(" ||")[0] + " …") from e
    return float(x.grad[0])


def torch_cholesky() -> float:
    """d/d(Im a) of the imaginary part of a 1 by 1 factor, which is 0 for all a."""
    import torch

    a = torch.tensor([[2 + 0j]], dtype=torch.complex128, requires_grad=True)
    (1j * torch.linalg.cholesky(a)).real.sum().backward()
    return float(a.grad[0, 0].imag)


def torch_polar() -> float:
    """d Re(polar(r, 0.5))/dr at r = 0."""
    import torch

    r = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    torch.polar(r, torch.tensor([0.5], dtype=torch.float64)).real.sum().backward()
    return float(r.grad[0])


def torch_nested_jvp() -> float:
    """The second derivative of sin, as an autograd.Function with a rule for forward mode, by torch.func.jvp twice."""
    import torch

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x.sin()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx: Any, t: Any) -> Any:
            return t * ctx.saved_tensors[0].cos()

    x, one = torch.tensor([0.3], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    inner = lambda x: torch.func.jvp(Sine.apply, (x,), (one,))[1]
    return float(torch.func.jvp(inner, (x,), (one,))[1])


def torch_batch_norm() -> float:
    """dx[0, 1] of a batch norm whose weight is a column of a matrix: not contiguous, and right in the forward."""
    import torch

    x = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(WEIGHTS, dtype=torch.float64)[:, 0]
    out = torch.nn.functional.batch_norm(x, None, None, weight, None, training=True, eps=1e-5)
    out.backward(torch.tensor(G, dtype=torch.float64))
    return float(x.grad[0, 1])


def true_batch_norm() -> Any:
    """The same by a central difference of the definition."""

    def paired(first: Any) -> Any:
        column = [first, *(mpf(row[1]) for row in X[1:])]
        mean = sum(column) / 3
        scale = WEIGHTS[1][0] / mp.sqrt(sum((v - mean) ** 2 for v in column) / 3 + mpf(1e-5))
        return sum(row[1] * (v - mean) * scale for row, v in zip(G, column))

    h = mpf(10) ** -20
    return (paired(X[0][1] + h) - paired(X[0][1] - h)) / (2 * h)


def torch_slope(code: str, x: Any, entry: tuple[int, ...] = (0,), dtype: str = "float64") -> Callable[[], float]:
    """The entry of the gradient of `code`'s sum, an expression in torch, F and x."""

    def got() -> float:
        import torch

        leaf = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
        eval(code, {"torch": torch, "F": torch.nn.functional, "x": leaf}).sum().backward()
        return float(leaf.grad[entry])

    return got


def true_cond() -> Any:
    """d/da of |A| |A⁻¹| in Frobenius's norm, A = [[a, 1], [0, 3]], at a = 2."""
    norm = lambda a: mp.sqrt(a**2 + 10)
    return mp.diff(lambda a: norm(a) ** 2 / (3 * a), 2)


def torch_kron() -> float:
    """dx of kron(x, y), y edited before the backward pass; autograd promises an error then, or the right gradient."""
    import torch

    x, y = torch.ones(1, 1, requires_grad=True), torch.tensor([[3.0]])
    out = torch.kron(x, y)
    y.mul_(-2)
    out.backward()
    return float(x.grad)


def torch_matrix_exp() -> float:
    import torch

    x = torch.tensor([[0.1, 0.2], [0.3, 0.4]], requires_grad=True)
    torch.linalg.matrix_exp(x).backward(torch.tensor([[2.0**20, 0.0], [0.0, 0.0]]))
    return float(x.grad[0, 0] / 2**20)


def true_matrix_exp() -> Any:
    return mp.diff(lambda a: mp.expm(mp.matrix([[a, single(0.2)], [single(0.3), single(0.4)]]))[0, 0], single(0.1))


def torch_pdist() -> float:
    """In a process of its own: it ends with a signal."""
    code = "import torch; torch.pdist(torch.zeros(0, 3, requires_grad=True)).sum().backward()"
    status = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
    if status:
        raise RuntimeError(signal.Signals(-status).name)
    return 0.0


def torch_soft_margin() -> float:
    import torch

    return float(torch.nn.functional.soft_margin_loss(torch.tensor([-100.0]), torch.tensor([1.0])))


def torch_householder() -> float:
    import torch

    x = torch.tensor([[0.0], [1e6]], dtype=torch.float64)
    tau = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    torch.linalg.householder_product(x, tau).sum().backward()
    return float(tau.grad)


def torch_attention() -> float:
    import torch

    q = torch.tensor([[[[-6.6, -16.3]]]], dtype=torch.float64, requires_grad=True)
    k = torch.tensor([[[[-1.0, -1.8], [-0.4, 1.2]]]], dtype=torch.float64)
    v = torch.tensor([[[[0.3, 0.3], [0.7, 0.7]]]], dtype=torch.float64)
    torch.nn.functional.scaled_dot_product_attention(q, k, v)[0, 0, 0, 0].backward()
    return float(q.grad[0, 0, 0, 0])


def true_attention() -> Any:
    """p (1 - p) (v0 - v1) (k0 - k1) / sqrt(2), of two scores."""
    apart = (mpf(-6.6) * (mpf(-0.4) + 1) + mpf(-16.3) * (mpf(1.2) + mpf(1.8))) / mp.sqrt(2)
    p = 1 / (1 + mp.exp(apart))
    return p * (1 - p) * (mpf(0.3) - mpf(0.7)) * (-1 - mpf(-0.4)) / mp.sqrt(2)


def true_truncated_inverse() -> Any:
    """d/da of entry (0, 0) of v vᵀ/λ, λ the larger eigenvalue of [[a, 1], [1, 1.5]]: (a - μ)/((λ - μ) λ), μ the other."""

    def entry(a: Any) -> Any:
        root = mp.sqrt((a - mpf(1.5)) ** 2 + 4)
        large, small = ((a + mpf(1.5) + sign * root) / 2 for sign in (1, -1))
        return (a - small) / (root * large)

    return mp.diff(entry, 2)


def torch_group_norm_mean() -> float:
    """d/dx of the first group's mean, which comes with an autograd node; None counts as 0, as autograd has it."""
    import torch

    x = torch.tensor([[[1.0, 2.0], [4.0, 8.0]]], dtype=torch.float64, requires_grad=True)
    mean = torch.native_group_norm(x, None, None, 1, 2, 2, 1, 1e-5)[1]
    (found,) = torch.autograd.grad(mean.sum(), x, allow_unused=True)
    return 0.0 if found is None else float(found[0, 0, 0])


def torch_chunked_cross_entropy() -> float:
    import torch
    from torch.nn.functional import linear_cross_entropy
    from torch.nn.modules.linear_cross_entropy_options import LinearCrossEntropyOptions

    options = LinearCrossEntropyOptions(allow_retain_graph=True, batch_chunk_size=1)
    eye, target = torch.eye(2, dtype=torch.float64), torch.tensor([0])
    loss = lambda x: linear_cross_entropy(x, eye, target, options=options)
    x = torch.tensor([[0.25, -0.25]], dtype=torch.float64)
    return float(torch.autograd.functional.hessian(loss, x)[0, 0, 0, 0])


def torch_normal() -> float:
    import torch

    torch.manual_seed(0)
    return torch_slope("torch.normal(x, torch.ones_like(x))", [0.5])()


def torch_masked_fill() -> float:
    """dv of z.masked_fill(mask, v), z complex and v real."""
    import torch

    v = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    out = torch.tensor([1j], dtype=torch.complex128).masked_fill(torch.tensor([True]), v)
    try:
        out.real.sum().backward()
    except RuntimeError as e:  # of its long text what fits into a table
        raise RuntimeError(str(e).partition(" ||")[0] + " …") from e
    return float(v.grad)


def torch_complex_sigmoid() -> float:
    import torch

    return float(torch.sigmoid(torch.tensor([-1920 + 19j], dtype=torch.complex128)).real[0])


def jax_pad() -> float:
    """d/dv of the sum of three ones with v twice before and once after them."""
    import jax

    try:
        return jax_value(lambda j, v: j.lax.pad(jax.numpy.ones(3), v, [(2, 1, 0)]).sum(), 0.5, "float64")
    except TypeError as e:
        raise RuntimeError(str(e).partition(". ")[0]) from e


def jax_reduce() -> float:
    """d/dx of the sum of [x, x], added up beside an array that is not differentiated."""
    import jax

    def both(j: Any, x: Any) -> Any:
        add = lambda a, b: (a[0] + b[0], a[1] + b[1])
        return j.lax.reduce((j.numpy.stack([x, x]), jax.numpy.ones(2)), (0.0, 0.0), add, (0,))[0]

    try:
        return jax_value(both, 0.5, "float64")
    except TypeError as e:
        raise RuntimeError(str(e).partition(". ")[0]) from e


def torch_running_logsumexp() -> float:
    """The tangent of the first of two running logsumexps, which is the first entry: that of x."""
    import torch

    x, t = (torch.tensor(v, dtype=torch.float64) for v in ([-40.0, 0.0], [1.0, 0.0]))
    return float(torch.func.jvp(lambda x: torch.logcumsumexp(x, 0), (x,), (t,))[1][0])


SINGULAR = [[0.0, 1.0, 2.0, 1.0], [0.0, 3.0, 1.0, 2.0], [0.0, 1.0, 1.0, 5.0], [0.0, 2.0, 7.0, 1.0]]


def jax_det() -> float:
    """The first entry of the gradient of det."""
    import jax

    return float(jax.grad(jax.numpy.linalg.det)(jax.numpy.asarray(SINGULAR))[0, 0])


def true_cofactor() -> Any:
    """The determinant of what is left without the first row and column."""
    return mp.det(mp.matrix([row[1:] for row in SINGULAR[1:]]))


def jax_slope_of_complex(name: str, z: complex) -> Callable[[], float]:
    """The real part of the derivative of a holomorphic function, in complex64."""

    def got() -> float:
        import jax

        f = getattr(jax.numpy, name)
        return float(jax.grad(f, holomorphic=True)(jax.numpy.complex64(z)).real)

    return got


def single_complex(z: complex) -> Any:
    return mp.mpc(single(z.real), single(z.imag))


STRIDED = "torch.tensor([[2., 9.], [3., 9.]], dtype=x.dtype)[:, 0]"
SCORES = "F.nll_loss(x.contiguous(memory_format=torch.channels_last), torch.zeros(1, 2, 2, dtype=torch.int64))"
SCATTERED = "torch.as_strided_scatter(x, torch.ones(2, dtype=x.dtype), (2,), (1,), 0)"
UNPOOLED = "F.max_unpool2d(x, torch.arange(4).reshape(1, 1, 2, 2).mT, 2)"
SIMILAR = "F.cosine_similarity(x, torch.tensor([[1., 3.]], dtype=x.dtype))"

FINDINGS = (
    Finding(
        "det of a matrix that is exactly singular, gradient", "torch", "float64",
        "torch.linalg.det(x), x = [[1, 2], [2, 4]]",
        torch_slope("torch.linalg.det(x)", [[1.0, 2.0], [2.0, 4.0]], (0, 0)), lambda: mpf(4),
        "the backward pass returns zeros; the gradient of the polynomial det is the matrix of cofactors",
    ),
    Finding(
        "det of a matrix with a column of zeros before the last, gradient", "jax", "float32",
        "jnp.linalg.det(x), x[:, 0] = 0", jax_det, true_cofactor,
        "its rule takes care of a last pivot that is 0 alone; an earlier one makes zeros",
    ),
    Finding(
        "logcumsumexp in forward mode, beside a value that is larger by 40", "torch", "float64",
        "torch.func.jvp(logcumsumexp, ([-40, 0],), ([1, 0],))[1][0]", torch_running_logsumexp, lambda: mpf(1),
        "a constant of 1e-13 is added to sums that are scaled by the largest value of all",
    ),
    Finding(
        "ldexp with negative integer exponents, gradient", "torch", "float64", "torch.ldexp(x, torch.tensor([-3]))",
        torch_slope("torch.ldexp(x, torch.tensor([-3]))", [1.5]), lambda: mpf(2) ** -3,
        "the backward pass raises 2 to the exponent in integers, which gives 0",
    ),
    Finding(
        "batch_norm in evaluation, gradient with a running variance that is not contiguous", "torch", "float64",
        "F.batch_norm(x, m, v[:, 0])",
        torch_slope(f"F.batch_norm(x, torch.zeros(2, dtype=x.dtype), {STRIDED}, torch.ones(2, dtype=x.dtype))"
                    " * torch.eye(2, dtype=x.dtype)", [[1.0, 2.0], [4.0, 8.0]], (0, 0)),
        lambda: 1 / mp.sqrt(2 + mpf(1e-5)), "the CPU kernel's backward pass reads other memory",
    ),
    Finding(
        "cond by a norm that needs the inverse, gradient", "torch", "float64", "torch.linalg.cond(x, 'fro')",
        torch_slope("torch.linalg.cond(x, 'fro')", [[2.0, 1.0], [0.0, 3.0]], (0, 0)), true_cond,
        "it writes into the inverse that autograd has saved; p = 1, -1 and inf as well",
    ),
    Finding(
        "nll_loss over channels-last images, gradient", "torch", "float64", "F.nll_loss(x, k), x in channels_last",
        torch_slope(SCORES, [[[[0.1, 0.2], [0.3, 0.4]]] * 3], (0, 0, 0, 0)), lambda: -mpf(1) / 4,
        "the backward kernel wants a contiguous gradient, and allocates one like the input",
    ),
    Finding(
        "pdist of no rows, gradient", "torch", "float64", "torch.pdist(torch.zeros(0, 3))", torch_pdist, lambda: mpf(0),
        "the backward pass ends the process",
    ),
    Finding(
        "kron, gradient after an edit of the other factor", "torch", "float32", "torch.kron(x, y); y.mul_(-2); backward()",
        torch_kron, lambda: mpf(3), "what is saved shares no version counter: neither an error nor the right gradient",
    ),
    Finding(
        "matrix_exp, gradient for a cotangent of 2^20", "torch", "float32", "torch.linalg.matrix_exp(x)",
        torch_matrix_exp, true_matrix_exp,
        "the block matrix whose exponential it takes is scaled by the cotangent's size; float64 as well, from 2^40",
    ),
    Finding(
        "cosine_similarity below eps, gradient", "torch", "float64", "F.cosine_similarity(x, y), x = [1e-10, 2e-10]",
        torch_slope(SIMILAR, [[1e-10, 2e-10]], (0, 0)), lambda: 1 / (mpf(1e-8) * mp.sqrt(10)),
        "the norms are clamped out of autograd's sight; the documented formula is clamped",
    ),
    Finding(
        "cholesky_inverse, gradient at the triangle that is not read", "torch", "float64",
        "torch.cholesky_inverse(x), x = [[2, 0], [1, 3]]",
        torch_slope("torch.cholesky_inverse(x)", [[2.0, 0.0], [1.0, 3.0]], (0, 1)), lambda: mpf(0),
        "nothing sets it to 0; cholesky_solve as well",
    ),
    Finding(
        "asinh, gradient from 2e19 on", "torch", "float32", "torch.asinh(x), x = 1e20",
        torch_slope("torch.asinh(x)", [1e20], dtype="float32"), lambda: 1 / mp.sqrt(single(1e20) ** 2 + 1),
        "x² overflows; acosh and atan2 as well, in float64 from 1.4e154",
    ),
    Finding(
        "batch_norm, gradient with a weight that is not contiguous", "torch", "float64",
        "F.batch_norm(x, None, None, w[:, 0], training=True)", torch_batch_norm, true_batch_norm,
        "the CPU kernel's backward pass reads the weight with stride 1",
    ),
    Finding(
        "hardsigmoid, gradient inside (-3, 3)", "torch", "float64", "F.hardsigmoid(x), x = 0.5",
        lambda: torch_gradient(lambda t, x: t.nn.functional.hardsigmoid(x), 0.5, "float64"),
        lambda: mpf(1) / 6,
        "the 1/6 of the backward kernel is a float32 literal, whatever the dtype",
    ),
    Finding(
        "celu with alpha = 0.3, gradient for x < 0", "torch", "float64", "F.celu(x, alpha=0.3), x = -0.5",
        lambda: torch_gradient(lambda t, x: t.nn.functional.celu(x, alpha=0.3), -0.5, "float64"),
        lambda: mp.exp(mpf(-0.5) / mpf(0.3)),
        "the backward pass rounds alpha to float32, whatever the dtype",
    ),
    Finding(
        "digamma, gradient (trigamma)", "torch", "float64", "torch.digamma(x), x = 1.5",
        lambda: torch_gradient(lambda t, x: t.digamma(x), 1.5, "float64"),
        lambda: mpmath.polygamma(1, mpf(1.5)),
        "trigamma stops its asymptotic series after four terms",
    ),
    Finding(
        "soft_margin_loss far on the wrong side, value", "torch", "float32", "F.soft_margin_loss(x, y), x = -100, y = 1",
        torch_soft_margin, lambda: mp.log1p(mp.exp(100)), "exp overflows in log(1 + exp(-x y)), from 89 on",
    ),
    Finding(
        "sinc, gradient near 0", "torch", "float64", "torch.sinc(x), x = 1e-6",
        torch_slope("torch.sinc(x)", [1e-6]),
        lambda: (mp.cos(mp.pi * mpf(1e-6)) - mp.sinc(mp.pi * mpf(1e-6))) / mpf(1e-6),
        "cos(πx)/x - sin(πx)/(πx²) cancels; no digit is left at 1e-8",
    ),
    Finding(
        "householder_product of long vectors, gradient", "torch", "float64", "torch.linalg.householder_product(x, tau)",
        torch_householder, lambda: -1 - mpf(1e6), "the reflections are taken back with their inverses, which cancels",
    ),
    Finding(
        "attention where the softmax saturates, gradient", "torch", "float64", "F.scaled_dot_product_attention(q, k, v)",
        torch_attention, true_attention, "the cotangent times the output is subtracted, and cancels",
    ),
    Finding(
        "tanh, gradient in the tail", "torch", "float32", "torch.tanh(x), x = 6",
        TORCH_TANH(6.0), lambda: mp.sech(6) ** 2, "1 - out² cancels",
    ),
    Finding(
        "sigmoid, gradient in the tail", "torch", "float32", "torch.sigmoid(x), x = 12",
        lambda: torch_gradient(lambda t, x: t.sigmoid(x), 12.0, "float32"),
        lambda: mp.exp(-12) / (1 + mp.exp(-12)) ** 2, "1 - out cancels",
    ),
    Finding(
        "expm1, gradient far left", "torch", "float64", "torch.expm1(x), x = -30",
        lambda: torch_gradient(lambda t, x: t.expm1(x), -30.0, "float64"),
        lambda: mp.exp(-30), "out + 1 cancels",
    ),
    Finding(
        "softplus above its threshold", "torch", "float64", "F.softplus(x), x = 20.5",
        lambda: torch_gradient(lambda t, x: t.nn.functional.softplus(x), 20.5, "float64"),
        lambda: 1 / (1 + mp.exp(mpf(-20.5))), "x itself is returned from 20 on, in float64 too",
    ),
    Finding(
        "sigmoid, gradient in the tail", "jax", "float32", "jax.nn.sigmoid(x), x = 12",
        lambda: jax_value(lambda j, x: j.nn.sigmoid(x), 12.0, "float32"),
        lambda: mp.exp(-12) / (1 + mp.exp(-12)) ** 2, "1 - out cancels",
    ),
    Finding(
        "expm1, gradient far left", "jax", "float64", "jnp.expm1(x), x = -30",
        lambda: jax_value(lambda j, x: j.numpy.expm1(x), -30.0, "float64"),
        lambda: mp.exp(-30), "out + 1 cancels",
    ),
    Finding(
        "log1p, value on (-0.414, -0.293)", "jax", "float64", "jnp.log1p(x), x = -0.4133 (CPU)",
        lambda: jax_value(lambda j, x: j.numpy.log1p(x), -0.4133, "float64", gradient=False),
        lambda: mp.log1p(mpf(-0.4133)), "XLA uses Cephes's fraction outside the range that it was made for",
    ),
    Finding(
        "lgamma, value next to its root", "jax", "float32", "jax.scipy.special.gammaln(x), x = 2.001",
        lambda: jax_value(lambda j, x: j.scipy.special.gammaln(x), 2.001, "float32", gradient=False),
        lambda: mp.loggamma(single(2.001)), "terms of size 1 cancel next to the roots 1 and 2",
    ),
    Finding(
        "sinc, gradient near 0", "jax", "float32", "jnp.sinc(x), x = 1e-5",
        lambda: jax_value(lambda j, x: j.numpy.sinc(x), 1e-5, "float32"),
        lambda: -(mp.pi**2) * single(1e-5) / 3,
        "cos(πx)/x - sin(πx)/(πx²): terms of 1e5 cancel; the custom rule is used at 0 alone, and below 1e-19 it is -inf",
    ),
    Finding(
        "spence, gradient between 1 and 2", "jax", "float64", "jax.scipy.special.spence(x), x = 1.5",
        lambda: jax_value(lambda j, x: j.scipy.special.spence(x), 1.5, "float64"),
        lambda: mp.log(mpf(1.5)) / (1 - mpf(1.5)),
        "NaN from the branches that `where` does not take; at 1 it is 0 instead of -1",
    ),
    Finding(
        "modified Bessel function I0, gradient at 0", "jax", "float64", "jax.scipy.special.i0(x), x = 0",
        lambda: jax_value(lambda j, x: j.scipy.special.i0(x), 0.0, "float64"),
        lambda: mp.besseli(1, 0),
        "exp(abs(x)) i0e(x) by parts: 1 as the slope of abs at 0, 0 as that of i0e",
    ),
    Finding(
        "hypot, gradient of large numbers", "jax", "float32", "jnp.hypot(3e20, y), y = 4e20",
        lambda: jax_value(lambda j, y: j.numpy.hypot(j.numpy.float32(3e20), y), 4e20, "float32"),
        lambda: single(4e20) / mp.hypot(single(3e20), single(4e20)),
        "the forward is scaled against overflow, the gradient squares a denominator; NaN at 3e-20",
    ),
    Finding(
        "erf near 0, value", "torch", "bfloat16", "torch.erf(x), x = 2**-40 (CPU with AVX2 or AVX512)",
        lambda: torch_gradient(lambda t, b: b * t.erf(t.tensor([2.0**-40], dtype=b.dtype)), 1.0, "bfloat16"),
        lambda: mp.erf(mpf(2) ** -40),
        "the kernel for 16 bits has an absolute error of 1e-7",
    ),
    Finding(
        "prod of small factors, gradient", "torch", "float32", "torch.prod([x, 1e-20]), x = 1e-25",
        lambda: torch_gradient(lambda t, v: t.cat([v, t.full_like(v, 1e-20)]).prod(), 1e-25, "float32"),
        lambda: single(1e-20),
        "grad * out / x: the product underflows, or overflows, before the gradient does",
    ),
    Finding(
        "nll_loss, value", "torch", "bfloat16", "F.nll_loss(x, [0, 0, 0, 0]), x = [[1.265625], …]",
        lambda: torch_gradient(CLASSES, 1.0, "bfloat16"),
        lambda: -sum(map(mpf, TERMS)) / 4,
        "partial sums are rounded to the dtype (CPU)",
    ),
    Finding(
        "broadcast of one number, gradient", "jax", "bfloat16", "x + b, cotangent [1, 2**-8, -1, 2**-8]",
        lambda: jax_value(BROADCAST, 0.0, "bfloat16"),
        lambda: mpf(2) ** -7,
        "lax.reduce_sum adds up in the dtype, one after the other; jnp.sum goes through float32 (CPU)",
    ),
    Finding(
        "division, gradient for a small denominator", "jax", "float32", "1e-20 / y, y = 2e-20",
        lambda: jax_value(lambda j, y: j.numpy.float32(1e-20) / y, 2e-20, "float32"),
        lambda: -single(1e-20) / single(2e-20) ** 2,
        "formed as x y^-2, which overflows before x / y² does",
    ),
    Finding(
        "vander, gradient at 0", "jax", "float64", "jnp.vander(x, 3).sum(), x = [0]",
        lambda: jax_value(lambda j, x: j.numpy.vander(x.reshape(1), 3).sum(), 0.0, "float64"),
        lambda: mpf(1),
        "its x**0 has the gradient 0 x**-1, NaN at 0: so has jnp.power(x, 0.0)",
    ),
    Finding(
        "dot_product_attention, value of float64 arguments", "jax", "float64",
        "softmax over the logits x, 0 of the values 1, 3; x = 0.3",
        lambda: jax_value(attention, 0.3, "float64", gradient=False),
        lambda: 3 - 2 / (1 + mp.exp(-mpf(0.3))),
        "the softmax is computed in float32, whatever the dtype",
    ),
    Finding(
        "erfcx, gradient for large x", "jax", "float64", "jax.scipy.special.erfcx(x), x = 1e4",
        lambda: jax_value(lambda j, x: j.scipy.special.erfcx(x), 1e4, "float64"),
        lambda: 2 * mpf(1e4) * mp.exp(mpf(1e8)) * mp.erfc(mpf(1e4)) - 2 / mp.sqrt(mp.pi),
        "2 x erfcx(x) - 2/√π cancels; 0 at 1e10",
    ),
    Finding(
        "log_ndtr, gradient in the left tail", "jax", "float64", "jax.scipy.special.log_ndtr(x), x = -30",
        lambda: jax_value(lambda j, x: j.scipy.special.log_ndtr(x), -30.0, "float64"),
        lambda: mp.npdf(-30) / mp.ncdf(-30),
        "from -20 on three terms of the asymptotic series; the gradient is an exponential of what cancels",
    ),
    Finding(
        "where with a complex and a real argument, gradient of the real one", "torch", "complex128",
        "torch.where(mask, z, x)", torch_where_real, lambda: mpf(1),
        "the backward pass gives the real argument a complex gradient, which autograd refuses",
    ),
    Finding(
        "sign of complex numbers, gradient", "jax", "complex128", "d Re(jnp.sign(x + 4j))/dx, x = 3",
        lambda: jax_value(lambda j, x: j.numpy.sign(x + 4j).real, 3.0, "float64"),
        lambda: mpf(16) / 125, "z/abs(z) turns as z does; its rule is that of the real sign, 0",
    ),
    Finding(
        "acosh of complex numbers, gradient where the real part is negative", "jax", "complex128",
        "d Re(jnp.arccosh(x + 0.5j))/dx, x = -0.5",
        lambda: jax_value(lambda j, x: j.numpy.arccosh(x + 0.5j).real, -0.5, "float64"),
        lambda: mp.re(1 / (mp.sqrt(mp.mpc(-1.5, 0.5)) * mp.sqrt(mp.mpc(0.5, 0.5)))),
        "rsqrt((z - 1)(z + 1)) for 1/(sqrt(z - 1) sqrt(z + 1)): of the other sign there",
    ),
    Finding(
        "cholesky of a complex matrix, gradient of the diagonal's imaginary part", "torch", "complex128",
        "(1j * torch.linalg.cholesky(a)).real.sum(), a = [[2]]", torch_cholesky, lambda: mpf(0),
        "the factor's diagonal is real whatever a is; the backward pass keeps the imaginary part of its cotangent",
    ),
    Finding(
        "second derivative by nested torch.func.jvp of a Function with a jvp", "torch", "float64",
        "jvp(jvp(Sine.apply)), x = 0.3", torch_nested_jvp, lambda: -mp.sin(mpf(0.3)),
        "what the Function saved for forward mode has lost the outer level",
    ),
    Finding(
        "polar with a modulus of 0, gradient of the modulus", "torch", "complex128", "torch.polar(r, a), r = 0, a = 0.5",
        torch_polar, lambda: mp.cos(mpf(0.5)), "sgn of the result is taken for exp(i a), and is 0 there",
    ),
    Finding(
        "sinh of complex numbers, value near 0", "jax", "complex128", "Re(jnp.sinh(x + 2e-4j)), x = 1e-4",
        lambda: jax_value(lambda j, x: j.numpy.sinh(x + 2e-4j).real, 1e-4, "float64", gradient=False),
        lambda: mp.sinh(mpf(1e-4)) * mp.cos(mpf(2e-4)), "made of exponentials that cancel",
    ),
    Finding(
        "log of complex numbers, value", "jax", "complex128", "Re(jnp.log(x + 0.009j)), x = 0.7654",
        lambda: jax_value(lambda j, x: j.numpy.log(x + 0.009j).real, 0.7654, "float64", gradient=False),
        lambda: mp.log(mpf(0.7654) ** 2 + mpf(0.009) ** 2) / 2, "it is made of the log1p above",
    ),
    Finding(
        "pinv with a tolerance that a singular value does not reach, gradient", "torch", "float64",
        "torch.linalg.pinv(x, rtol=0.5)[0, 0], x = [[2, 1], [1, 1.5]]",
        torch_slope("torch.linalg.pinv(x, rtol=0.5)[0, 0]", [[2.0, 1.0], [1.0, 1.5]], (0, 0)), true_truncated_inverse,
        "the rule for pinv is given x where the truncated x belongs",
    ),
    Finding(
        "as_strided_scatter, gradient of what is written over", "torch", "float64",
        "torch.as_strided_scatter(x, ones, (2,), (1,), 0)[0], x = [1, 2, 3]", torch_slope(SCATTERED, [1.0, 2.0, 3.0]),
        lambda: mpf(0), "it keeps the gradient of the entries that are overwritten, and drops that of the others",
    ),
    Finding(
        "native_group_norm, gradient of the means that it returns", "torch", "float64",
        "torch.native_group_norm(x, …)[1], 4 entries in the group", torch_group_norm_mean, lambda: mpf(1) / 4,
        "the outputs require grad, and their cotangents are ignored",
    ),
    Finding(
        "linear_cross_entropy by chunks, second derivative", "torch", "float64",
        "F.linear_cross_entropy(x, eye, [0], options=…), x = [0.25, -0.25]", torch_chunked_cross_entropy,
        lambda: 1 / (2 + 2 * mp.cosh(mpf(1) / 2)),
        "the gradient is computed under no_grad in the forward pass, and is no Function that refuses a second one",
    ),
    Finding(
        "max_unpool2d with indices that are not contiguous, gradient", "torch", "float64",
        "F.max_unpool2d(x, k.mT, 2)", torch_slope(UNPOOLED, [[[[1.0, 2.0], [3.0, 4.0]]]], (0, 0, 0, 0)), lambda: mpf(1),
        "the forward pass takes them, the backward pass views them as a row; max_unpool3d as well",
    ),
    Finding(
        "normal, gradient of the mean for a given draw", "torch", "float64", "torch.normal(x, 1)", torch_normal,
        lambda: mpf(1), "declared to be 0 without a word; torch.distributions.Normal.rsample has it",
    ),
    Finding(
        "masked_fill of complex numbers with a real one, gradient of that", "torch", "complex128",
        "z.masked_fill(mask, v)", torch_masked_fill, lambda: mpf(1),
        "the backward pass gives the real argument a complex gradient, which autograd refuses",
    ),
    Finding(
        "sigmoid of complex numbers far left, value", "torch", "complex128", "Re torch.sigmoid(-1920 + 19j)",
        torch_complex_sigmoid, lambda: mp.re(1 / (1 + mp.exp(mp.mpc(1920, -19)))),
        "1/(1 + exp(-z)) with an infinite exp: inf/inf in its complex quotient",
    ),
    Finding(
        "pad, gradient of the padding value alone", "jax", "float64", "lax.pad(ones, v, [(2, 1, 0)]).sum()", jax_pad,
        lambda: mpf(3), "TypeError: the rule sums a cotangent of None",
    ),
    Finding(
        "reduce of two arrays, gradient of one of them", "jax", "float64", "lax.reduce((x, ones), …)[0], x = [t, t]",
        jax_reduce, lambda: mpf(2), "TypeError: the rule reshapes a symbolic zero",
    ),
    Finding(
        "clamp between bounds that move with the argument, gradient", "jax", "float64", "lax.clamp(t, t, t + 1), t = 0.5",
        lambda: jax_value(lambda j, t: j.lax.clamp(t, t, t + 1), 0.5, "float64"), lambda: mpf(1),
        "at the lower bound neither the bound nor the value has a gradient",
    ),
    Finding(
        "tanh of complex numbers, gradient", "jax", "complex64", "d Re jnp.tanh(z), z = 4.2 + 1j",
        jax_slope_of_complex("tanh", 4.2 + 1j), lambda: mp.re(mp.sech(single_complex(4.2 + 1j)) ** 2), "1 - out² cancels",
    ),
    Finding(
        "tanh of complex numbers, gradient further out", "jax", "complex64", "d Re jnp.tanh(z), z = 8 + 0.3j",
        jax_slope_of_complex("tanh", 8 + 0.3j), lambda: mp.re(mp.sech(single_complex(8 + 0.3j)) ** 2), "1 - out² cancels",
    ),
    Finding(
        "tan of complex numbers, gradient", "jax", "complex64", "d Re jnp.tan(z), z = 0.4 + 2.5j",
        jax_slope_of_complex("tan", 0.4 + 2.5j), lambda: mp.re(mp.sec(single_complex(0.4 + 2.5j)) ** 2),
        "1 + out² cancels",
    ),
    Finding(
        "erfcx, value between 26.545 and 26.64", "jax", "float64", "jax.scipy.special.erfcx(x), x = 26.6",
        lambda: jax_value(lambda j, x: j.scipy.special.erfcx(x), 26.6, "float64", gradient=False),
        lambda: mp.exp(mpf(26.6) ** 2) * mp.erfc(mpf(26.6)), "exp(x²) erfc(x) where erfc underflows already",
    ),
    Finding(
        "pow at an exponent of 0, mixed second derivative", "torch", "float64", "d/dy d/dx torch.pow(x, y), x = 1.25, y = 0",
        mixed_of_power, lambda: 1 / mpf(1.25), "the branch y == 0 of d/dx is a constant to it; d/dx of d/dy is not",
    ),
    Finding(
        "nextafter where both arguments are equal", "torch", "float64", "nextafter(x, x), x = [0.3]",
        lambda: torch_gradient(lambda t, x: t.nextafter(x, x), 0.3, "float64"), lambda: mpf(1),
        "nextafter(x, x) is x; the rule gives neither argument anything where they are equal",
    ),
    Finding(
        "lobpcg of a matrix that is stored by columns, second order", "torch", "float64",
        "d²/dt² of abs(U[0, 0]), U of torch.lobpcg(A + tE, k=1), A + tE = [[3+2t, 1, 0], [1, 1-t, t/2], [0, t/2, -1]]",
        second_of_lobpcg, lambda: mp.diff(eigenvector_of, 0, 2),
        "its Function saves A.contiguous(), a copy then, which no gradient reaches; stored by rows it is right",
    ),
    Finding(
        "vector_norm of a column without entries, second order", "torch", "float64",
        "d/dw of the gradient of w*linalg.vector_norm(x, 3, dim=0), x of shape (0, 1)",
        norm_of_nothing, lambda: mpf(0), "g/norm² is masked where the norm is 0, and its derivative is not: 0·inf",
    ),
    Finding(
        "cosine_similarity at a zero vector, second order", "torch", "float64",
        "d²/dy² F.cosine_similarity(x, y, dim=0, eps=0.5), x = [0.7], y = [0]",
        cosine_at_zero, lambda: mpf(0), "below eps it is linear in y; the norm is differentiated for all that",
    ),
)  # fmt: skip


def table() -> str:
    lines = [
        "| what | framework | dtype | code | got | true value | off by (relative) | why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with mp.workdps(60):
        for f in FINDINGS:
            want = f.want()
            try:
                got = mpf(f.got())
                off = mp.nstr(abs(got - want) / (abs(want) or 1), 2)
                shown = mp.nstr(got, 17)
            except RuntimeError as e:
                shown, off = f"raises {str(e).partition(': [')[0]!r}", "–"
            lines.append(
                f"| {f.what} | {f.framework} | {f.dtype} | `{f.code}` | {shown} | {mp.nstr(want, 20)} | {off} | {f.why} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/findings.md")
    options = parser.parse_args()
    import jax
    import torch

    text = (
        "# What gradverify found\n\n"
        f"`python bench/findings.py --write`, torch {torch.__version__}, jax {jax.__version__}, CPU.\n\n"
        "Each was reported by a run of the shipped specs, of random graphs or of the sweep, and is held here against a\n"
        "closed form in mpmath at 60 digits. One rounding is 6e-8 relative in float32 and 1.1e-16 in float64.\n\n"
        f"{table()}\n"
    )
    sys.stdout.write(text)
    if options.write:
        page = HERE.parent / "docs" / "findings.md"
        rest = page.read_text(encoding="utf-8").partition(PACKAGES)  # by bench/packages.py
        page.write_text(text + "".join(rest[1:]), encoding="utf-8")


if __name__ == "__main__":
    main()
