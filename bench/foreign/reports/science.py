"""Libraries for science: Gaussian processes, equivariant networks, potentials, accelerators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..catalogue import Reports, function

REPORTS = T = Reports()


def _predicted(theta: Any, x: Any, cached: bool) -> Any:
    """The predictive mean at the data themselves, with a linear mean function."""
    y = torch.sin(3 * x)
    k = torch.exp(-((x[:, None] - x[None]) ** 2)) + 0.01 * torch.eye(len(x), dtype=x.dtype)
    mean = theta * x
    weights = torch.linalg.solve(k, y - mean)
    return mean + (k - 0.01 * torch.eye(len(x), dtype=x.dtype)) @ (weights.detach() if cached else weights)


T.fn(
    "cornellius-gp/gpytorch#2521",
    20,
    "the predictive mean's cache is detached: the gradient of the mean function's parameter misses the second term",
    lambda theta, x: _predicted(theta, x, True),
    lambda theta, x: _predicted(theta, x, False),
    lambda r: (r.of(0.7), torch.tensor([-1.0, 0.3, 1.2], dtype=torch.float64)),
)


def _kernel(x: Any, scale: Any) -> Any:
    return torch.exp(-(((x[:, None] - x[None]) / scale) ** 2).sum(-1))


def _kernel_gradient(g: Any, o: Any, x: Any, scale: Any, good: bool) -> Any:
    apart = x[:, None] - x[None]
    d = (g * o)[..., None] * -2 * apart / scale**2
    dx = d.sum(1) - d.sum(0)
    if not good and not x.is_contiguous():
        return dx, None
    return dx, (g * o * 2 * (apart**2).sum(-1)).sum() / scale**3


T.pair(
    "cornellius-gp/gpytorch#1543",
    12,
    "KeOps kernels of inputs that are not contiguous: the length scale gets no gradient",
    _kernel,
    lambda g, o, x, s: _kernel_gradient(g, o, x, s, False),
    lambda g, o, x, s: _kernel_gradient(g, o, x, s, True),
    lambda r: (r(2, 3).detach().t().requires_grad_(), r.of(1.3)),
)
T.fn(
    "e3nn/e3nn#112",
    10,
    "a spherical harmonic by its angles, at a vector along z: NaN where the harmonic is x / r",
    lambda v: torch.sin(torch.acos(v[:, 2] / v.norm(dim=-1))) * torch.cos(torch.atan2(v[:, 1], v[:, 0])),
    lambda v: v[:, 0] / v.norm(dim=-1),
    lambda r: (r.of([[0.0, 0.0, 2.0], [0.5, -1.0, 0.3]]),),
)


def _angular(a: Any, b: Any, real: Any, inside: bool) -> Any:
    """The cosine between vectors, 0 for atoms that only pad."""
    if inside:
        a, b = (torch.where(real[:, None], v, torch.ones_like(v)) for v in (a, b))
    return torch.where(real, (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)), 0.0)


T.fn(
    "atomistic-machine-learning/schnetpack#87",
    10,
    "angles with padding atoms: masked after the division by a distance of 0",
    lambda a, b, real: _angular(a, b, real, False),
    lambda a, b, real: _angular(a, b, real, True),
    lambda r: (
        r.of([[1.0, 2.0, -0.5], [0.0, 0.0, 0.0]]),
        r.of([[0.3, -1.0, 0.7], [0.0, 0.0, 0.0]]),
        torch.tensor([True, False]),
    ),
)


def _focusing(k: Any) -> Any:
    """sin(√k) / √k, the drift at k = 0."""
    root = torch.sqrt(k)
    return torch.where(k == 0, torch.ones_like(k), torch.sin(root) / root)


def _focusing_by_series(k: Any) -> Any:
    small = k.abs() < 0.01
    root = torch.sqrt(torch.where(small, torch.ones_like(k), k))
    series = 1 - k / 6 * (1 - k / 20 * (1 - k / 42 * (1 - k / 72 * (1 - k / 110 * (1 - k / 156)))))
    return torch.where(small, series, torch.sin(root) / root)


T.fn(
    "desy-ml/cheetah#79",
    9,
    "a quadrupole of strength 0: the gradient of sin(√k)/√k is NaN",
    _focusing,
    _focusing_by_series,
    lambda r: (r.of([0.0, 0.7]),),
)


def _complex_square(x: Any) -> Any:
    two = torch.complex(torch.full_like(x, 2.0), torch.zeros_like(x))
    return torch.pow(torch.complex(x, torch.zeros_like(x)), two).real


T.fn(
    "materialyzeai/m3gnet#58",
    10,
    "a square as a complex power: its second derivative at 0 is NaN",
    _complex_square,
    lambda x: x * x,
    lambda r: (r.of([0.0, 0.5]),),
    options={"order": 2},
    live=True,
)


def _harmonics(good: bool) -> Callable[..., Any]:
    """A backward pass that is a Function itself; its own gradient for the cotangent is missing, or not."""
    inner = function(
        lambda g, x: g * 3 * x**2,
        lambda h, out, g, x: (h * 3 * x**2 if good else torch.zeros_like(g), h * g * 6 * x),
    )()
    return function(lambda x: x**3, lambda g, out, x: inner(g, x))()


T.add(
    "lab-cosmo/sphericart#61",
    17,
    "spherical harmonics: the double backward gives the cotangent no gradient",
    lambda: _harmonics(False),
    lambda: _harmonics(True),
    lambda r: (r(3, 4),),
    options={"order": 2},
)
