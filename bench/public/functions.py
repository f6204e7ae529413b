"""Differentiable functions of public packages, with their arguments: nobody here wrote the functions."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = """
timm==1.0.31 zuko==1.6.0 pyro-ppl==1.9.2 pyro-api hypll==0.1.1 geoopt==0.5.1 botorch==0.18.1 gpytorch linear_operator
pypose==0.9.5 nflows==0.14 torch-dct==0.1.6 monai==1.6.1 tfp-nightly==0.26.0.dev20261027 ott-jax==0.6.0 jaxlie==1.5.0
quadax==0.3.1
interpax==0.3.16 einops jaxtyping wadler_lindig equinox lineax optimistix jaxopt optax flax msgpack absl-py decorator dm-tree
cloudpickle gast six tqdm toolz chex multipledispatch pyre-extensions typing_inspect mypy_extensions jax_dataclasses jaxkd
opt_einsum tyro
""".split()

Function = Callable[..., Any]


@dataclass(frozen=True)
class Public:
    """A function of a package, `package.name`, and its arguments in float64.

    `meant` says why the gradient is not the function's where its authors say so; `known` what a FAIL comes to.
    """

    name: str
    function: Function
    arguments: tuple[np.ndarray, ...]
    framework: str = "torch"
    meant: str = ""


RNG = np.random.default_rng(3)


def normal(*shape: int, times: float = 1.0) -> np.ndarray:
    return RNG.normal(size=shape) * times


def of(module: str, name: str, **options: Any) -> Function:
    """The function of a module's name, imported when it is called."""
    return lambda *args: getattr(importlib.import_module(module), name)(*args, **options)


def timm(name: str) -> Function:
    """timm's module by its file: its package imports torchvision."""

    def call(x: Any) -> Any:
        folder = next(p for p in map(Path, sys.path) if (p / "timm" / "layers").is_dir())
        spec = importlib.util.spec_from_file_location(
            "activations_me", folder / "timm" / "layers" / "activations_me.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)(x)

    return call


def pypose(kind: str, function: Callable[..., Any]) -> Function:
    """A function of elements of a Lie algebra, given by their coordinates."""

    def call(*args: Any) -> Any:
        return function(getattr(importlib.import_module("pypose"), kind), *args)

    return call


def geoopt(name: str) -> Function:
    def call(*args: Any) -> Any:
        import torch

        ball = importlib.import_module("geoopt.manifolds.stereographic.math")
        return getattr(ball, name)(*args, k=torch.tensor(-1.0, dtype=torch.float64))

    return call


def frechet_mean(x: Any) -> Any:
    import torch

    return importlib.import_module("hypll.manifolds.poincare_ball.math.stats").FrechetMean.apply(
        x, torch.tensor(1.0, dtype=x.dtype), -1, [0], False
    )


def bisected(y: Any, w: Any) -> Any:
    return of("zuko.utils", "bisection", phi=(w,))(lambda x: w * x**3 + x, y, -10.0, 10.0, 60)


def quadrature(n: int, gaussian: bool) -> Function:
    def call(a: Any, b: Any) -> Any:
        import torch

        of_x: Function = lambda x: torch.exp(-(x**2)) if gaussian else 1 + x + x**2
        return of("zuko.utils", "gauss_legendre", n=n)(of_x, a, b)

    return call


def spline(output: int) -> Function:
    def call(*args: Any) -> Any:
        return of("nflows.transforms.splines", "rational_quadratic_spline")(*args)[output]

    return call


def swish(x: Any) -> Any:
    return importlib.import_module("monai.networks.blocks.activation").MemoryEfficientSwish()(x)


def tfp(module: str, name: str) -> Function:
    """A function of TensorFlow Probability on JAX, whose release of 2026 asks for a name that JAX has dropped."""

    def call(*args: Any) -> Any:
        import jax.interpreters.xla
        from jax._src import core

        if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
            jax.interpreters.xla.pytype_aval_mappings = core.pytype_aval_mappings  # type: ignore[attr-defined]
        return of(f"tensorflow_probability.substrates.jax.math.{module}", name)(*args)

    return call


def rooted(name: str) -> Function:
    """One of ott's matrix roots, of a positive definite matrix."""

    def call(a: Any) -> Any:
        import jax.numpy as jnp

        found = of("ott.math.matrix_square_root", name)(a @ a.T + jnp.eye(a.shape[0]))
        return found[0] if isinstance(found, tuple) else found

    return call


def jaxlie(kind: str, function: Callable[..., Any]) -> Function:
    def call(*args: Any) -> Any:
        return function(getattr(importlib.import_module("jaxlie"), kind), *args)

    return call


def kronrod(a: Any, b: Any) -> Any:
    import jax.numpy as jnp

    bell: Function = lambda x, c: jnp.exp(-c * x**2)
    return of("quadax", "quadgk", args=(1.3,))(bell, [a, b])[0]


def interpolated(method: str) -> Function:
    def call(at: Any, values: Any) -> Any:
        import jax.numpy as jnp

        return of("interpax", "interp1d", method=method)(at, jnp.linspace(0, 3, 7), values)

    return call


def torch_functions() -> list[Public]:
    a = np.array
    rows: list[tuple[str, Function, tuple[np.ndarray, ...]]] = [
        *((f"timm.{n}", timm(n), (normal(5) * 2,))
          for n in ("swish_me", "mish_me", "hard_sigmoid_me", "hard_swish_me", "hard_mish_me")),
        ("zuko.bisection", bisected, (a([0.3, 2.0, -5.0]), a([1.5, 0.3, 2.0]))),
        ("zuko.gauss_legendre, 3 nodes, of a parabola", quadrature(3, False), (a(-0.7), a(4.2))),
        ("zuko.gauss_legendre, 16 nodes, of a bell", quadrature(16, True), (a(-0.7), a(4.2))),
        ("pyro.safe_log", of("pyro.ops.special", "safe_log"), (a([0.3, 2.0]),)),
        ("pyro.log_beta", of("pyro.ops.special", "log_beta"), (a([0.3, 2.0]), a([4.0, 1.0]))),
        *((f"pyro.{n}", of("pyro.ops.tensor_utils", n), args) for n, args in (
            ("dct", (normal(6),)), ("idct", (normal(6),)), ("convolve", (normal(6), normal(3))),
            ("safe_normalize", (normal(2, 3),)))),
        ("hypll.FrechetMean", frechet_mean, (normal(4, 2, times=0.2),)),
        *((f"geoopt.{n}", geoopt(n), (normal(3, times=0.2), normal(3, times=0.2)))
          for n in ("mobius_add", "dist", "logmap", "expmap")),
        *((f"botorch.{n}", of("botorch.utils.safe_math", n), (a([0.3, -2.0, 5.0]),))
          for n in ("fatplus", "log_fatplus", "fatmoid", "log_softplus")),
        *((f"botorch.{n}", of("botorch.utils.probability.utils", n), (a([0.3, -2.0, 5.0]),))
          for n in ("log_phi", "log_ndtr", "log_erfc", "log_erfcx", "standard_normal_log_hazard", "ndtr", "phi")),
        ("botorch.log_prob_normal_in", of("botorch.utils.probability.utils", "log_prob_normal_in"),
         (a([0.3, -2.0]), a([0.9, 1.0]))),
        ("botorch._log_ei_helper", of("botorch.acquisition.analytic", "_log_ei_helper"), (a([0.3, -2.0, 5.0, -40.0]),)),
        ("botorch._ei_helper", of("botorch.acquisition.analytic", "_ei_helper"), (a([0.3, -2.0, 5.0]),)),
        ("pypose.so3.Exp, Act", pypose("so3", lambda of, x, p: of(x).Exp().Act(p)), (normal(3), normal(3))),
        ("pypose.so3.Exp, quaternion", pypose("so3", lambda of, x: of(x).Exp().tensor()), (normal(3),)),
        ("pypose.se3.Exp, Act", pypose("se3", lambda of, x, p: of(x).Exp().Act(p)), (normal(6, times=0.5), normal(3))),
        ("pypose.se3.Mul, Act", pypose("se3", lambda of, x, y, p: (of(x).Exp() @ of(y).Exp()).Act(p)),
         (normal(6, times=0.5), normal(6, times=0.3), normal(3))),
        ("pypose.se3.Inv, Act", pypose("se3", lambda of, x, p: of(x).Exp().Inv().Act(p)), (normal(6, times=0.5), normal(3))),
        ("pypose.se3.Log", pypose("se3", lambda of, x, y: (of(x).Exp() @ of(y).Exp()).Log().tensor()),
         (normal(6, times=0.5), normal(6, times=0.3))),
        ("pypose.sim3.Exp, Act", pypose("sim3", lambda of, x, p: of(x).Exp().Act(p)), (normal(7, times=0.5), normal(3))),
        ("nflows.rational_quadratic_spline", spline(0), (RNG.uniform(size=3), normal(3, 4), normal(3, 4), normal(3, 5))),
        ("nflows.rational_quadratic_spline, logabsdet", spline(1),
         (RNG.uniform(size=3), normal(3, 4), normal(3, 4), normal(3, 5))),
        ("torch_dct.dct", of("torch_dct", "dct"), (normal(2, 6),)),
        ("torch_dct.idct", of("torch_dct", "idct"), (normal(2, 6),)),
        ("monai.MemoryEfficientSwish", swish, (normal(5),)),
    ]  # fmt: skip
    return [Public(name, f, args) for name, f, args in rows]


def jax_functions() -> list[Public]:
    a = np.array
    three, two = a([0.3, 2.0, -1.0]), a([0.7, 2.5])
    rows: list[tuple[str, Function, tuple[np.ndarray, ...]]] = [
        ("tfp.atan_difference", tfp("special", "atan_difference"), (three, a([0.5, -1.0, 4.0]))),
        ("tfp.betainc", tfp("special", "betainc"), (a([0.7, 2.0]), a([1.5, 3.0]), a([0.3, 0.8]))),
        *((f"tfp.{n}", tfp("special", n), (three,))
          for n in ("dawsn", "erfcx", "logerfc", "logerfcx")),
        ("tfp.erfcinv", tfp("special", "erfcinv"), (a([0.3, 1.2, 1e-3]),)),
        ("tfp.igammainv", tfp("special", "igammainv"), (two, a([0.3, 0.8]))),
        ("tfp.igammacinv", tfp("special", "igammacinv"), (two, a([0.3, 0.8]))),
        ("tfp.round_exponential_bump_function", tfp("special", "round_exponential_bump_function"), (a([0.3, -0.8, 0.99]),)),
        ("tfp.lambertw", tfp("special", "lambertw"), (a([0.3, 2.0, 10.0]),)),
        ("tfp.lambertw_winitzki_approx", tfp("special", "lambertw_winitzki_approx"), (a([0.3, 2.0, 10.0]),)),
        ("tfp.log_gamma_correction", tfp("special", "log_gamma_correction"), (a([9.0, 20.0]),)),
        ("tfp.log_gamma_difference", tfp("special", "log_gamma_difference"), (two, a([9.0, 20.0]))),
        ("tfp.lbeta", tfp("special", "lbeta"), (two, a([9.0, 20.0]))),
        ("tfp.owens_t", tfp("special", "owens_t"), (a([0.7, -2.0]), a([0.3, 1.5]))),
        *((f"tfp.{n}", tfp("bessel", n), (two, a([0.3, 8.0])))
          for n in ("bessel_iv_ratio", "bessel_ive", "bessel_kve", "log_bessel_ive", "log_bessel_kve")),
        *((f"tfp.{n}", tfp("generic", n), (two, a([0.3, 8.0]))) for n in ("log_add_exp", "log_sub_exp")),
        *((f"tfp.{n}", tfp("generic", n), (a([0.7, 0.5, 30.0]),))
          for n in ("log1mexp", "sqrt1pm1", "log_cosh", "softplus_inverse")),
        *((f"tfp.{n}", tfp("generic", n), (a([0.7, 0.2, -3.0]),))
          for n in ("smootherstep", "log_cumsum_exp", "reduce_logmeanexp")),
        ("ott.logsumexp", lambda x: of("ott.math.utils", "logsumexp")(x, 1), (normal(3, 4),)),
        ("ott.logsumexp, weighted", lambda x, b: of("ott.math.utils", "logsumexp")(x, 1, False, b),
         (normal(3, 4), np.abs(normal(3, 4)))),
        ("ott.softmin", lambda x: of("ott.math.utils", "softmin")(x, 0.3, 1), (normal(3, 4),)),
        ("ott.lambertw", of("ott.math.utils", "lambertw"), (a([0.3, 2.0, 10.0]),)),
        ("ott.safe_log", of("ott.math.utils", "safe_log"), (a([0.3, 2.0, 10.0]),)),
        *((f"ott.{n}", rooted(n), (normal(3, 3),)) for n in ("sqrtm", "sqrtm_only", "inv_sqrtm_only")),
        ("jaxlie.SO3.exp", jaxlie("SO3", lambda of, x, p: of.exp(x) @ p), (normal(3), normal(3))),
        ("jaxlie.SE3.exp", jaxlie("SE3", lambda of, x, p: of.exp(x) @ p), (normal(6), normal(3))),
        ("jaxlie.SE3.log", jaxlie("SE3", lambda of, x, y: (of.exp(x) @ of.exp(y)).log()),
         (normal(6, times=0.4), normal(6, times=0.3))),
        ("quadax.quadgk", kronrod, (a(0.1), a(2.0))),
        *((f"interpax.interp1d, {m}", interpolated(m), (a([0.3, 1.7, 2.2]), np.sin(np.linspace(0, 3, 7))))
          for m in ("cubic", "akima", "monotonic")),
    ]  # fmt: skip
    return [Public(name, f, args, "jax") for name, f, args in rows]
