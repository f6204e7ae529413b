"""What gradverify.check says of JAX's own Pallas kernels (jax.experimental.pallas.ops.gpu) under the interpreter.

    python -m bench.pallas.jax_ops [NAME ...]

One check at effort "quick" for each, in float32, without a reference: the forward kernel is the definition. (softmax has
no VJP.)

mha is WEAK by 1.3e-8, which is its literal: log2(e) is a float32 number in JAX's programs, and that times ln 2 is
1 - 1.33e-8 (by mpmath). As it is written in the code, math.log2(math.e), the formula is right.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.experimental.pallas.ops.gpu import attention, layer_norm, rms_norm

import gradverify


def draw(key: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(key), shape)


SIZES = dict.fromkeys(("block_q", "block_k", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq"), 16)
MHA = partial(attention.mha, block_sizes=attention.BlockSizes(**SIZES), interpret=True)

OPS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "rms_norm": (lambda x, w, b: rms_norm.rms_norm(x, w, b, interpret=True), (draw(0, 1, 3, 6), draw(1, 6), draw(2, 6))),
    "layer_norm": (
        lambda x, w, b: layer_norm.layer_norm(x, w, b, interpret=True), (draw(0, 1, 3, 6), draw(1, 6), draw(2, 6))
    ),
    "mha": (lambda q, k, v: MHA(q, k, v, None), tuple(draw(k, 1, 16, 1, 16) for k in range(3))),
    "mha, causal": (lambda q, k, v: MHA(q, k, v, None, causal=True), tuple(draw(k, 1, 32, 1, 16) for k in range(3))),
}  # fmt: skip
"""Name -> function and point."""


def main() -> None:
    for name in sys.argv[1:] or OPS:
        function, point = OPS[name]
        start = time.process_time()
        try:
            verdict = gradverify.check(function, *point, effort="quick")
            formula = verdict.formula
            power = f"{formula.power:.1e}" if formula is not None and formula.right else "-"
            text = f"{verdict.outcome} ({verdict.kind or verdict.reason or power}) {verdict.message}"
        except Exception as e:
            text = f"{type(e).__name__}: {e}"
        print(f"{name:12} {time.process_time() - start:6.1f} s  {text[:600]}", flush=True)


if __name__ == "__main__":
    main()
