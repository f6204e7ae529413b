"""The records of public bug reports: well-formed, runnable, and five of them judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from bench.detection import tools
from bench.detection.catalogue import CLASSES
from bench.foreign.catalogue import Report, reports
from bench.foreign.run import judged
from bench.foreign.unused import UNUSED

REPORTS = reports()
JUDGED = (
    "pytorch/pytorch#13669",
    "karpathy/llm.c#763",
    "fla-org/flash-linear-attention#6",
    "jax-ml/jax#3213",
    "KhawajaAbaid/micrograd_c#1",
)


def test_the_records_are_well_formed() -> None:
    assert len(REPORTS) >= 45
    for r in REPORTS:
        owner, _, name = r.repository.partition("/")
        assert all((owner, name, r.about))
        assert r.number > 0
        assert r.kind in set(CLASSES) - {0}
        assert r.framework in ("torch", "jax", "numpy", "mlx", "autograd")
    assert {r.kind for r in REPORTS} >= {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 19, 20, 25}
    assert all(u.source and u.about and u.reason for u in UNUSED)
    assert not {r.source for r in REPORTS} & {u.source for u in UNUSED}


def _values(build: Any) -> list[np.ndarray]:
    fn, args, _ = build()
    out = fn(*args)
    outs = out if isinstance(out, tuple | list) else (out,)
    return [_array(o) for o in outs]


def _array(o: Any) -> np.ndarray:
    if not hasattr(o, "detach"):
        return np.asarray(o)
    o = o.detach().resolve_conj()
    return np.asarray(o if o.is_complex() else o.double())


@pytest.mark.parametrize("report", REPORTS, ids=str)
def test_a_bug_and_its_twin_agree_in_the_forward_pass(report: Report) -> None:
    if report.framework in ("mlx", "autograd"):
        pytest.importorskip(report.framework)
    with tools._x64(report.framework == "jax"), np.errstate(all="ignore"):
        wrong, right = _values(report.bug), _values(report.mended)
    assert [w.shape for w in wrong] == [r.shape for r in right]
    close = all(np.allclose(w, r, rtol=1e-5, atol=1e-5) for w, r in zip(wrong, right))
    assert close != report.value


@pytest.mark.parametrize("report", [r for r in REPORTS if r.source in JUDGED], ids=str)
def test_a_bug_is_reported_and_its_twin_is_not(report: Report) -> None:
    assert judged(report, bug=True).outcome == "FAIL"
    assert judged(report, bug=False).outcome == "PASS"


def test_the_judged_reports_exist() -> None:
    assert {r.source for r in REPORTS} >= set(JUDGED)
