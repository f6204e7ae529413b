"""Functions of symmetric matrices that read one triangle (a Cholesky factor): their gradient is a convention.

Such a function is constant in the other triangle, and its rule may give the symmetric part of the gradient, as PyTorch's own
do: right along every symmetric change. Of a matrix that is symmetric by chance the function reads both triangles.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from ..checker.opaque import Opaque, judge_opaque
from ..checker.question import Question
from ..core.verdict import Outcome, Verdict
from ..frameworks.base import Framework, Observation
from ..frameworks.registry import of_functions
from .structure import is_symmetric

NOTE = "it reads one triangle of a matrix that is symmetric: held against symmetric changes, it is right"


def judge_symmetric(q: Question, verdict: Verdict) -> Verdict | None:
    """PASS where a wrong gradient is right along symmetric changes of what the function reads one triangle of; else None."""
    framework = of_functions(q.framework or "")
    values = dict(zip(inspect.signature(q.fn).parameters, map(framework.get, q.args)))
    names = [n for n, x in values.items() if x.dtype.kind == "f" and is_symmetric(x)]
    dtypes = {str(x.dtype) for x in values.values()}
    if not names or len(dtypes) != 1 or not dtypes <= set(framework.dtypes):
        return None
    seen = framework.run_vjp(q.fn, values, (), ())
    if seen.raised is not None or not all(_reads_one_triangle(framework, q.fn, values, n, seen) for n in names):
        return None
    dtype = dtypes.pop()
    rng = np.random.default_rng(q.seed)
    cotangent = q.cotangent or tuple(rng.standard_normal(o.shape) for o in seen.outputs)
    subject = cast("Framework", _Symmetrised(framework, names))
    box = Opaque(subject, q.fn, values, tuple(values), tuple(g.astype(dtype) for g in cotangent), dtype)
    found = judge_opaque(verdict.case, box, (NOTE,), seed=q.seed)
    return found if found.outcome is Outcome.PASS else None


def _reads_one_triangle(
    framework: Framework, fn: Callable[..., Any], values: Mapping[str, np.ndarray], name: str, seen: Observation
) -> bool:
    """Is the output the same to the last bit where one triangle changes? Each entry does, by half of the largest."""
    x = values[name]
    for triangle in (np.triu(np.ones_like(x), 1), np.tril(np.ones_like(x), -1)):
        moved = (x + triangle * abs(x).max() / 2).astype(x.dtype)
        other = framework.run_vjp(fn, {**values, name: moved}, (), ())
        if other.raised is None and all(a.tobytes() == b.tobytes() for a, b in zip(other.outputs, seen.outputs)):
            return True
    return False


@dataclass(frozen=True)
class _Symmetrised:
    """A framework in which the function is one of the symmetric parts of some of its matrices."""

    inner: Any
    names: Sequence[str]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run_vjp(self, fn: Any, values: Mapping[str, np.ndarray], wrt: Any, cotangent: Any, **how: Any) -> Observation:
        even = {n: self._even(x) if n in self.names else x for n, x in values.items()}
        seen = self.inner.run_vjp(fn, even, wrt, cotangent, **how)
        even = {n: self._even(g) if n in self.names and g is not None else g for n, g in seen.gradients.items()}
        return replace(seen, gradients=even)

    def _even(self, x: np.ndarray) -> np.ndarray:
        return ((x + np.swapaxes(x, -1, -2)) / 2).astype(x.dtype)
