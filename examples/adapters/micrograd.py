"""micrograd: an engine of scalars, as arrays of its `Value`s. NumPy's object arrays do the broadcasting."""

from functools import partial

import numpy as np
from micrograd.engine import Value

from gradverify import OPS, Unsupported
from gradverify.frameworks import Framework, Observation, compiled, lookup
from gradverify.namespaces import NUMPY

OPERATORS = """add subtract multiply divide negative square sum mean matmul outer tensordot trace reshape flip roll tile
permute_dims matrix_transpose moveaxis expand_dims squeeze broadcast_to concat stack repeat getitem take diagonal""".split()


def power(x, y):
    if any(isinstance(v, Value) for v in np.ravel(y)):
        raise Unsupported("micrograd's exponents are numbers")
    return np.asarray(x, dtype=object) ** y


def bind(op):
    if op in OPERATORS:  # the op table's own texts, over the operators of object arrays
        return partial(OPS[op].define, NUMPY)
    return lookup({"pow": power, "relu": np.frompyfunc(Value.relu, 1, 1)})(op)


class Micrograd(Framework):
    name, dtypes = "micrograd", ("float64",)
    unavailable = lambda self: None

    def function(self, graph, dtype):
        return compiled(graph, bind, lambda c: np.asarray(c.value, dtype=float if c.kind == "float" else None))

    def run_vjp(self, function, values, wrt, cotangent):
        given = {n: each(lambda v: Value(float(v)), v) if v.dtype.kind == "f" else v for n, v in values.items()}
        try:
            outs = function(*given.values())
            outs = [np.asarray(o, dtype=object) for o in (outs if isinstance(outs, tuple) else (outs,))]
            sum((np.sum(o * g) for o, g in zip(outs, cotangent)), Value(0.0)).backward()
        except Exception as e:
            return Observation(raised=e, stage="forward")
        data = tuple(each(lambda v: getattr(v, "data", v), o).astype(float) for o in outs)
        return Observation(data, {n: each(lambda v: v.grad, given[n]).astype(float) for n in wrt})


def each(f, array):
    return np.asarray(np.frompyfunc(f, 1, 1)(array), dtype=object)
