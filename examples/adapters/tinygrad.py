"""tinygrad, on a device that is there: the CPU with clang, else the emulator written in Python."""

import os
import shutil

import numpy as np

from gradverify.frameworks import Framework, Observation, compiled, lookup
from gradverify.namespaces.numpy import native_index

DEVICE = os.environ.get("DEV") or ("CPU" if shutil.which("clang") else "PYTHON")
os.environ.setdefault("DEV", DEVICE)
from tinygrad import Tensor, dtypes  # noqa: E402  it reads DEV when it is imported

ZERO = Tensor([0.0]).contiguous().realize().reshape(())  # what is folded to a constant has no device to be read from
SAME = """square sqrt reciprocal rsqrt exp exp2 log log2 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
maximum minimum where relu relu6 hardswish sigmoid softsign silu mish erf abs""".split()

TABLE = {op: lambda x, *rest, op=op: getattr(x, op)(*rest) for op in SAME} | {
    "add": lambda x, y: x + y, "subtract": lambda x, y: x - y, "multiply": lambda x, y: x * y, "negative": lambda x: -x,
    "divide": lambda x, y: x / y, "pow": lambda x, y: x**y, "matmul": lambda x, y: x @ y,
    "reshape": lambda x, shape: x.reshape(shape), "permute_dims": lambda x, axes: x.permute(axes),
    "matrix_transpose": lambda x: x.transpose(-1, -2), "expand_dims": lambda x, axis: x.unsqueeze(axis),
    "broadcast_to": lambda x, shape: x.expand(shape), "flip": lambda x, axis: x.flip(axis),
    "concat": lambda x, *xs, axis: x.cat(*xs, dim=axis), "stack": lambda x, *xs, axis: x.stack(*xs, dim=axis),
    "getitem": lambda x, index: x[native_index(index)],
} | {op: lambda x, axis=None, keepdims=False, op=op: getattr(x, op)(axis=axis, keepdim=keepdims)
     for op in ("sum", "mean", "prod", "max", "min")}  # fmt: skip


class Tinygrad(Framework):
    name, dtypes = "tinygrad", ("float32", "float64")
    unavailable = lambda self: None

    def function(self, graph, dtype):
        kinds = {"float": getattr(dtypes, dtype), "int": dtypes.int64, "bool": dtypes.bool}
        return compiled(graph, lookup(TABLE), lambda c: Tensor(np.asarray(c.value).tolist(), dtype=kinds[c.kind]))

    def run_vjp(self, function, values, wrt, cotangent):
        leaves = {n: Tensor(np.array(v, order="C")) for n, v in values.items()}
        try:
            outs = function(*leaves.values())
            outs = outs if isinstance(outs, tuple) else (outs,)
            total = sum(((o * Tensor(np.array(g, order="C"))).sum() for o, g in zip(outs, cotangent)), Tensor(0.0))
            read = lambda t: np.array((t + ZERO.cast(t.dtype)).numpy())
            gradients = map(read, total.gradient(*(leaves[n] for n in wrt)))
            return Observation(tuple(map(read, outs)), dict(zip(wrt, gradients)))
        except Exception as e:
            return Observation(raised=e, stage="forward")
