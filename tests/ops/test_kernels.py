"""The registry of kernels: no primitive without a record, no record without a column, no float result without a nudge."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify.core.case import Case
from gradverify.core.interval import Interval
from gradverify.core.op import OpSpec, Param
from gradverify.core.verdict import FailKind, Outcome
from gradverify.frameworks.base import Observation
from gradverify.frameworks.engine.adapter import EngineFramework
from gradverify.judge.decide import decide
from gradverify.namespaces import NUMPY, NumpyNamespace
from gradverify.namespaces.dtypes import FORMATS, is_float
from gradverify.namespaces.kernels import (
    ELEMENTWISE,
    KERNELS,
    UNDECLARED,
    Kernel,
    Nudge,
    Own,
    register_op,
    require,
    unregister_op,
)
from gradverify.namespaces.nudged import Noise, Nudged, NudgedNamespace, require_nudged
from gradverify.ops import FAMILIES, OPS
from gradverify.ops.shapes import same
from gradverify.oracle.balls import BALLS
from gradverify.oracle.mp import MPMATH
from gradverify.spec.from_expression import expression_case
from gradverify.testing import check_op
from gradverify.testing.ops import _samples

PRIMITIVES = [name for name, spec in OPS.items() if spec.primitive]
U = FORMATS["float64"].roundoff


# ---- the records -------------------------------------------------------------------------------------------------------


def test_every_primitive_has_a_record() -> None:
    assert set(KERNELS) == {*PRIMITIVES, *UNDECLARED}


@pytest.mark.parametrize("column", ["numpy", "balls", "mp", "nudge"])
def test_a_missing_column_raises(column: str) -> None:
    columns: dict[str, Any] = {"numpy": np.cos, "balls": lambda x: x.cos(), "mp": lambda x: x, "nudge": Nudge.ULPS}
    Kernel("cos", **columns)
    with pytest.raises(TypeError, match=f"has no {column}"):
        Kernel("cos", **columns | {column: None})


@pytest.mark.parametrize("name", ["erf", "exp"])
def test_a_namespace_without_a_kernel_that_its_column_promises_is_refused(name: str) -> None:
    class Forgetful(type(BALLS)):  # type: ignore[misc]
        functions = {n: f for n, f in BALLS.functions.items() if n != name}

    with pytest.raises(TypeError, match=f"missing {name}"):
        Forgetful()
    with pytest.raises(TypeError, match="without a record airy_ai"):
        require("mp", Own.SCALAR, [*MPMATH.functions, "airy_ai"])


# ---- nudges ------------------------------------------------------------------------------------------------------------


def points(name: str) -> Iterator[tuple[tuple[np.ndarray, ...], dict[str, Any]]]:
    spec, rng = OPS[name], np.random.default_rng(1)
    if name == "einsum":
        yield (rng.normal(size=(2, 3)), rng.normal(size=(3, 2))), {"subscripts": "ij,jk->ik"}
        return
    for sample in _samples(spec, rng, 40, "float64", None):
        if all(a.size > 1 for a in sample.args):
            yield sample.args, sample.params


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_float_result_is_nudged_as_declared(name: str) -> None:
    spec, moved, seen = OPS[name], 0.0, 0
    for args, params in points(name):
        noise = Noise(FORMATS["float64"])
        noise.restart(seen)
        xp = NudgedNamespace(noise)
        given = [xp.asarray(a) for a in args]
        with np.errstate(all="ignore"):
            out = spec.define(xp, *given, **params)
            exact = spec.define(NUMPY, *args, **params)
        if spec.result != "float":
            assert np.asarray(out).dtype.kind != "f"
            require_nudged(name, out)
            assert np.array_equal(out, exact)
            return
        assert isinstance(out, Nudged)
        known = np.isfinite(exact)
        moved += float(np.abs(np.asarray(out)[known] - exact[known]).sum())
        seen += known.sum()
    assert seen
    assert (moved > 0) == (spec.ulps > 0), f"{name} declares {spec.ulps} ulps"


EXACTLY = replace(FORMATS["float64"], roundoff=0.0, gradual=True)


def close(got: Any, want: Any) -> bool:
    """Are they equal, but for the order of NumPy's sums? Numbers next to the largest double are not compared."""
    got, want = np.asarray(got), np.asarray(want)
    far = np.abs(want) > 1e290
    return got.shape == want.shape and bool(
        (np.isclose(got, want, rtol=1e-13, atol=1e-300, equal_nan=True) | far).all()
    )


@pytest.mark.parametrize("name", sorted(n for n, s in OPS.items() if n != "einsum"))
def test_reruns_in_one_walk_are_the_reruns_one_by_one(name: str) -> None:
    """Definition and rules give the same over three reruns at once as over each: axes are those of one rerun."""
    spec, rng = OPS[name], np.random.default_rng(5)
    count = 3 if spec in FAMILIES["neural"] else 9  # shapes of images are found by trying
    for sample in _samples(spec, rng, count, "float64", None):
        noise = Noise(EXACTLY)
        noise.restart(0, 3)
        xp = NudgedNamespace(noise)
        # Some arguments the same in all reruns: there the axis of reruns is 1 long.
        own = [is_float(a) and bool(rng.integers(4)) for a in sample.args]
        scales = (1.0, 1.0 - 2.0**-20, 1.0 - 2.0**-12)
        points = [[a * s if mine else a for a, mine in zip(sample.args, own)] for s in scales]
        given = [
            xp.each(np.stack([p[i] for p in points])) if mine else xp.asarray(sample.args[i])
            for i, mine in enumerate(own)
        ]
        with np.errstate(all="ignore"):
            out = spec.define(xp, *given, **sample.params)
            wants = [spec.define(NUMPY, *p, **sample.params) for p in points]
            assert all(close(one_of(out, k), want) for k, want in enumerate(wants))
            if spec.composite or spec.result != "float":
                continue
            g = np.asarray(rng.normal(size=np.shape(wants[0])))
            for i in range(len(given)):
                if spec.differentiable(i):
                    args, params = tuple(given), dict(sample.params)
                    pulled = spec.cotangent(xp, i, xp.asarray(g), out, args, params)
                    for k, p in enumerate(points):
                        assert close(one_of(pulled, k), spec.cotangent(NUMPY, i, g, wants[k], tuple(p), params))


def one_of(x: Any, k: int) -> np.ndarray:
    return x.of(k) if isinstance(x, Nudged) else np.asarray(x)


@pytest.mark.parametrize("subscripts", ["ij,jk->ik", "ijk,k->ji", "ii->i", "i,j,k->kij", "ij->"])
def test_einsum_over_reruns(subscripts: str) -> None:
    rng = np.random.default_rng(6)
    words = subscripts.split("->")[0].split(",")
    each = [rng.normal(size=(3, *(2 for _ in w))) for w in words]
    noise = Noise(EXACTLY)
    noise.restart(0, 3)
    xp = NudgedNamespace(noise)
    out = xp.einsum(subscripts, *map(xp.each, each))
    assert all(close(out.of(k), np.einsum(subscripts, *(e[k] for e in each))) for k in range(3))


def test_a_matrix_that_one_rerun_cannot_factor_is_nan_there_alone() -> None:
    noise = Noise(EXACTLY)
    noise.restart(0, 2)
    out = NudgedNamespace(noise)
    found = out.cholesky(out.each(np.array([[[4.0, 0.0], [0.0, 9.0]], [[-1.0, 0.0], [0.0, 1.0]]])))
    assert np.array_equal(found.of(0), [[2.0, 0.0], [0.0, 3.0]])
    assert np.isnan(found.of(1)).all()


def test_reruns_that_choose_other_rows_take_other_rows() -> None:
    noise = Noise(EXACTLY)
    noise.restart(0, 2)
    xp = NudgedNamespace(noise)
    x = xp.each(np.array([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0]]))
    order = xp.argsort(x, axis=0)
    assert np.array_equal(xp.take(x, order, axis=0).of(1), [1.0, 2.0, 3.0])
    summed = xp.index_add(xp.zeros((3,), like=x), order, x, axis=0)
    assert np.array_equal(summed.of(0), [2.0, 3.0, 1.0])
    assert np.array_equal(summed.of(1), [1.0, 2.0, 3.0])


def test_what_follows_a_triangular_solution_is_nudged_as_well() -> None:
    """NumPy's stack makes a plain array of the rows: what was computed of it later counted as exact."""
    xp = NudgedNamespace(Noise(FORMATS["float64"]))
    a, b = xp.asarray(np.array([[2.0, 0.0], [0.3, 3.0]])), xp.asarray(np.array([[1.0], [0.7]]))
    assert isinstance(xp.solve_triangular(a, b), Nudged)


# ---- an op of a third party --------------------------------------------------------------------------------------------


def gudermannian(x: Any) -> Any:
    """In a Python loop: no ufunc."""
    return np.asarray([2.0 * math.atan(math.tanh(v / 2.0)) for v in np.ravel(x)], dtype=np.asarray(x).dtype).reshape(
        np.shape(x)
    )


def mp_gudermannian(x: Any) -> Any:
    from mpmath import mp

    return 2 * mp.atan(mp.tanh(x / 2))


ULPS = 32.0
SPEC = OpSpec(
    name="gd",
    define=lambda xp, x: xp.gd(x),
    vjp=(lambda xp, g, out, x: g / xp.cosh(x),),
    image=lambda x, **_: Interval(-1.5707963267948968, 1.5707963267948968),
    doc="the Gudermannian function",
    example="gd(x)",
    shape=same,
    primitive=True,
    ulps=ULPS,
)
KERNEL = Kernel("gd", gudermannian, lambda x: 2 * (x / 2).tanh().atan(), mp_gudermannian, Nudge.ULPS)


@pytest.fixture
def gd() -> Iterator[OpSpec]:
    yield register_op(SPEC, KERNEL)
    unregister_op("gd")


class AsGoodAsDeclared(EngineFramework):
    """Its outputs are off by three quarters of what the declaration allows, or by `factor` times that."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def run_vjp(self, *args: Any) -> Observation:  # type: ignore[override]
        seen = super().run_vjp(*args)
        off = 1.0 + self.factor * 0.75 * ULPS * 2 * U
        return Observation(tuple(o * off for o in seen.outputs), seen.gradients)


def case_at(x: float) -> Case:
    """A point of its own for each test: references are kept by their graph and point."""
    return expression_case("gd(x) * y", {"x": [x, -0.7, 1.9], "y": [1.1, 0.4, -1.3]}, "float64")


def test_a_kernel_that_is_no_ufunc_has_the_accuracy_that_its_op_declares(gd: OpSpec) -> None:
    """Without its nudge, the right implementation was a FAIL: of what was excused, the kernel's rounding was no part."""
    case = case_at(0.1)
    assert decide(case, AsGoodAsDeclared()).outcome is Outcome.PASS
    wrong = decide(case, AsGoodAsDeclared(100.0))
    assert (wrong.outcome, wrong.kind) == (Outcome.FAIL, FailKind.PRECISION)


def test_without_the_nudge_the_same_implementation_fails() -> None:
    """The case above shows something: an op that declares itself exact."""
    register_op(replace(SPEC, ulps=0.0), replace(KERNEL, nudge=Nudge.EXACT))
    try:
        assert decide(case_at(0.2), AsGoodAsDeclared()).outcome is Outcome.FAIL
    finally:
        unregister_op("gd")


def test_a_kernel_that_is_slipped_in_unnudged_raises(gd: OpSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method of NumPy's namespace, past the registry: the budget would take its results for exact."""
    method = lambda self, x: gudermannian(np.asarray(x))
    monkeypatch.setattr(NumpyNamespace, "gd", method, raising=False)
    with pytest.raises(TypeError, match="declared with an error model"):
        decide(case_at(0.3), AsGoodAsDeclared())


def test_the_error_model_may_be_a_function() -> None:
    register_op(SPEC, replace(KERNEL, nudge=lambda noise, out, x: noise.one(out, 2 * ULPS)))
    try:
        assert decide(case_at(0.4), AsGoodAsDeclared(2.0)).outcome is Outcome.PASS
    finally:
        unregister_op("gd")


def test_a_registered_op_is_sound_and_goes_where_the_table_goes(gd: OpSpec) -> None:
    from gradverify.generate.structure import generatable

    check_op(gd)
    assert generatable(gd)
    assert "gd" in ELEMENTWISE


def test_parameters_are_passed_to_every_column() -> None:
    spec = replace(
        SPEC, define=lambda xp, x, scale: xp.gd(x, scale=scale), params={"scale": Param("float", 2.0)},
        vjp=(lambda xp, g, out, x, scale: g / xp.cosh(x) * scale,), image=lambda x, **_: Interval(),
    )  # fmt: skip
    kernel = Kernel(
        "gd",
        lambda x, scale: scale * gudermannian(x),
        lambda x, scale: scale * (2 * (x / 2).tanh().atan()),
        lambda x, scale: scale * mp_gudermannian(x),
        Nudge.ULPS,
    )
    register_op(spec, kernel)
    try:
        check_op(spec)
    finally:
        unregister_op("gd")


@pytest.mark.parametrize(
    ("spec", "kernel", "error", "message"),
    [
        (SPEC, None, TypeError, "needs kernels"),
        (replace(SPEC, primitive=False), KERNEL, TypeError, "no primitive"),
        (SPEC, replace(KERNEL, name="other"), ValueError, "'other' for the op 'gd'"),
        (SPEC, replace(KERNEL, balls=Own.SCALAR), TypeError, "must be functions"),
        (SPEC, replace(KERNEL, nudge=Nudge.SUM), TypeError, "one of EXACT"),
        (SPEC, replace(KERNEL, nudge=Nudge.EXACT), ValueError, "an error of 32.0 ulps"),
        (replace(SPEC, name="exp"), replace(KERNEL, name="exp"), ValueError, "two declarations"),
    ],
)
def test_what_is_not_complete_is_not_registered(
    spec: OpSpec, kernel: Kernel | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        register_op(spec, kernel)
    assert "gd" not in OPS
    assert "gd" not in KERNELS


def test_ops_of_ours_stay() -> None:
    with pytest.raises(KeyError):
        unregister_op("exp")
    assert "exp" in OPS


PLUGIN = """
from gradverify.core.interval import Interval
from gradverify.core.op import OpSpec
from gradverify.namespaces import register_op
from gradverify.ops.shapes import same

def ops():
    register_op(OpSpec(
        name="cubed", define=lambda xp, x: x * x * x, vjp=(lambda xp, g, out, x: 3.0 * (g * x * x),),
        doc="x**3", example="cubed(x)", shape=same, ulps=1.5,
        image=lambda x, **_: Interval(),
    ))
"""

SCRIPT = """
import numpy as np
from gradverify.spec import loads
from gradverify.frameworks.registry import find
from gradverify.judge.decide import decide
from gradverify.generate.structure import generatable
from gradverify.ops import FAMILIES, OPS

text = '''
gradverify: 1
cases:
  - name: of a third party
    expr: sum(cubed(x) * y)
    inputs:
      x: [1.5, -2.0]
      y: [0.3, 0.7]
'''
spec, = loads(text).cases
print(decide(spec.case("float64"), find("engine")).outcome.value, generatable(OPS["cubed"]))

from gradverify import check, engine
from gradverify.engine.namespace import ENGINE

verdict = check(lambda x: ENGINE.cubed(x), engine.tensor([1.5, -2.0], dtype=engine.float64, requires_grad=True))
print(verdict.outcome.value)
"""


def test_an_entry_point_brings_ops(tmp_path: Path) -> None:
    (tmp_path / "cubes.py").write_text(PLUGIN)
    info = tmp_path / "cubes-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cubes\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gradverify.ops]\ncubes = cubes:ops\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{SCRIPT}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["PASS", "True", "PASS"], run.stderr
