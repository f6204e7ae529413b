"""HIPS autograd: its NumPy under the names of the op table."""

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp
from autograd.builtins import tuple as several
from autograd.scipy import special

from gradverify import Unsupported
from gradverify.frameworks import Framework, Observation, compiled, lookup
from gradverify.namespaces.numpy import LEGACY, native_index

SAME = """add subtract multiply divide remainder negative abs sign square sqrt reciprocal exp exp2 expm1 log log1p log2
log10 sin cos tan sinh cosh tanh hypot logaddexp logaddexp2 maximum minimum where floor ceil trunc logit erf erfc erfinv
digamma logsumexp sum mean prod max min reshape moveaxis expand_dims squeeze roll tril triu matmul outer tensordot equal
not_equal less less_equal greater greater_equal""".split()
TABLE = {op: getattr(anp, old) for op, old in LEGACY.items()} | {
    "concat": lambda *xs, axis: anp.concatenate(xs, axis=axis),
    "getitem": lambda x, index: x[native_index(index)],
    "matrix_transpose": lambda x: anp.swapaxes(x, -1, -2),
    "cumulative_sum": lambda x, axis: anp.cumsum(x, axis=axis),
    # Not correction=, NumPy 2's name: autograd hands it to NumPy, and its gradient does not know of it.
    "var": lambda x, axis=None, keepdims=False, correction=0: anp.var(x, axis, ddof=correction, keepdims=keepdims),
} | {op: getattr(anp.linalg, op) for op in ("inv", "det", "solve", "cholesky")}  # fmt: skip
TABLE |= {op: getattr(anp, op, None) or getattr(special, op) for op in SAME}


class Autograd(Framework):
    name, dtypes = "autograd", ("float32", "float64")
    unavailable = lambda self: None

    def function(self, graph, dtype):
        kinds = {"float": dtype, "int": "int64", "bool": "bool"}
        return compiled(graph, lookup(TABLE), lambda c: np.asarray(c.value, dtype=kinds[c.kind]))

    def run_vjp(self, function, values, wrt, cotangent):
        def of_wrt(active):
            outs = function(*(active[wrt.index(n)] if n in wrt else v for n, v in values.items()))
            return several(outs if isinstance(outs, tuple) else (outs,))

        try:
            back, outs = make_vjp(of_wrt)(tuple(values[n].copy() for n in wrt))
            gradients = back(tuple(cotangent))
        except NotImplementedError as e:  # "VJP of … not defined"
            raise Unsupported(str(e)) from e
        except Exception as e:
            return Observation(raised=e, stage="forward")
        return Observation(tuple(np.array(o) for o in outs), {n: np.array(g) for n, g in zip(wrt, gradients)})
