"""What the tracers map, as a page of the documentation: `python -m gradverify.frameworks.coverage > docs/coverage.md`.

The tables themselves need no framework, so neither does this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..trace.decompositions import LARGEST_FACTOR
from .jax import lax
from .numpy import ufuncs
from .torch import aten

HEAD = """# What can be traced

`gradverify.trace` runs a function once and records what it does as a graph over gradverify's op table, so that the
oracle evaluates the user's own forward with hundreds of bits. This page is generated from the tables
(`python -m gradverify.frameworks.coverage > docs/coverage.md`); every entry that a CPU can run is tested
against the framework's own forward.

What is not on it is no error: the function is then opaque, its verdict says which operation made it so, and finite
differences of the function itself take the oracle's place.

"""

TORCH = """## PyTorch: {count} ATen overloads

Beyond the table:

* in-place and `out=` overloads are their functional namesakes, written back; views without an entry are recorded by
  where their entries lie in the storage;
* overloads with a decomposition (`torch._decomp`, or composite kernels) are seen as their parts;
* integer results (argmax, sort indices, casts) are held as they are at the point; random draws are replayed;
* custom `autograd.Function`s, modules, `vmap`, `torch.func.grad`, `torch.autograd.grad`, checkpointing, `torch.cond`,
  `torch.compile` (run eagerly) and `torch.library` operators with a Python implementation are entered;
* a complex tensor is its real and imaginary part, lazily conjugated views and views as real numbers included; each
  overload acts on them as `gradverify.ops.complex.rules` says;
* refused, with the reason: sparse layouts, complex eigen- and singular vectors and QR factors, values that leave
  PyTorch's sight (NumPy, `.item()` whose number comes back), functions that are not reproducible.

"""

JAX = """## JAX: {count} primitives, and {entered} that are entered

Beyond the table:

* what calls another function is entered at its primal: {calls};
* control flow is followed at the point: {control};
* integer results are held as they are at the point; random keys and what is drawn from them are concrete;
* a complex array is its real and imaginary part, on which each primitive acts as `gradverify.ops.complex.rules` says;
* refused, with the reason: complex eigen- and singular vectors and QR factors, callbacks, Python branches on the value
  of an array.

"""

NUMPY = """## NumPy: {count} ufuncs, methods of ufuncs and functions

For functions of NumPy with a backward pass by hand, of CuPy, and of HIPS autograd. Beyond the table:

* indexing, views, `out=`, `where=`, in-place operators, item assignment and `ufunc.at` of sums: what is in an array is kept
  per piece of memory;
* functions of NumPy that are written in Python are followed into their parts
  ({followed}, …);
* ufuncs of `scipy.special` are among the table's;
* integer results are held as they are at the point; NumPy's random draws start from one seed;
* refused, with the reason: complex numbers (`np.fft`), values that leave NumPy's sight and come back.

MLX and tinygrad keep graphs of their own, which are run again in NumPy: their tracers in `gradverify/frameworks/` have
their tables.

"""

FOLLOWED = "vstack hstack split diff gradient kron meshgrid linspace trapezoid nansum".split()

FOOT = f"""## Factorisations

The op table has no op for these; they are recorded as compositions, exact to any precision:

* LU and what uses it: elimination in the pivot order found at the point, up to {LARGEST_FACTOR} rows;
* QR, least squares, the pseudo-inverse: modified Gram-Schmidt, for full rank, up to {LARGEST_FACTOR} columns;
* eigenvectors (JAX's `eig` too), singular vectors: steps of Newton refinement from the framework's own result, for
  distinct values; signs and phases are the framework's. Of complex eigenvectors and singular vectors alone, whose phases
  an algorithm chooses, what does not depend on them is judged;
* the matrix exponential: scaling, 40 terms, squaring.
"""


def page() -> str:
    """The whole page, in Markdown."""
    torch = {n if "." in n else f"{n}.default": f for n, f in aten.MAPPED.items()}
    return "".join(
        [
            HEAD,
            TORCH.format(count=len(torch)),
            _table("overload", torch),
            "\n",
            JAX.format(
                count=len(lax.MAPPED),
                entered=len(lax.CALLS) + len(lax.CONTROL),
                calls=_names(lax.CALLS),
                control=_names(lax.CONTROL),
            ),
            _table("primitive", lax.MAPPED),
            "\n",
            NUMPY.format(count=len(ufuncs.mapped()), followed=_names(f"np.{n}" for n in FOLLOWED)),
            _table("ufunc", ufuncs.UFUNCS),
            "\nFunctions: " + _names(sorted({f.__name__ for f in ufuncs.known()})) + ".\n",
            "\n",
            FOOT,
        ]
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _table(what: str, mapped: Mapping[str, Callable[..., Any]]) -> str:
    """Those that are one op of the table by that op, the others together."""
    by_op: dict[str, list[str]] = {}
    for name, f in mapped.items():
        by_op.setdefault(getattr(f, "op", ""), []).append(name)
    composed = by_op.pop("", [])
    lines = [f"| op | {what} |", "|---|---|"]
    lines += [f"| `{op}` | {_names(sorted(by_op[op]))} |" for op in sorted(by_op)]
    return (
        "\n".join(lines)
        + f"\n\nWith parameters of their own, or composed of several ops: {_names(sorted(composed))}.\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
