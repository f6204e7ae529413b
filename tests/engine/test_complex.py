"""Complex tensors: values, gradients, second derivatives, dtypes and errors against PyTorch's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradverify.engine as engine
from gradverify.engine import wirtinger
from gradverify.ops import OPS

torch = pytest.importorskip("torch")

Z = np.array([[0.8 + 1.2j, -1.5 + 0.4j, 0.3 - 0.7j], [-0.6 - 0.9j, 1.1 - 0.2j, 0.25 + 2.0j]])
W = np.array([[1.3 - 0.4j, 0.7 + 0.6j, -0.9 + 1.1j], [0.2 + 0.5j, -1.2 - 0.8j, 0.6 - 1.4j]])
X = np.array([[0.5, -1.25, 2.0], [1.5, -0.75, 0.3]])

# (torch-like module, complex z (2, 3), complex w (2, 3), real x (2, 3)) -> tensor
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: (lambda t, z, w, x, name=name: getattr(t, name)(z))
    for name in (
        "abs angle sgn conj conj_physical real imag neg square sqrt rsqrt reciprocal exp exp2 expm1 log log1p log2 log10 "
        "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh sigmoid view_as_real sum mean prod var std norm "
        "resolve_conj"
    ).split()
} | {
    "add": lambda t, z, w, x: z + w,
    "add_real": lambda t, z, w, x: z + x,
    "add_alpha": lambda t, z, w, x: t.add(z, w, alpha=2 - 1j),
    "sub": lambda t, z, w, x: x - z,
    "mul": lambda t, z, w, x: z * w * x,
    "mul_number": lambda t, z, w, x: z * (2 - 1j) + 1j,
    "real_times_number": lambda t, z, w, x: x * (2 - 1j),
    "div": lambda t, z, w, x: z / w,
    "div_real": lambda t, z, w, x: x / w,
    "rdiv": lambda t, z, w, x: (1 + 2j) / z,
    "pow_int": lambda t, z, w, x: z**3,
    "pow_minus": lambda t, z, w, x: z**-2,
    "pow_half": lambda t, z, w, x: z**0.5,
    "pow_complex": lambda t, z, w, x: z ** (1.5 - 0.5j),
    "pow": lambda t, z, w, x: z**w,
    "pow_real_exponent": lambda t, z, w, x: z**x,
    "pow_real_base": lambda t, z, w, x: (x * x) ** z,
    "rpow": lambda t, z, w, x: 2**z,
    "matmul": lambda t, z, w, x: z @ w.mT,
    "matmul_h": lambda t, z, w, x: z @ w.mH,
    "mv": lambda t, z, w, x: z @ w[0],
    "dot": lambda t, z, w, x: t.dot(z[0], w[1]),
    "vdot": lambda t, z, w, x: t.vdot(z[0], w[1]),
    "vecdot": lambda t, z, w, x: t.linalg.vecdot(z, w),
    "outer": lambda t, z, w, x: t.outer(z[0], w[1]),
    "einsum": lambda t, z, w, x: t.einsum("ij,kj->ik", z, w),
    "bmm": lambda t, z, w, x: t.bmm(z[None], w.mT[None]),
    "addmm": lambda t, z, w, x: t.addmm(z[:, :2], z, w.mT, alpha=1j),
    "addcmul": lambda t, z, w, x: t.addcmul(z, w, z, value=0.5),
    "lerp": lambda t, z, w, x: t.lerp(z, w, 0.25),
    "inv": lambda t, z, w, x: t.linalg.inv(z @ w.mT),
    "det": lambda t, z, w, x: t.linalg.det(z @ w.mT),
    "det_3": lambda t, z, w, x: t.linalg.det(t.cat([z, w[:1]])),
    "solve": lambda t, z, w, x: t.linalg.solve(z @ w.mT, z),
    "solve_triangular": lambda t, z, w, x: t.linalg.solve_triangular((z @ w.mT).tril(), z, upper=False),
    "cholesky": lambda t, z, w, x: t.linalg.cholesky(z @ z.mH + 2 * t.eye(2, dtype=z.dtype)),
    "matrix_power": lambda t, z, w, x: t.matrix_power(z @ w.mT, 3),
    "trace": lambda t, z, w, x: t.trace(z @ w.mT),
    "H": lambda t, z, w, x: z.H,
    "adjoint": lambda t, z, w, x: z.adjoint(),
    "T": lambda t, z, w, x: z.T,
    "norm_1": lambda t, z, w, x: z.norm(p=1),
    "norm_dim": lambda t, z, w, x: z.norm(dim=1),
    "vector_norm_3": lambda t, z, w, x: t.linalg.vector_norm(z, 3.0),
    "vector_norm_inf": lambda t, z, w, x: t.linalg.vector_norm(z, float("inf")),
    "var_dim": lambda t, z, w, x: z.var(1, unbiased=False),
    "std_dim": lambda t, z, w, x: z.std(1, keepdim=True),
    "sum_dim": lambda t, z, w, x: z.sum(0),
    "mean_dim": lambda t, z, w, x: z.mean(1, keepdim=True),
    "prod_dim": lambda t, z, w, x: z.prod(1),
    "cumsum": lambda t, z, w, x: z.cumsum(1),
    "cumprod": lambda t, z, w, x: z.cumprod(1),
    "abs_squared": lambda t, z, w, x: (z * z.conj()).real,
    "complex": lambda t, z, w, x: t.complex(x, x * x),
    "complex_parts": lambda t, z, w, x: t.complex(z.real, x) * w,
    "polar": lambda t, z, w, x: t.polar(x * x, x),
    "view_as_complex": lambda t, z, w, x: t.view_as_complex(t.stack([x, x.sin()], -1)) * z,
    "view_round": lambda t, z, w, x: t.view_as_complex(t.view_as_real(z) * 2),
    "view_as_real_of_T": lambda t, z, w, x: t.view_as_real(z.T)[..., 1],
    "angle_real": lambda t, z, w, x: t.angle(x) * x,
    "sgn_real": lambda t, z, w, x: t.sgn(x) * x,
    "where": lambda t, z, w, x: t.where(x > 0, z, w),
    "masked_fill": lambda t, z, w, x: z.masked_fill(x > 1, 2 - 1j),
    "cat": lambda t, z, w, x: t.cat([z, w], 1),
    "stack": lambda t, z, w, x: t.stack([z, w]),
    "index": lambda t, z, w, x: z[:, [0, 2, 0]],
    "slice": lambda t, z, w, x: z[1:, ::2],
    "gather": lambda t, z, w, x: z.gather(1, t.tensor([[0, 0], [2, 1]])),
    "index_add": lambda t, z, w, x: z.index_add(0, t.tensor([0, 0]), w),
    "tril": lambda t, z, w, x: z.tril(),
    "flip": lambda t, z, w, x: z.flip(1).roll(1, 0),
    "expand": lambda t, z, w, x: z.expand(2, 2, 3) * w,
    "repeat": lambda t, z, w, x: z.repeat(2, 1),
    "diagonal": lambda t, z, w, x: z.diagonal(),
    "to_complex": lambda t, z, w, x: x.to(z.dtype) * w,
    "to_real": lambda t, z, w, x: z.to(x.dtype),
    "normalize": lambda t, z, w, x: t.nn.functional.normalize(z, dim=1),
    "linear": lambda t, z, w, x: t.nn.functional.linear(z, w, z[0, :2]),
    "softsign": lambda t, z, w, x: t.nn.functional.softsign(z),
    "l1_loss": lambda t, z, w, x: (z - w).abs().mean(),
    "fft": lambda t, z, w, x: t.fft.fft(z),
    "fft_real": lambda t, z, w, x: t.fft.fft(x, norm="ortho"),
    "fft_n": lambda t, z, w, x: t.fft.fft(z, n=5, dim=0, norm="forward"),
    "fft_cut": lambda t, z, w, x: t.fft.fft(z, n=2),
    "ifft": lambda t, z, w, x: t.fft.ifft(z),
    "ifft_forward": lambda t, z, w, x: t.fft.ifft(z, norm="forward"),
    "fft2": lambda t, z, w, x: t.fft.fft2(z),
    "ifft2": lambda t, z, w, x: t.fft.ifft2(z, norm="ortho"),
    "fftn": lambda t, z, w, x: t.fft.fftn(z, dim=(1, 0)),
    "rfft": lambda t, z, w, x: t.fft.rfft(x),
    "rfft_even": lambda t, z, w, x: t.fft.rfft(x, n=4),
    "irfft": lambda t, z, w, x: t.fft.irfft(z),
    "irfft_odd": lambda t, z, w, x: t.fft.irfft(z, n=5),
    "rfft2": lambda t, z, w, x: t.fft.rfft2(x, norm="forward"),
    "irfft2": lambda t, z, w, x: t.fft.irfft2(z, norm="ortho"),
    "irfftn": lambda t, z, w, x: t.fft.irfftn(z, s=(3, 5)),
    "hfft": lambda t, z, w, x: t.fft.hfft(z),
    "ihfft": lambda t, z, w, x: t.fft.ihfft(x),
    "fftshift": lambda t, z, w, x: t.fft.ifftshift(t.fft.fftshift(z, dim=1) * w),
    "compound": lambda t, z, w, x: (z * x + w.conj()).sin().abs() * (z / w).angle(),
    "holomorphic": lambda t, z, w, x: (z.sin() * w.exp() - 1 / z).tanh(),
}  # fmt: skip


def leaves(module: Any, wide: bool) -> list[Any]:
    c, r = (np.complex128, np.float64) if wide else (np.complex64, np.float32)
    made = [module.from_numpy(a.astype(d)) for a, d in ((Z, c), (W, c), (X, r))]
    return [m.requires_grad_() for m in made]


def seed(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """A cotangent without symmetry."""
    rng = np.random.default_rng(7)
    g = rng.uniform(0.5, 1.5, shape) * np.where(rng.random(shape) < 0.5, -1, 1)
    if like.dtype.kind == "c":
        g = g + 1j * rng.uniform(0.5, 1.5, shape)
    return g.astype(like.dtype)


def array(x: Any) -> np.ndarray:
    return np.array(x.detach().resolve_conj().resolve_neg().numpy(force=True))


def derivatives(module: Any, f: Callable[..., Any], wide: bool) -> list[Any]:
    """The value, the gradients of <g, f>, and the gradients of the sum of squares of those: everything as arrays."""
    z, w, x = given = leaves(module, wide)
    out = f(module, z, w, x)
    value = array(out)
    g = module.from_numpy(np.asarray(seed(value.shape, value)))
    first = module.autograd.grad(out, given, g, allow_unused=True, create_graph=True)
    seen = [value, *(None if d is None else array(d) for d in first)]
    ends = [(d * d.conj()).real.sum() for d in first if d is not None and d.requires_grad]
    if ends:
        second = module.autograd.grad(sum(ends), given, allow_unused=True)
        seen += [None if d is None else array(d) for d in second]
    return seen


def close(a: Any, b: Any, wide: bool, what: str) -> None:
    assert (a is None) == (b is None), what
    if a is None:
        return
    assert a.dtype == b.dtype, what
    assert a.shape == b.shape, what
    # The two libraries round differently; the question here is whether it is the same function. Second derivatives of
    # these functions are at most some hundreds of terms of their size.
    unit = 2.0**-53 if wide else 2.0**-24
    scale = max(float(np.max(np.abs(b), initial=0.0)), 1.0)
    assert np.max(np.abs(a - b), initial=0.0) <= 1000 * unit * scale, what


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("wide", [True, False], ids=["complex128", "complex64"])
@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_values_and_derivatives_are_pytorchs(name: str, wide: bool) -> None:
    ours, theirs = (derivatives(m, FUNCTIONS[name], wide) for m in (engine, torch))
    label = ["value", "dz", "dw", "dx", "ddz", "ddw", "ddx"]
    assert len(ours) == len(theirs)
    for what, a, b in zip(label, ours, theirs):
        close(a, b, wide, f"{name}: {what}")


EDGES = [0j, complex(-0.0, 0.0), complex(-2, 0.0), complex(-2, -0.0), 1j, complex(0, -1), 1.0 + 0j, complex(3, 0.0)]


@pytest.mark.parametrize("name", ["abs", "angle", "sgn", "square", "exp", "sin", "log", "sqrt", "tanh", "sigmoid"])
def test_edges_are_pytorchs(name: str) -> None:
    """At 0 and on both sides of the cuts: -2 + 0i lies above, -2 - 0i below."""

    def at(module: Any) -> list[np.ndarray]:
        z = module.tensor(EDGES, dtype=module.complex128, requires_grad=True)
        out = getattr(module, name)(z)
        (d,) = module.autograd.grad(out, z, module.ones_like(out))
        return [array(out), array(d)]

    with np.errstate(all="ignore"):
        for a, b in zip(at(engine), at(torch)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", ["abs", "angle", "sgn"])
@pytest.mark.parametrize("z", [0.7 + 0.4j, -1.2 + 0.3j])
def test_the_forms_are_the_derivatives_of_the_parts(name: str, z: complex) -> None:
    """Against central differences of the real and imaginary parts, which know of no convention."""
    f = getattr(engine, name)
    g = 0.6 - 1.1j if name == "sgn" else 0.6

    def loss(v: complex) -> float:
        w = complex(f(engine.tensor(v, dtype=engine.complex128)).item())
        return (g.conjugate() * w).real

    h = 1e-6
    want = (loss(z + h) - loss(z - h)) / (2 * h) + 1j * (loss(z + 1j * h) - loss(z - 1j * h)) / (2 * h)
    leaf = engine.tensor(z, dtype=engine.complex128, requires_grad=True)
    kind = engine.complex128 if name == "sgn" else engine.float64
    (got,) = engine.autograd.grad(f(leaf), leaf, engine.tensor(g, dtype=kind))
    assert abs(complex(got.item()) - want) < 1e-8


def test_where_takes_the_real_part_for_its_real_argument() -> None:
    """No comparison: PyTorch 2.13 raises in the backward pass of where(mask, complex, real)."""
    z = engine.tensor([1j, 2j], requires_grad=True)
    x = engine.tensor([1.0, 2.0], requires_grad=True)
    mask = engine.tensor([True, False])
    dz, dx = engine.autograd.grad(engine.where(mask, z, x), [z, x], engine.tensor([3 + 4j, 5 - 6j]))
    assert dz.tolist() == [3 + 4j, 0]
    assert dx.tolist() == [0.0, 5.0]
    assert dx.dtype is engine.float32


def test_a_view_writes_through_to_its_complex_base() -> None:
    def story(module: Any) -> list[Any]:
        z = module.tensor([1 + 2j, 3 - 1j], dtype=module.complex128, requires_grad=True)
        y = z * 1
        y.real.mul_(3)
        module.view_as_real(y)[1, 1] = 5.0
        y.imag = y.imag * 2
        out = (y * y).imag.sum()
        out.backward()
        return [array(y), array(z.grad)]

    for a, b in zip(story(engine), story(torch)):
        np.testing.assert_array_equal(a, b)


def test_what_pytorch_has_as_metadata() -> None:
    for m in (engine, torch):
        z = m.tensor([1 + 2j])
        assert z.is_complex()
        assert m.is_complex(z)
        assert not z.is_floating_point()
        assert str(z.dtype) == "torch.complex64"
        assert str(m.tensor([1j], dtype=m.cdouble).real.dtype) == "torch.float64"
        assert m.isreal(m.tensor([1 + 0j, 2j])).tolist() == [True, False]
        assert m.view_as_real(z)._is_view()
        assert z.real._is_view()
        assert m.view_as_real(z).shape == (1, 2)


ERRORS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "implicit": lambda t, z, x: z.sum().backward(),
    "real_cotangent": lambda t, z, x: t.autograd.grad(z.sum(), z, t.tensor(1.0)),
    "complex_cotangent": lambda t, z, x: z.abs().sum().backward(t.tensor(1j)),
    "sign": lambda t, z, x: t.sign(z),
    "floor": lambda t, z, x: t.floor(z),
    "trunc": lambda t, z, x: t.trunc(z),
    "round": lambda t, z, x: t.round(z),
    "maximum": lambda t, z, x: t.maximum(z, x),
    "less": lambda t, z, x: z < z,
    "greater_number": lambda t, z, x: z > 0,
    "relu": lambda t, z, x: t.relu(z),
    "clamp": lambda t, z, x: t.clamp(z, 0, 1),
    "erf": lambda t, z, x: t.erf(z),
    "max": lambda t, z, x: z.max(),
    "max_dim": lambda t, z, x: z.max(0)[0],
    "argmax": lambda t, z, x: z.argmax(),
    "sort": lambda t, z, x: z.sort(),
    "topk": lambda t, z, x: z.topk(1),
    "remainder": lambda t, z, x: z % 2,
    "softmax": lambda t, z, x: t.softmax(z, 0),
    "gelu": lambda t, z, x: t.nn.functional.gelu(z),
    "imag_of_real": lambda t, z, x: x.imag,
    "matmul_mixed": lambda t, z, x: x.reshape(1, 2) @ z.reshape(2, 1),
    "dot_mixed": lambda t, z, x: t.vdot(z, x),
    "complex_mixed": lambda t, z, x: t.complex(x, x.double()),
    "complex_of_ints": lambda t, z, x: t.complex(t.tensor([1]), t.tensor([1])),
    "view_as_complex_shape": lambda t, z, x: t.view_as_complex(t.zeros(3)),
    "view_as_complex_stride": lambda t, z, x: t.view_as_complex(t.zeros(2, 3).mT),
    "view_as_real_of_real": lambda t, z, x: t.view_as_real(x),
    "rfft_of_complex": lambda t, z, x: t.fft.rfft(z),
    "in_place_into_real": lambda t, z, x: t.zeros(2).add_(z),
    "H_of_vector": lambda t, z, x: z.H,
    "default_dtype": lambda t, z, x: t.set_default_dtype(t.complex64),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_pytorchs(name: str) -> None:
    said = []
    for m in (engine, torch):
        z, x = m.tensor([1 + 2j, 3 - 1j], requires_grad=True), m.tensor([0.5, 2.0])
        with pytest.raises((RuntimeError, TypeError, NotImplementedError)) as caught:
            ERRORS[name](m, z, x)
        said.append((type(caught.value), re.split(r"\. |\n", str(caught.value))[0]))
    (our_type, our_text), (their_type, their_text) = said
    assert our_type is their_type
    # Which kernel has no complex form is PyTorch's own affair.
    kernel = re.compile(r'^"\w+" not implemented')
    assert kernel.sub("", our_text) == kernel.sub("", their_text)


def test_a_function_of_a_real_input_must_not_return_a_complex_gradient() -> None:
    for m in (engine, torch):

        class Wrong(m.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: Any) -> Any:
                return x * 2

            @staticmethod
            def backward(ctx: Any, g: Any) -> Any:
                return g * (1 + 1j)

        x = m.tensor([1.0, 2.0], requires_grad=True)
        with pytest.raises(RuntimeError, match="input_is_complex == grad_is_complex"):
            Wrong.apply(x).sum().backward()


def test_every_op_is_holomorphic_has_a_form_or_is_refused() -> None:
    """No op of the table computes with complex numbers by accident."""
    declared = set(wirtinger.HOLOMORPHIC) | set(wirtinger.FORMS)
    assert not set(wirtinger.HOLOMORPHIC) & set(wirtinger.FORMS)
    assert not declared & set(wirtinger.REFUSALS)
    for name, spec in OPS.items():
        if name in declared or spec.arity != 1 or any(p.required for p in spec.params.values()):
            continue
        if spec.argument(0) != "float":
            continue
        with pytest.raises((NotImplementedError, RuntimeError)):
            getattr(engine.ENGINE, name)(engine.tensor([[1 + 2j, 2j], [1j, 3]]))


@pytest.mark.parametrize("name", sorted(n for n, s in OPS.items() if n in wirtinger.HOLOMORPHIC and s.arity == 1))
def test_holomorphic_ops_satisfy_cauchy_and_riemann(name: str) -> None:
    """f(z + ih) - f(z) is i times f(z + h) - f(z), to first order: what `HOLOMORPHIC` claims."""
    spec = OPS[name]
    if any(p.required for p in spec.params.values()) or spec.result != "float" or name == "normalize":
        pytest.skip("needs parameters, has no derivative, or is made of a norm")
    f = getattr(engine.ENGINE, name)
    z = np.array([[0.8 + 1.2j, -1.5 + 0.4j], [0.3 - 0.7j, -0.6 - 0.9j]])
    z = z[:, :1] if name == "squeeze" else z
    h = 1e-5
    at = lambda d: array(f(engine.from_numpy(z + d)))
    along, across = (at(h) - at(-h)) / (2 * h), (at(1j * h) - at(-1j * h)) / (2 * h)
    np.testing.assert_allclose(across, 1j * along, atol=1e-7)


@pytest.mark.parametrize("n", [6, 7, 10])
def test_what_irfft_ignores_has_no_gradient_to_the_last_bit(n: int) -> None:
    """The imaginary parts at frequency 0 and, for even n, at n/2: a transform leaves their zeros to rounding only."""
    rng = np.random.default_rng(n)
    for _ in range(10):
        z = engine.tensor(rng.normal(size=n // 2 + 1) + 1j * rng.normal(size=n // 2 + 1), requires_grad=True)
        engine.fft.irfft(z, n).backward(engine.tensor(rng.normal(size=n) * 10.0 ** rng.uniform(-3, 3, n)))
        ends = [0, n // 2] if n % 2 == 0 else [0]
        assert (np.asarray(z.grad.numpy()).imag[ends] == 0).all()
