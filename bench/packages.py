"""What the sanitizer found in public packages, each held against a closed form in mpmath.

    python -m bench.packages --folder /scratch/suites [--write]      (from the repository root)

prints the part of docs/findings.md about packages, and writes it there. The packages come from `bench.suites.projects`.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpmath import mp, mpf

from bench.suites.projects import PROJECTS
from bench.suites.run import ROOT, prepare

HEADING = "## In packages"


@dataclass(frozen=True)
class Finding:
    """`got` runs the package; `want` is the same number by mpmath."""

    project: str
    definition: str
    what: str
    got: Callable[[], float]
    want: Callable[[], Any]
    why: str


# ---- memcnn: coupling layers of one number per half, F = tanh(0.7 x) and G = tanh(-0.4 x) ------------------------------

Y, WEIGHTS = (0.5, -1.25), (1.0, 0.25)


def coupling(name: str, entry: int) -> Callable[[], float]:
    """d⟨WEIGHTS, out⟩/dY[entry] by one of memcnn's Functions."""

    def got() -> float:
        import memcnn.models.additive as additive
        import memcnn.models.affine as affine
        import torch

        class Inner(torch.nn.Module):
            def __init__(self, w: float) -> None:
                super().__init__()
                self.w = torch.nn.Parameter(torch.tensor(w, dtype=torch.float64))

            def forward(self, x: Any) -> Any:
                t = torch.tanh(self.w * x)
                return (t.exp(), t) if name.startswith("Affine") else t

        f, g = Inner(0.7), Inner(-0.4)
        y = torch.tensor([Y], dtype=torch.float64, requires_grad=True)
        function = getattr(additive if name.startswith("Additive") else affine, name)
        out = function.apply(y + 0, f, g, *f.parameters(), *g.parameters())
        (out * torch.tensor([WEIGHTS], dtype=torch.float64)).sum().backward()
        return float(y.grad[0, entry])

    return got


def slope_of(formula: Callable[[Any, Any], Sequence[Any]], entry: int) -> Callable[[], Any]:
    """The same of a formula, by mpmath."""

    def loss(a: Any, b: Any) -> Any:
        return sum(mpf(w) * v for w, v in zip(WEIGHTS, formula(a, b)))

    a, b = map(mpf, Y)
    return lambda: mp.diff(lambda t: loss(t, b) if entry == 0 else loss(a, t), (a, b)[entry])


F = lambda x: mp.tanh(mpf(0.7) * x)
G = lambda x: mp.tanh(mpf(-0.4) * x)


def additive_inverse(y1: Any, y2: Any) -> Sequence[Any]:
    x2 = y2 - G(y1)
    return y1 - F(x2), x2


def affine(x1: Any, x2: Any) -> Sequence[Any]:
    y1 = mp.exp(F(x2)) * x1 + F(x2)
    return y1, mp.exp(G(y1)) * x2 + G(y1)


def affine_inverse(y1: Any, y2: Any) -> Sequence[Any]:
    x2 = (y2 - G(y1)) / mp.exp(G(y1))
    return (y1 - F(x2)) / mp.exp(F(x2)), x2


# ---- pytorch_wavelets: filters of four taps -----------------------------------------------------------------------------

TAPS, MODES = (0.125, 0.25, 0.5, 1.0), {"symmetric": 1, "reflect": 4, "periodic": 6}


def analysis(mode: str, entry: int) -> Callable[[], float]:
    """The gradient of the low-pass half's first value by x[entry], x of length 8."""

    def got() -> float:
        import torch
        from pytorch_wavelets.dwt.lowlevel import AFB1D

        h = torch.tensor(TAPS, dtype=torch.float64).reshape(1, 1, -1)
        x = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(1, 1, 8).requires_grad_()
        AFB1D.apply(x, h, h.flip(-1), MODES[mode])[0][0, 0, 0].backward()
        return float(x.grad[0, 0, entry])

    return got


def extended(mode: str, k: int, n: int = 8) -> int:
    """Where the k-th value of an extended signal of length n comes from."""
    if mode == "periodic":
        return k % n
    if k < 0:
        return -k - 1 if mode == "symmetric" else -k
    return k


def taps_at(mode: str, entry: int) -> Callable[[], Any]:
    """The first value is the sum of TAPS[j]·x[j - 2], x extended."""
    return lambda: sum(mpf(h) for j, h in enumerate(TAPS) if extended(mode, j - 2) == entry)


def synthesis() -> float:
    """The gradient of the sum of the outputs by the first low-pass value."""
    import torch
    from pytorch_wavelets.dwt.lowlevel import SFB1D

    g = torch.tensor(TAPS, dtype=torch.float64).reshape(1, 1, -1)
    low, high = (torch.ones(1, 1, 5, dtype=torch.float64).requires_grad_() for _ in range(2))
    SFB1D.apply(low, high, g, g.flip(-1), MODES["symmetric"]).sum().backward()
    return float(low.grad[0, 0, 0])


def synthesis_2d() -> float:
    """The gradient of the output's sum by the details alone: that of their first value."""
    import torch
    from pytorch_wavelets.dwt.lowlevel import SFB2D

    g = torch.tensor(TAPS, dtype=torch.float64)
    rows, columns = g.reshape(1, 1, 1, 4), g.reshape(1, 1, 4, 1)
    low = torch.ones(1, 1, 5, 5, dtype=torch.float64)
    highs = torch.ones(1, 1, 3, 5, 5, dtype=torch.float64).requires_grad_()
    out = SFB2D.apply(low, highs, rows, rows, columns, columns, 0)
    out.sum().backward()
    return 0.0 if highs.grad is None else float(highs.grad[0, 0, 0, 0, 0])


# ---- gpytorch -----------------------------------------------------------------------------------------------------------

Z = -1.2


def log_normal_cdf(gradient: bool) -> Callable[[], float]:
    def got() -> float:
        import torch
        from gpytorch.functions._log_normal_cdf import LogNormalCDF

        z = torch.tensor([Z], dtype=torch.float64, requires_grad=True)
        out = LogNormalCDF.apply(z)
        return float(torch.autograd.grad(out.sum(), z)[0] if gradient else out)

    return got


def difference_of_log_normal_cdf() -> Any:
    """The slope of gpytorch's own values, in float64: what the rule is not either."""
    value = log_normal_cdf_at
    step = 2.0**-12
    return mpf(8 * (value(Z + step) - value(Z - step)) - value(Z + 2 * step) + value(Z - 2 * step)) / (12 * step)


def log_normal_cdf_at(z: float) -> float:
    import torch
    from gpytorch.functions._log_normal_cdf import LogNormalCDF

    return float(LogNormalCDF.apply(torch.tensor([z], dtype=torch.float64)))


# ---- pypose: a similarity of space moves a point ------------------------------------------------------------------------

XI, MOVED, SEEN = (0.5, -0.75, 0.25, 0.75, -0.5, 0.5, 0.5), (1.0, -2.0, 0.5), (1.0, 0.5, -2.0)


def similarity(entry: int) -> Callable[[], float]:
    """d⟨SEEN, exp(ξ)·MOVED⟩/dξ[entry] at ξ = XI by pypose."""

    def got() -> float:
        import pypose as pp
        import torch

        xi = torch.tensor(XI, dtype=torch.float64, requires_grad=True)
        moved = pp.sim3(xi).Exp().Act(torch.tensor(MOVED, dtype=torch.float64))
        (moved * torch.tensor(SEEN, dtype=torch.float64)).sum().backward()
        return float(xi.grad[entry])

    return got


def by_matrix_exponential(entry: int) -> Callable[[], Any]:
    """The same by the exponential of the 4 × 4 matrix [[σ·1 + [φ]×, τ], [0, 0]], ξ = (τ, φ, σ)."""

    def loss(xi: Sequence[Any]) -> Any:
        (x, y, z), s = xi[3:6], xi[6]
        rows = [[s, -z, y, xi[0]], [z, s, -x, xi[1]], [-y, x, s, xi[2]], [0, 0, 0, 0]]
        moved = mp.expm(mp.matrix(rows)) * mp.matrix([*MOVED, 1])
        return sum(mpf(w) * moved[k] for k, w in enumerate(SEEN))

    def along(t: Any) -> Any:
        xi = list(map(mpf, XI))
        xi[entry] = t
        return loss(xi)

    return lambda: mp.diff(along, mpf(XI[entry]))


def adjoint_of_inverse(group: str, entry: int) -> Callable[[], float]:
    """d⟨1 + k, AdjT(X, a)⟩/da[entry], X = Exp(XI), by pypose: its forward pass is Ad(X⁻¹)·a."""

    def got() -> float:
        import pypose as pp
        import torch

        size = ALGEBRAS[group]
        a = torch.ones(size, dtype=torch.float64, requires_grad=True)
        algebra = getattr(pp, group)
        moved = algebra(torch.tensor(XI[:size], dtype=torch.float64)).Exp().AdjT(algebra(a)).tensor()
        (moved * (1 + torch.arange(size, dtype=torch.float64))).sum().backward()
        return float(a.grad[entry])

    return got


ALGEBRAS = {"se3": 6, "sim3": 7}


def by_adjoint_exponential(group: str, entry: int) -> Callable[[], Any]:
    """The same by Ad(Exp(ξ)⁻¹) = exp(-ad ξ)."""

    def want() -> Any:
        size, (t, f, s) = ALGEBRAS[group], (XI[:3], XI[3:6], XI[6] if group == "sim3" else 0)
        ad = mp.zeros(size)
        for corner, v in (((0, 0), f), ((3, 3), f), ((0, 3), t)):
            x, y, z = map(mpf, v)
            for i, row in enumerate(((0, -z, y), (z, 0, -x), (-y, x, 0))):
                for j, c in enumerate(row):
                    ad[corner[0] + i, corner[1] + j] = c
        for i in range(3):
            ad[i, i] += mpf(s)
            if size == 7:
                ad[i, 6] = -mpf(t[i])
        inverse = mp.expm(-ad)
        return sum((1 + k) * inverse[k, entry] for k in range(size))

    return want


FINDINGS = (
    Finding("memcnn", "AdditiveBlockInverseFunction", "gradient of y[0]", coupling("AdditiveBlockInverseFunction", 0),
            slope_of(additive_inverse, 0), "the halves change places: cat([dd[0], dd[1]]) of gradients in the order y2, y1"),
    Finding("memcnn", "AffineBlockInverseFunction", "gradient of y[0]", coupling("AffineBlockInverseFunction", 0),
            slope_of(affine_inverse, 0), "the halves change places"),
    Finding("memcnn", "AffineBlockFunction2", "gradient of x[1]", coupling("AffineBlockFunction2", 1),
            slope_of(affine, 1), "the cotangent of y2 is added as it is, where y2 = s2·x2 + t2 asks for s2 times it"),
    Finding("memcnn", "AffineBlockInverseFunction2", "gradient of y[0]", coupling("AffineBlockInverseFunction2", 0),
            slope_of(affine_inverse, 0), "the cotangent of x1 is added as it is, where 1/s1 times it belongs"),
    *(Finding("pytorch_wavelets", "AFB1D", f"gradient of x[{k}], mode {mode}", analysis(mode, k), taps_at(mode, k),
              "the backward pass is that of zero padding; AFB2D as well")
      for mode, k in (("symmetric", 0), ("reflect", 1), ("periodic", 7))),
    Finding("pytorch_wavelets", "SFB1D", "gradient of low[0], mode symmetric", synthesis,
            lambda: mpf(TAPS[2]) + mpf(TAPS[3]),
            "the backward pass extends the cotangent, where the forward pass cuts the ends off; SFB2D as well, and the "
            "modes reflect and periodic"),
    Finding("pytorch_wavelets", "SFB2D", "gradient of highs[0, 0, 0, 0, 0], low needs none", synthesis_2d,
            lambda: (mpf(TAPS[2]) + mpf(TAPS[3])) ** 2,
            "both gradients are computed where that of low is asked for, else none"),
    Finding("gpytorch", "LogNormalCDF", f"value at z = {Z}", log_normal_cdf(False), lambda: mp.log(mp.ncdf(mpf(Z))),
            "a rational function takes over from -1 down, and is good far down only (7e-14 at -8)"),
    Finding("gpytorch", "LogNormalCDF", f"gradient at z = {Z}", log_normal_cdf(True),
            lambda: mp.npdf(mpf(Z)) / mp.ncdf(mpf(Z)), "the same rational function"),
    Finding("gpytorch", "LogNormalCDF", f"gradient at z = {Z}, of its own values", log_normal_cdf(True),
            difference_of_log_normal_cdf, "the rule is that of log Φ with the rational function put in, not its derivative; "
            "the true value is by differences of five points"),
    *(Finding("pypose", "sim3_Exp", f"gradient of ξ[{k}], ξ of length 1.48, through Act", similarity(k),
              by_matrix_exponential(k),
              "the Jacobian is a power series that ends at the fifth power; Sim3_Log's as well, at the fourth")
      for k in (0, 3, 6)),
    *(Finding("pypose", f"{group.upper() if group == 'se3' else 'Sim3'}_AdjTXa", f"gradient of a[{k}]",
              adjoint_of_inverse(group, k), by_adjoint_exponential(group, k),
              "the forward pass is Ad(X⁻¹)·a, the rule Ad(X)·g, its transpose for rotations only; that of X as well")
      for group, k in (("se3", 0), ("se3", 2), ("sim3", 0))),
)  # fmt: skip


# ---- what is meant ------------------------------------------------------------------------------------------------------

NATURAL = (0.5, -0.75)


def natural(entry: int) -> Callable[[], float]:
    """The rule of gpytorch's natural parameters, of one number: loss 1·μ + 2·σ."""

    def got() -> float:
        import torch
        from gpytorch.variational.natural_variational_distribution import _NaturalToMuVarSqrt

        mean = torch.tensor([NATURAL[0]], dtype=torch.float64, requires_grad=True)
        covariance = torch.tensor([[NATURAL[1]]], dtype=torch.float64, requires_grad=True)
        mu, sigma = _NaturalToMuVarSqrt.apply(mean, covariance)
        (mu + 2 * sigma).sum().backward()
        return float((mean.grad, covariance.grad)[entry])

    return got


def natural_meant(entry: int) -> Callable[[], Any]:
    """The gradient by the expectation parameters (μ, μ² + σ²) of the Gaussian whose natural ones are NATURAL."""

    def want() -> Any:
        a, b = map(mpf, NATURAL)
        e1, e2 = -a / (2 * b), (a / (2 * b)) ** 2 - 1 / (2 * b)
        loss = lambda e1, e2: e1 + 2 * mp.sqrt(e2 - e1**2)
        return mp.diff(lambda t: loss(t, e2) if entry == 0 else loss(e1, t), (e1, e2)[entry])

    return want


def root(along: str) -> Callable[[], float]:
    """What linear_operator's rule predicts for the slope of Σ(R·Rᵀ)·W along a symmetric change, or a change of one entry."""

    def got() -> float:
        import torch
        from linear_operator.functions._root_decomposition import RootDecomposition
        from linear_operator.operators import DenseLinearOperator

        a = torch.tensor(MATRIX, dtype=torch.float64, requires_grad=True)
        operator = DenseLinearOperator(a)
        found, _ = RootDecomposition.apply(
            operator.representation_tree(), 3, a.dtype, a.device, operator.batch_shape, operator.matrix_shape, True, False,
            torch.tensor([[1.0], [0.5], [-0.25]], dtype=torch.float64), a,
        )  # fmt: skip
        ((found @ found.mT) * torch.tensor(LOSS, dtype=torch.float64)).sum().backward()
        return float(a.grad[0, 1] + (a.grad[1, 0] if along == "symmetric" else 0))

    return got


MATRIX = ((2.0, 0.5, 0.25), (0.5, 3.0, -0.5), (0.25, -0.5, 1.5))
LOSS = ((1.0, 2.0, 0.0), (-1.0, 0.5, 1.0), (0.0, 1.0, 1.0))

MEANT = (
    *(Finding("gpytorch", "_NaturalToMuVarSqrt", f"gradient of {n}", natural(k), natural_meant(k),
              "the natural gradient: by the expectation parameters; _TrilNaturalToMuVarSqrt as well")
      for k, n in enumerate(("nat_mean", "nat_covar"))),
    Finding("linear_operator", "RootDecomposition", "slope along a symmetric change of A[0, 1], of a loss of R·Rᵀ",
            root("symmetric"), lambda: mpf(LOSS[0][1]) + mpf(LOSS[1][0]),
            "of a symmetric matrix, and of losses of R·Rᵀ = A: R itself is one root of many"),
)  # fmt: skip


def table(findings: Sequence[Finding], last: str) -> str:
    lines = [f"| package | Function | what | got | {last} | off by (relative) | why |", "|---|---|---|---|---|---|---|"]
    versions = {p.name: p.version for p in PROJECTS}
    with mp.workdps(40):
        for f in findings:
            got, want = mpf(f.got()), mpf(f.want())
            off = abs(got - want) / (abs(want) or 1)
            cells = [f"{f.project} {versions[f.project]}", f"`{f.definition}`", f.what]
            cells += [mp.nstr(got, 15), mp.nstr(want, 15), mp.nstr(off, 2), f.why]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def part() -> str:
    """The part of docs/findings.md."""
    return (
        f"{HEADING}\n\n"
        "`python -m bench.packages --folder FOLDER --write`. Each FAIL of bench/results/suites.md was examined by hand,\n"
        "and is held here in float64 against a closed form in mpmath at 40 digits. These are wrong:\n\n"
        f"{table(FINDINGS, 'true value')}\n\n"
        "These are no derivatives and are meant, so that they fail until they are pinned:\n\n"
        f"{table(MEANT, 'what is meant')}\n\n"
        "spikingjelly's `DSRIFNode.DSRIFFunction` is meant too: the rule of its input and of its threshold is that of the\n"
        "mean rate (differentiation on spike representation), where the true derivative by the input is 0. norse's\n"
        "`ToSpikeTimes` has -1 for the slope of a spike's time, as its docstring says. botorch's `DummySTEFunction` is a\n"
        "test's own: 2x with the gradient of x; so is the rule in equinox's `test_filter_custom_vjp_defvjp`,\n"
        "(g0 + g1, g2) for (g0, g1 + g2). pypose's other Functions of Lie groups take and give gradients in the\n"
        "tangent space, in the first entries of an element's: each fails alone. Of 40 chains of them that begin and end in\n"
        "vectors 29 agree with differences to 1e-11; the others have those above in them.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for sources")
    parser.add_argument("--write", action="store_true", help="write docs/findings.md")
    options = parser.parse_args()
    names = {f.project for f in (*FINDINGS, *MEANT)}
    for project in (p for p in PROJECTS if p.name in names):
        path, _ = prepare(project, options.folder.resolve())
        sys.path[:0] = [str(p) for p in path if p != ROOT]
    warnings.simplefilter("ignore")
    text = part()
    sys.stdout.write(text)
    page = ROOT / "docs" / "findings.md"
    if options.write:
        first = page.read_text(encoding="utf-8").partition(f"\n{HEADING}")[0]
        page.write_text(f"{first.rstrip()}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
