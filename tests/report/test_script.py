"""Stand-alone reproducers run, without gradverify, and print the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from gradverify.core.errors import Unsupported
from gradverify.core.graph import Apply
from gradverify.frameworks import find
from gradverify.ops import OPS
from gradverify.ops.complex.lowering import is_complex
from gradverify.oracle.mp import MPMATH
from gradverify.oracle.truth import truth
from gradverify.report import definitions
from gradverify.report.script import DEFINITIONS, TEMPLATES, _definition, _primitive, reproducer, script
from gradverify.report.slices import Adapter, Slice
from gradverify.spec.document import CaseSpec, load, loads

FALL_BACK: set[str] = set()
"""Ops that scripts have no short definition of."""

SPEC = """\
gradverify: 1
cases:
  - name: mixed
    expr: sum(softplus(x @ w + 0.1) * y[0, ::2], axis=0)
    inputs:
      x: [[0.5, -1.5], [2.0, 0.25]]
      w: {shape: [2, 2]}
      y: [[1.0, 3.0, 5.0]]
"""

# Runs the script with gradverify out of reach.
ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'gradverify':
            raise ImportError('a stand-alone script must not import gradverify')
sys.meta_path.insert(0, Refuse())
exec(compile(open(sys.argv[1]).read(), sys.argv[1], 'exec'), {'__name__': '__main__'})
"""


def ran(text: str, tmp_path: Path, alone: bool = True) -> dict[str, tuple[float, mpf]]:
    """Run a script; its lines as {where: (the subject's number, the true one)}."""
    path = tmp_path / "reproducer.py"
    path.write_text(text)
    command = [sys.executable, "-c", ALONE, str(path)] if alone else [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^(d\S.*?): \S+ (\S+), true (\S+), off by", done.stdout, re.MULTILINE)
    assert len(lines) == len(done.stdout.splitlines()), done.stdout
    with mp.workdps(60):
        return {where: (float(got), mpf(want)) for where, got, want in lines}


@pytest.mark.parametrize("subject", sorted(TEMPLATES))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_runs_alone_and_agrees_with_the_oracle_and_the_subject(subject: str, dtype: str, tmp_path: Path) -> None:
    if find(subject).unavailable():
        pytest.skip(f"{subject} is not installed")
    case = loads(SPEC).cases[0].case(dtype)
    printed = ran(reproducer(SPEC, subject, dtype), tmp_path, alone=TEMPLATES[subject].adapter is not None)
    adapter = find(subject)
    seen = adapter.run_vjp(adapter.function(case.graph, dtype), case.values, case.wrt, case.cotangent)
    true = truth(case.graph, case.values, case.cotangent, case.wrt, dtype)
    compared = 0
    for name in case.wrt:
        gradient: Any = seen.gradients[name]
        for index in np.ndindex(case.values[name].shape):
            got, want = printed[f"d{name}{list(index)}"]
            assert got == gradient[index]  # the same ops, bit by bit
            # 20 digits are printed: half a unit of the last is 5e-20 relative at most.
            with mp.workdps(60):
                exact = mpf(float(true.gradients[name].hi[index])) + mpf(float(true.gradients[name].lo[index]))
                assert abs(want - exact) <= mpf("5e-20") * abs(exact)
            compared += 1
    assert compared == len(printed) == 11


def test_a_subject_without_a_template_is_run_through_gradverify(tmp_path: Path) -> None:
    register = "from gradverify.frameworks import register\n" \
               "from gradverify.frameworks.engine.adapter import EngineFramework\n" \
               "mine = EngineFramework()\nmine.name = 'mine'\nregister(mine)\n"  # fmt: skip
    text = reproducer(SPEC, "mine", "float64").replace("# A subject", register + "# A subject")
    assert ran(text, tmp_path, alone=False) == ran(reproducer(SPEC, "engine", "float64"), tmp_path, alone=False)
    with pytest.raises(Unsupported, match="no template"):
        script(loads(SPEC).cases[0].case("float64"), "mine")


def test_a_users_own_function_is_imported(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    spec = """\
gradverify: 1
cases:
  - {name: mine, expr: x * y, call: "mykernels:Box.mul", inputs: {x: [1.5], y: [2.5]}, cotangent: 1}
"""
    (tmp_path / "mykernels.py").write_text("class Box:\n    mul = staticmethod(lambda x, y: x * y)\n")
    text = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + reproducer(spec, "torch", "float64")
    assert ran(text, tmp_path) == {"dx[0]": (2.5, mpf("2.5")), "dy[0]": (1.5, mpf("1.5"))}


def test_awkward_values_and_names(tmp_path: Path) -> None:
    """Zeros, tiny and huge numbers, 0-d and empty inputs, integers, and names that the script itself uses."""
    pytest.importorskip("torch")
    spec = '''\
gradverify: 1
cases:
  - name: quotes " and \\ and """
    expr: sum(take(np * 2, i, axis=0)) + mp * torch + sin(values) + sum(none)
    inputs:
      np: [0.0, 1.0e-300, 1.5]
      mp: 1.0e+20
      torch: 3.0
      values: 1.0e+20
      i: {values: [2, 0, 2], dtype: int64}
      none: {shape: [0]}
'''
    printed = ran(reproducer(spec, "torch", "float64"), tmp_path)
    assert {k: g for k, (g, _) in printed.items() if k.startswith("dnp")} == {
        "dnp[0]": 2.0,
        "dnp[1]": 0.0,
        "dnp[2]": 4.0,
    }
    assert [float(printed[k][1]) for k in ("dnp[0]", "dnp[1]", "dnp[2]", "dmp", "dtorch")] == [2, 0, 4, 3, 1e20]
    with mp.workdps(60):
        assert abs(printed["dvalues"][1] - mp.cos(mpf(10) ** 20)) < mpf("1e-19")


SPECS = Path(__file__).parents[2] / "specs"


@cache
def by_op() -> dict[str, CaseSpec]:
    """Op -> the smallest of the shipped cases that contains it; none with complex numbers, which have no script."""
    found: dict[str, CaseSpec] = {}
    for path in sorted(SPECS.glob("*.grad.yaml")):
        for spec in load(path).cases:
            if is_complex(spec.graph):
                continue
            for node in spec.graph.nodes:
                if isinstance(node, Apply) and (node.op not in found or spec.graph.ops < found[node.op].graph.ops):
                    found[node.op] = spec
    return found


@pytest.mark.parametrize("op", list(OPS))
def test_definitions_agree_with_the_oracle(op: str) -> None:
    """The short definitions that scripts carry, on every op: a second reading of what the ops compute."""
    if op not in by_op():
        pytest.skip("no shipped case has this op")
    case = by_op()[op].case("float64")
    with mp.workdps(60):
        into = Slice()
        into.take(DEFINITIONS, "lift")
        definition = _definition(case.graph, "float64", into)
        scope: dict[str, Any] = {"np": np, "mp": mp, "mpf": mpf, "OPS": OPS, "MPMATH": MPMATH}
        exec(f"{into.text}\n{definition}", scope)  # our own text
        arrays = [scope["lift"](v.tolist()) if v.dtype.kind == "f" else v for v in case.values.values()]
        found = scope["definition"](*arrays)
        wanted = truth(case.graph, case.values, case.cotangent, case.wrt, "float64").outputs
        assert len(found) == len(wanted)
        for got, want in zip(found, wanted):
            assert np.shape(got) == want.shape
            for index in np.ndindex(want.shape):
                if not np.isfinite(want.hi[index]):
                    assert str(got[index]) in (str(want.hi[index]), f"+{want.hi[index]}")
                    continue
                exact = mpf(float(want.hi[index])) + mpf(float(want.lo[index]))
                # Double-double holds 2**-106 relative, the bound is the oracle's own.
                assert abs(got[index] - exact) <= mpf(2) ** -104 * abs(exact) + mpf(float(want.bound[index]))


def test_most_definitions_are_short() -> None:
    """Scripts fall back on gradverify for few ops; this is the list."""
    short = {n.removeprefix("mp_") for n in vars(definitions) if n.startswith("mp_")}
    long = {n.op for s in by_op().values() for n in _primitive(s.graph).nodes if isinstance(n, Apply)} - short
    assert long <= FALL_BACK


@pytest.mark.parametrize("subject", ["torch", "jax"])
def test_every_binding_has_a_text(subject: str) -> None:
    """A slice of the adapter's table exists for every op that it binds, and evaluates to a function."""
    if find(subject).unavailable():
        pytest.skip(f"{subject} is not installed")
    template = TEMPLATES[subject]
    assert template.adapter is not None
    adapter = Adapter(template.adapter, template.package)
    bound = pytest.importorskip(template.adapter).bindings()
    seen = 0
    for op in OPS:
        try:
            bound(op)
        except Unsupported:
            continue
        into = Slice()
        name = adapter.bind(op, into)
        scope: dict[str, Any] = {}
        exec("\n".join(["import numpy as np", *template.imports, *into.imports, into.text]), scope)
        assert callable(eval(name, scope)), op
        assert "gradverify" not in into.text
        seen += 1
    assert seen > 50


def test_a_complex_case_has_no_script_and_says_so() -> None:
    spec = "gradverify: 1\ncases:\n  - {name: n, expr: exp(z), inputs: {z: 1+2j}}\n"
    with pytest.raises(Unsupported, match="complex numbers"):
        reproducer(spec, "torch", "complex128")
