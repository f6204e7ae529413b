"""An engine of sixty lines, and its adapter for gradverify: what `pip install` of this folder makes known to it.

The entry point in `pyproject.toml` is all that gradverify needs: `gradverify.check(f, Array(...))`, `subjects: [minitape]`
in a spec file, `gradverify run --subjects minitape`, `gradverify campaign --subjects minitape`.
"""

import numpy as np

from gradverify.frameworks import Framework, Observation, compiled, lookup, trace_over_numpy

# ---- the engine -----------------------------------------------------------------------------------------------------


class Array:
    """An array of NumPy with a note of how it was made: its parents, each with the VJP towards it."""

    def __init__(self, value, parents=()):
        self.value, self.parents = value, parents

    __add__ = lambda x, y: add(x, y)
    __sub__ = lambda x, y: subtract(x, y)
    __mul__ = lambda x, y: multiply(x, y)
    __truediv__ = lambda x, y: divide(x, y)
    __neg__ = lambda x: negative(x)


def primitive(forward, *vjps):
    def op(*args):
        args = [a if isinstance(a, Array) else Array(np.asarray(a)) for a in args]
        values = [a.value for a in args]
        out = forward(*values)
        pulls = [(a, lambda g, a=a, vjp=vjp: summed(vjp(g, out, *values), a.value)) for a, vjp in zip(args, vjps)]
        return Array(out, pulls)

    return op


def summed(g, like):
    """Over what broadcasting added."""
    g = np.sum(g, axis=tuple(range(np.ndim(g) - np.ndim(like))))
    return np.sum(g, axis=tuple(k for k, n in enumerate(like.shape) if n == 1 != g.shape[k]), keepdims=True)


add = primitive(np.add, lambda g, out, x, y: g, lambda g, out, x, y: g)
subtract = primitive(np.subtract, lambda g, out, x, y: g, lambda g, out, x, y: -g)
multiply = primitive(np.multiply, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x)
divide = primitive(np.divide, lambda g, out, x, y: g / y, lambda g, out, x, y: -g * out / y)
negative = primitive(np.negative, lambda g, out, x: -g)
exp = primitive(np.exp, lambda g, out, x: g * out)
log = primitive(np.log, lambda g, out, x: g / x)
sin = primitive(np.sin, lambda g, out, x: g * np.cos(x))
cos = primitive(np.cos, lambda g, out, x: -g * np.sin(x))
square = primitive(np.square, lambda g, out, x: g * 2.0 * x)


def backward(outputs, cotangents):
    """The gradients of Σ⟨cotangent, output⟩, by the identity of the arrays behind."""
    order, seen = [], set()

    def visit(node):
        if id(node) not in seen:
            seen.add(id(node))
            for parent, _ in node.parents:
                visit(parent)
            order.append(node)

    grads = {}
    for out, g in zip(outputs, cotangents):
        visit(out)
        grads[id(out)] = grads[id(out)] + g if id(out) in grads else g
    for node in reversed(order):
        for parent, pull in node.parents if id(node) in grads else ():
            g = pull(grads[id(node)])
            grads[id(parent)] = grads[id(parent)] + g if id(parent) in grads else g
    return grads


# ---- the adapter ----------------------------------------------------------------------------------------------------

TABLE = {f: globals()[f] for f in "add subtract multiply divide negative exp log sin cos square".split()}


class Minitape(Framework):
    name, dtypes, roots = "minitape", ("float32", "float64"), ("minitape",)

    def unavailable(self):
        return None

    def function(self, graph, dtype):
        kinds = {"float": dtype, "int": "int64", "bool": "bool"}
        return compiled(graph, lookup(TABLE), lambda c: Array(np.array(c.value, dtype=kinds[c.kind])))

    @np.errstate(all="ignore")
    def run_vjp(self, function, values, wrt, cotangent):
        leaves = {n: self.put(v) for n, v in values.items()}
        try:
            outputs = function(*leaves.values())
        except Exception as e:
            return Observation(raised=e, stage="forward")
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        grads = backward(outputs, [np.array(g) for g in cotangent])
        found = {n: grads.get(id(leaves[n])) for n in wrt}
        return Observation(
            tuple(map(self.get, outputs)), {n: None if g is None else np.array(g) for n, g in found.items()}
        )

    def put(self, value):
        return Array(np.array(value))

    def get(self, array):
        return np.array(array.value)

    def trace(self, fn, args, kwargs, *, seed=0, stop_detached=False, confirm=True, strict=True):
        options = {"seed": seed, "confirm": confirm, "strict": strict}
        return trace_over_numpy(self, fn, args, kwargs, wrap=Array, unwrap=lambda a: a.value, **options)
