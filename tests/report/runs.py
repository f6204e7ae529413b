"""A run for the tests of reports: a PASS, an op whose VJP is wrong, a custom gradient with a wrong step, …"""

from __future__ import annotations

from functools import cache
from typing import Any

import gradverify
from gradverify.core.case import Source
from gradverify.core.verdict import FailKind, Outcome, Reason, Verdict
from gradverify.report.evidence import with_reproducer
from gradverify.report.json import report_of
from gradverify.report.records import Recorder
from gradverify.run.events import Job, JobJudged, JobLost, RunFinished, listening
from gradverify.run.runner import Runner, Settings
from gradverify.spec.document import loads
from tests.helpers import custom
from tests.test_cli import Off

SPEC = """\
gradverify: 1
cases:
  - {name: <growth> & "more", expr: sum(x * exp(y)), inputs: {x: [1.0, 2.0], y: [0.5, 0.25]}}
"""


@cache
def report() -> dict[str, Any]:
    """The JSON report of such a run."""
    import torch

    recorder = Recorder(with_reproducer)
    runner = Runner(Settings(), [recorder])
    spec = loads(SPEC, "a.grad.yaml").cases[0]
    for subject in ("engine", Off.name):
        for dtype in ("float32", "float64"):
            build = lambda dtype=dtype: spec.case(dtype)
            runner.judge_job(Job(f"a.grad.yaml::growth[{subject}-{dtype}]", subject, dtype, build,
                                 Source("spec", "a.grad.yaml", 3)))  # fmt: skip
    torch.manual_seed(0)
    with listening(recorder):
        norm = custom(lambda x: x / x.square().mean().sqrt(), _norm_backward)
        shifted = custom(lambda x: x.exp(), lambda g, x: g * (x.exp() + (x.abs() > 1)))
        assert not gradverify.check(norm, torch.randn(3, 4))
        assert not gradverify.check(shifted, torch.randn(70, 60))
    weak = Verdict(Outcome.WEAK, "cancels", "torch", "float32", message="the formula is right, and loses 3 digits")
    open_ = Verdict(Outcome.INCONCLUSIVE, "kink", "jax", "float32", reason=Reason.KINK)
    raised = Verdict(Outcome.FAIL, "raises", "jax", "float32", FailKind.RAISED, message="jax raised: ]]> \x1b[31m")
    for verdict in (weak, open_, raised):
        name = f"b.grad.yaml::{verdict.case}[{verdict.subject}-float32]"
        job = Job(name, verdict.subject, "float32", source=Source("spec", "b.grad.yaml", 7))
        recorder(JobJudged(job, verdict, verdict is not raised))
    recorder(JobLost(Job("c.grad.yaml::lost", "torch", "float32"), "error", "ValueError: <no> number"))
    recorder(RunFinished(2.5))
    return report_of(recorder, runner.settings)


def _norm_backward(g: Any, x: Any) -> Any:
    r = x.square().mean().rsqrt()
    return g * r - 2 * x * r**3 * (g * x).mean()  # twice the second term
