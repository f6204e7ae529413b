"""What FAILs of the gradients written by hand come to, each held against a closed form in mpmath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mpmath import mp, mpf

from .gradients import attention, module_of, programme


@dataclass(frozen=True)
class Fault:
    """`got` runs the package; `want` is the same number by mpmath."""

    name: str
    what: str
    got: Callable[[], float]
    want: Callable[[], Any]
    why: str


def slope(
    function: Callable[..., Any], values: Sequence[Any], entry: tuple[int, ...], of: int = 0
) -> Callable[[], float]:
    """The gradient of the sum of `function` by one entry of the argument `of`."""

    def got() -> float:
        import torch

        args = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
        function(*args).sum().backward()
        gradient = args[of].grad
        return float(gradient[entry]) if gradient is not None else 0.0

    return got


KNOTS = (0.5, -1.0, 2.0)


def spline_slopes(c: Any) -> Any:
    """Three times the slope of the linear spline with these values at -1, 0 and 1, at 0.25."""
    import torch

    apply = module_of("deepinv.models.deal").LinearSplineDerivativeFunc.apply
    at = lambda v: torch.tensor(v, dtype=torch.float64)
    return 3 * apply(at([[[[[0.25]]]]]), c, at(-1.0), at(1.0), 3, torch.tensor([0]))


def piecewise(x: Any) -> Any:
    import torch

    at = lambda v: torch.tensor(v, dtype=torch.float64)
    return module_of("echoAI.Activation.Torch.apl").apl_function.apply(x, at([[0.5]]), at([[1.0]]))


SCORES = (0.3, 0.1, -0.4)


def projected(x: Any) -> Any:
    return module_of("torch_struct.semirings.sparse_max")._SimplexProject.apply(x, -1)


def projected_value(t: Any) -> Any:
    """x·w - |w| of the projection w of x on the simplex, whose support all three entries are."""
    x = [t, *map(mpf, SCORES[1:])]
    w = [v - (sum(x) - 1) / 3 for v in x]
    return sum(a * b for a, b in zip(x, w)) - mp.sqrt(sum(v**2 for v in w))


P = ((-1.0, -2.0, 0.5), (0.3, 1.0, -2.0))


def shared_matrix(a: Any) -> Any:
    import torch

    return programme("batch")(a, torch.tensor(P, dtype=torch.float64))


def shared_matrix_value(t: Any) -> Any:
    """The sum of both solutions, -Q⁻¹ p. Q is A A' + 1 with A = diag(t, 0, 0), and no constraint is met."""
    return sum(-(mpf(p[0]) / (t**2 + 1)) - mpf(p[1]) - mpf(p[2]) for p in P)


def frozen_bias() -> float:
    """The first output of a quaternion layer with a frozen bias. Its input, weights and bias are all 1."""
    import torch

    function = module_of("speechbrain.nnet.quaternion_networks.q_ops").QuaternionLinearCustomBackward
    one = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    x, bias = torch.ones(1, 4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    return float(function.apply(x, one, one, one, one, bias)[0, 0])


def cayley_value(t: Any) -> Any:
    """The sum of (1 + M)⁻¹ (1 - M), M = [[0, t], [-1/2, 0]]."""
    m = mp.matrix([[0, t], [mpf(-0.5), 0]])
    q = mp.inverse(mp.eye(2) + m) * (mp.eye(2) - m)
    return sum(q)


def expm_value(t: Any) -> Any:
    return sum(mp.expm(mp.matrix([[0, t], [mpf(-0.5), 0]])))


SKEW = ((0.0, 0.5), (-0.5, 0.0))
QUERIES, KEYS, VALUES = (0.5,), (1.0, -0.5), (2.0, 3.0)


def first_value() -> float:
    """The gradient of causal attention of one query and two keys by the second value."""
    import torch

    q, k, v = (torch.tensor(a).reshape(1, -1, 1, 1).requires_grad_() for a in (QUERIES, KEYS, VALUES))
    attention(True, False, 8)(q, k, v).sum().backward()
    assert v.grad is not None
    return float(v.grad[0, 1])


def second_weight() -> Any:
    """The weight of the second key: the one query stands at the end, and sees both."""
    (q,), (a, b) = map(mpf, QUERIES), map(mpf, KEYS)
    return mp.exp(q * b) / (mp.exp(q * a) + mp.exp(q * b))


def derivative(of: Callable[[Any], Any], at: float) -> Callable[[], Any]:
    return lambda: mp.diff(of, mpf(at))


FAULTS = (
    Fault("deepinv.LinearSplineDerivativeFunc", "gradient of 3·f by the third value", slope(spline_slopes, [KNOTS], (2,)),
          lambda: mpf(3), "the cotangent is not used; of values in several rows it raises, as it returns them in one"),
    Fault("echoAI.apl_function", "gradient of x at -1, one hinge at 1 of slope 1/2", slope(piecewise, [[[-1.0]]], (0, 0)),
          lambda: mpf(-0.5), "the hinges are masked by x ≥ 0 where b - x > 0 belongs; those of a and b as well"),
    Fault("torch_struct._SimplexProject", "gradient of the first score", slope(projected, [[SCORES]], (0, 0)),
          derivative(projected_value, SCORES[0]),
          "the value is x·w - |w|, and the gradient w is that of x·w - |w|²/2, which is the conjugate of sparsemax"),
    Fault("qpth.QPFunction", "gradient of a Q that two programmes share, by A[0, 0] = 1/2",
          slope(shared_matrix, [((0.5, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))], (0, 0)),
          derivative(shared_matrix_value, 0.5), "the mean over the batch for the sum; p, G, h, A and b as well"),
    Fault("speechbrain.QuaternionLinearCustomBackward", "value, of a bias of 1 that is frozen", frozen_bias,
          lambda: mpf(-1), "the bias is added where it requires a gradient, and not where it does not"),
    Fault("iunets.cayley", "gradient of M[0, 1], M skew",
          slope(lambda m: module_of("iunets.cayley").cayley.apply(m.float()), [SKEW], (0, 1)),
          derivative(cayley_value, 0.5), "-2 (1 + Mᵀ)⁻¹ g (1 + Mᵀ)⁻¹ belongs there"),
    Fault("iunets.expm", "gradient of M[0, 1], M skew",
          slope(lambda m: module_of("iunets.expm").expm.apply(m), [SKEW], (0, 1)),
          derivative(expm_value, 0.5), "the approximant of the derivative is off, without any squaring"),
    Fault("ring_attention, causal, more keys", "gradient of the second value, one query", first_value, second_weight,
          "the forward pass shifts the causal mask by the difference of lengths, the backward pass does not"),
)  # fmt: skip


def table() -> list[str]:
    """The lines of a page's table."""
    lines = ["| function | what | got | true value | off by (relative) | why |", "|---|---|---|---|---|---|"]
    with mp.workdps(40):
        for f in FAULTS:
            got, want = mpf(f.got()), mpf(f.want())
            off = abs(got - want) / (abs(want) or 1)
            cells = [f.name, f.what, mp.nstr(got, 15), mp.nstr(want, 15), mp.nstr(off, 2), f.why]
            lines.append(f"| {' | '.join(cells)} |")
    return lines
