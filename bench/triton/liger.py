# ruff: noqa: E402 - the interpreter is chosen before Triton is imported
"""What gradverify.check says of Liger-Kernel's operations, under Triton's interpreter and without a reference.

    python -m bench.triton.liger [--only NAME ...] [--dtypes NAME ...] [--json FILE] [--merge FILE ...] [--write]

`pip install --no-deps liger-kernel`. Functions that write over their inputs are given copies. `--write` saves
bench/results/liger.md.
"""

from __future__ import annotations

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import importlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import gradverify
from bench.triton.catalogue import DTYPES
from gradverify.core.limits import TimeLimit, time_limit
from gradverify.frameworks.torch.tracer import trace

RESULTS = Path(__file__).parents[1] / "results" / "liger.md"

Rand = Callable[..., Any]
Call = tuple[Callable[..., Any], tuple[Any, ...]]


def applied(module: str, name: str) -> Callable[..., Any]:
    return getattr(importlib.import_module(f"liger_kernel.ops.{module}"), name).apply


def times_one(outputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Outputs whose cotangents the function may write over, as these ones do: it gets products of them."""
    return tuple(o * 1.0 for o in outputs)


def rms_norm(r: Rand) -> Call:
    f = applied("rms_norm", "LigerRMSNormFunction")
    return lambda x, w: f(x, w, 1e-6, 0.0, "llama", False, None), (r(3, 6), r(6))


def rms_norm_gemma(r: Rand) -> Call:
    f = applied("rms_norm", "LigerRMSNormFunction")
    return lambda x, w: f(x, w, 1e-6, 1.0, "gemma", False, None), (r(3, 6), r(6))


def rms_norm_rows(r: Rand) -> Call:
    f = applied("rms_norm", "LigerRMSNormFunction")
    return lambda x, w: f(x, w, 1e-6, 0.0, "llama", False, False), (r(3, 6), r(6))


def layer_norm(r: Rand) -> Call:
    f = applied("layer_norm", "LigerLayerNormFunction")
    return lambda x, w, b: f(x, w, b, 1e-5), (r(3, 6), r(6), r(6))


def group_norm(r: Rand) -> Call:
    f = applied("group_norm", "LigerGroupNormFunction")
    return lambda x, w, b: f(x, w, b, 4, 2, 1e-5), (r(2, 4, 3), r(4), r(4))


def fused_add_rms_norm(r: Rand) -> Call:
    f = applied("fused_add_rms_norm", "LigerFusedAddRMSNormFunction")
    return lambda x, y, w: f(x, y, w, 1e-6, 0.0, "llama", False), (r(3, 6), r(3, 6), r(6))


def modulated_rms_norm(r: Rand) -> Call:
    f = applied("modulated_rms_norm", "LigerModulatedRMSNormFunction")
    return lambda x, w, s, b: f(x, w, s, b, 1e-6, 0.0, "llama", False), (r(2, 3, 6), r(6), r(2, 6), r(2, 6))


def poly_norm(r: Rand) -> Call:
    f = applied("poly_norm", "LigerPolyNormFunction")
    return lambda x, w, b: f(x, w, b, 1e-6, False), (r(3, 6), r(3), r(1)[0])


def dyt(r: Rand) -> Call:
    f = applied("dyt", "LigerDyTFunction")
    return lambda x, a, g, b: f(x, a, g, b), (r(3, 6), r(1), r(6), r(6))


def swiglu(r: Rand) -> Call:
    f = applied("swiglu", "LigerSiLUMulFunction")
    return lambda a, b: f(a.clone(), b.clone()), (r(3, 5), r(3, 5))


def fused_gate_up(r: Rand) -> Call:
    f = applied("swiglu", "LigerFusedGateUpSiLUMulFunction")
    return lambda y: f(y), (r(3, 8),)


def geglu(r: Rand) -> Call:
    f = applied("geglu", "LigerGELUMulFunction")
    return lambda a, b: f(a.clone(), b.clone()), (r(3, 5), r(3, 5))


def relu_squared(r: Rand) -> Call:
    f = applied("relu_squared", "LigerReLUSquaredFunction")
    return lambda x: f(x), (r(3, 5),)


def softmax(r: Rand) -> Call:
    f = applied("softmax", "LigerSoftmaxFunction")
    return lambda x: f(x), (r(3, 5),)


def sparsemax(r: Rand) -> Call:
    f = applied("sparsemax", "LigerSparsemaxFunction")
    return lambda x: f(x, -1), (r(3, 5),)


def cross_entropy(r: Rand) -> Call:
    f = applied("cross_entropy", "LigerCrossEntropyFunction")
    return lambda x: f(x.clone(), torch.tensor([1, -100, 4]), None)[0], (r(3, 5),)


def cross_entropy_all(r: Rand) -> Call:
    f = applied("cross_entropy", "LigerCrossEntropyFunction")
    weight = torch.tensor([0.5, 1.0, 2.0, 1.5, 0.25])
    return (
        lambda x: f(x.clone(), torch.tensor([1, 2, 4]), weight, -100, 0.01, 0.1, "mean", 3.0, True)[:2],
        (r(3, 5),),
    )


def fused_linear_cross_entropy(r: Rand) -> Call:
    f = applied("fused_linear_cross_entropy", "LigerFusedLinearCrossEntropyFunction")
    return lambda x, w, b: f(x, w, torch.tensor([1, 4, 2]), b)[0], (r(3, 4), r(5, 4), r(5))


def fused_linear_jsd(r: Rand) -> Call:
    f = applied("fused_linear_jsd", "LigerFusedLinearJSDFunction")
    teacher, weight = torch.randn(3, 4), torch.randn(5, 4)
    return lambda x, w: f(x, w, teacher.to(x.dtype), weight.to(x.dtype), None, 0.3), (r(3, 4), r(5, 4))


def jsd(r: Rand) -> Call:
    f = applied("jsd", "LigerJSDFunction")
    target = torch.randn(3, 5).log_softmax(-1)
    return lambda x: f(x.log_softmax(-1), target.to(x.dtype), None, 0.3), (r(3, 5),)


def kl_div(r: Rand) -> Call:
    f = applied("kl_div", "LigerKLDivLossFunction")
    target = torch.randn(3, 5).softmax(-1)
    return lambda x: f(x.log_softmax(-1), target.to(x.dtype), "batchmean", False), (r(3, 5),)


def tvd(r: Rand) -> Call:
    f = applied("tvd", "LigerTVDLossFunction")
    target = torch.randn(3, 5).softmax(-1)
    return lambda x: f(x.softmax(-1), target.to(x.dtype)), (r(3, 5),)


def fused_ce_tvd(r: Rand) -> Call:
    f = applied("fused_ce_tvd", "LigerFusedCETVDFunction")
    teacher = torch.randn(3, 5)
    return lambda x: f(x.clone(), teacher.to(x.dtype), torch.tensor([1, 4, 2])), (r(3, 5),)


def fused_linear_kl_div(r: Rand) -> Call:
    f = applied("fused_linear_kl_div", "LigerFusedLinearKLDivFunction")
    target = torch.randn(3, 5).softmax(-1)
    return lambda x, w: f(x, w, target.to(x.dtype)), (r(3, 4), r(5, 4))


def rope(r: Rand) -> Call:
    f = applied("rope", "LigerRopeFunction")
    angle = torch.randn(1, 3, 2).repeat(1, 1, 2)
    cos, sin = angle.cos(), angle.sin()
    return lambda q, k: times_one(f(q.clone(), k.clone(), cos.to(q.dtype), sin.to(q.dtype))), (
        r(1, 2, 3, 4),
        r(1, 1, 3, 4),
    )


def qwen2vl_mrope(r: Rand) -> Call:
    f = applied("qwen2vl_mrope", "LigerQwen2VLMRopeFunction")
    angle = torch.randn(3, 1, 3, 4).repeat(1, 1, 1, 2)
    cos, sin = angle.cos(), angle.sin()
    return (
        lambda q, k: times_one(f(q.clone(), k.clone(), cos.to(q.dtype), sin.to(q.dtype), [1, 1, 2])),
        (r(1, 2, 3, 8), r(1, 1, 3, 8)),
    )


def llama4_rope(r: Rand) -> Call:
    f = applied("llama4_rope", "LigerLlama4RopeFunction")
    angle = torch.randn(3, 2)
    freqs = torch.polar(torch.ones_like(angle), angle)
    return lambda q, k: times_one(f(q.clone(), k.clone(), freqs)), (r(1, 3, 2, 4), r(1, 3, 1, 4))


def embedding(r: Rand) -> Call:
    f = applied("experimental.embedding", "LigerEmbeddingFunction")
    return lambda w: f(w, torch.tensor([1, 3, 1])), (r(4, 5),)


def attn_res(r: Rand) -> Call:
    f = applied("attn_res", "LigerAttnResFunction")
    return lambda v, q, n: f(v, q, n, 1e-6), (r(3, 2, 2, 6), r(6), r(6))


def grpo_loss(r: Rand) -> Call:
    f = applied("grpo_loss", "GrpoLossFunction")
    ids, advantages = torch.tensor([[1, 3, 0]]), torch.tensor([0.7])
    old, ref = -torch.rand(1, 3), -torch.rand(1, 3)
    return (
        lambda x: f(x.clone(), old, ref, ids, advantages, torch.ones(1, 3), 0.9, 0.04, 0.2, 0.4, False)[0],
        (r(1, 4, 5),),
    )


def multi_token_attention(r: Rand) -> Call:
    f = applied("multi_token_attention", "LigerMultiTokenAttentionFunction")
    return lambda s, w: f(s, w, None, 1, 1), (r(1, 1, 4, 4), r(1, 1, 3, 3))


def neighborhood_attention(r: Rand) -> Call:
    f = applied("fused_neighborhood_attention", "LigerFusedNeighborhoodAttentionFunction")
    return lambda q, k, v: f(q, k, v, 3, 1), (r(1, 1, 5, 4), r(1, 1, 5, 4), r(1, 1, 5, 4))


def mhc_pre(r: Rand) -> Call:
    f = applied("mhc", "LigerMHCPreFunction")
    return lambda x, h: f(x, h), (r(2, 4, 6), torch.rand(2, 4))


def mhc_post(r: Rand) -> Call:
    f = applied("mhc", "LigerMHCPostResFunction")
    return lambda x, o, h, s: f(x, o, h, s), (r(2, 4, 6), r(2, 6), torch.rand(2, 4), torch.rand(2, 4, 4))


def fused_moe(r: Rand) -> Call:
    f = applied("fused_moe", "LigerFusedMoEFunction")
    index = torch.tensor([[0, 1], [1, 0], [0, 1]])
    return (
        lambda x, g, d, w: f(x, g, d, index, w),
        (r(3, 4), r(2, 6, 4), r(2, 4, 3), torch.rand(3, 2)),
    )


OPS: dict[str, Callable[[Rand], Call]] = {
    f.__name__: f
    for f in (
        rms_norm, rms_norm_gemma, rms_norm_rows, layer_norm, group_norm, fused_add_rms_norm, modulated_rms_norm, poly_norm,
        dyt, swiglu, fused_gate_up, geglu, relu_squared, softmax, sparsemax, cross_entropy, cross_entropy_all,
        fused_linear_cross_entropy, fused_linear_jsd, jsd, kl_div, tvd, fused_ce_tvd, fused_linear_kl_div, rope,
        qwen2vl_mrope, llama4_rope, embedding, attn_res, grpo_loss, multi_token_attention, neighborhood_attention,
        mhc_pre, mhc_post, fused_moe,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One verdict; `traced` says whether forward and backward are graphs."""

    op: str
    dtype: str
    traced: str
    outcome: str
    power: float
    seconds: float
    message: str


def judge(name: str, dtype: str, limit: float = 100.0) -> Row:
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    power, start, graph = math.nan, time.process_time(), "–"
    try:
        with time_limit(limit):
            function, point = OPS[name](lambda *shape: torch.randn(*shape, generator=draw))
            args = tuple(t.to(DTYPES[dtype]).requires_grad_() for t in point)
            graph = "yes" if trace(function, args, strict=False, confirm=False).graph is not None else "no"
            verdict = gradverify.check(function, *args, effort="quick")
        outcome = f"{verdict.outcome}" + (f" ({verdict.kind})" if verdict.kind else "")
        message = verdict.message or (f"{verdict.reason}" if verdict.reason else "")
        formula = verdict.formula
        if formula is not None:
            graph = "forward" if formula.right is None and graph == "yes" else graph
            power = formula.power if formula.right else math.nan
            message += f" [formula: {formula.why}]" if formula.right is None else ""
        if not message and verdict.notes and graph == "no":
            message = verdict.notes[0]
    except TimeLimit:
        outcome, message = "TIME", f"over {limit:g} s"
    except Exception as e:
        outcome, message = "not run", f"{type(e).__name__}: {e}"
    return Row(name, dtype, graph, outcome, power, time.process_time() - start, message)


def table(rows: Sequence[Row]) -> str:
    lines = ["| op | dtype | traced | outcome | power | seconds | |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        message = " ".join(r.message.split())[:260].replace("|", "\\|")
        lines.append(f"| {r.op} | {r.dtype} | {r.traced} | {r.outcome} | {r.power:.1e} | {r.seconds:.1f} | {message} |")
    return "\n".join(lines)


def report(rows: Sequence[Row]) -> str:
    counts = {
        o: sum(r.outcome.split()[0] == o for r in rows) for o in ("PASS", "WEAK", "FAIL", "INCONCLUSIVE", "TIME", "not")
    }
    said = ", ".join(f"{n} {o}" for o, n in counts.items() if n)
    return f"""# Liger-Kernel {version("liger-kernel")} under Triton's interpreter

Written by `python -m bench.triton.liger --write`. No op has a reference: its own forward kernel is the definition.
Seconds are the processor's. {said}.

{table(rows)}

{BY_HAND}"""


BY_HAND = """## Each FAIL by hand, against mpmath

* `cross_entropy`: true. With three times the loss, logits whose columns are not contiguous, and 3 x 5 normal numbers, the
  gradient is off by up to 6.6; with contiguous logits by 7e-8. The kernel that multiplies the saved one is given the stride
  of the rows alone.
* `fused_linear_kl_div`: true, and of the same sort: right for a cotangent of 1, for which nothing is multiplied, and for
  contiguous inputs; for a cotangent of 3 and column-major inputs dx[0, 1] is -3.56, where mpmath has -0.395.
* `cross_entropy_all`: true. The second output, z_loss, requires grad; its gradient is 0, where mpmath has 5.9e-3 for
  dz/dx[0, 0] at our point ("z_loss is only for logging").
* `dyt`: theirs, and no wrong gradient: the backward pass has no branch for a CPU (`NUM_SMS` is never set).
* `jsd` and `fused_linear_jsd` are WEAK by 2e-16 to 7e-16, which is ours: their formula, (1 - beta) Q (X - log M), is the
  derivative. The exponential of the target, which is not differentiated, is a constant of the trace, rounded to a double.
* The rope functions write over the cotangents that they are given: asked as they are, that is a FAIL of the law of purity.
  Here they are given products.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(OPS), metavar="NAME")
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), metavar="NAME")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--merge", nargs="+", metavar="FILE")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = [Row(**r) for f in options.merge or () for r in json.loads(Path(f).read_text(encoding="utf-8"))]
    for name in () if options.merge else options.only:
        for dtype in options.dtypes:
            rows.append(judge(name, dtype))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(r) for r in rows], indent=1), encoding="utf-8")
    if options.write:
        RESULTS.write_text(report(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
