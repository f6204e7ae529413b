"""The plugin as its users run it: `pytest --gradverify` in a project of its own."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

import gradverify.plugin.active
import gradverify.plugin.fixture

# Imported here, so that the runs inside this process share these modules instead of loading NumPy twice.
import gradverify.run.plan
import gradverify.strategies  # noqa: F401
from gradverify.report.json import schema

pytest_plugins = ["pytester"]

# A subject that is right; one that is wrong by 1e-3 wherever an op other than these two is on the way; one that is not
# installed; one whose adapter crashes. No framework is needed for any.
CONFTEST = """
import numpy as np
from gradverify.core.graph import Apply
from gradverify.namespaces import NUMPY
from gradverify.namespaces.run import forward, reverse
from gradverify.ops.build import lowered
from gradverify.frameworks import Framework, Observation, register

class Right(Framework):
    name = "right"
    dtypes = ("float32", "float64")
    factor = 1.0

    def unavailable(self):
        return None

    def function(self, graph, dtype):
        def run(*arrays):
            return self.values(graph, dtype, arrays)
        run.graph, run.dtype = lowered(graph), dtype
        return run

    def run_vjp(self, function, values, wrt, cotangent):
        graph, dtype = function.graph, function.dtype
        arrays = {n: np.array(v, dtype="float64") if v.dtype.kind == "f" else v for n, v in values.items()}
        with np.errstate(all="ignore"):
            nodes = forward(NUMPY, graph, arrays, dtype)
            adjoint = reverse(NUMPY, graph, nodes, [np.array(g, dtype="float64") for g in cotangent], wrt)
        off = self.factor if any(isinstance(n, Apply) and n.op not in ("multiply", "sum") for n in graph.nodes) else 1.0
        found = {n: adjoint.get(graph.inputs[n], np.zeros(values[n].shape)) for n in wrt}
        grads = {n: np.asarray(g * off).astype(dtype) for n, g in found.items()}
        return Observation(tuple(np.asarray(nodes[o]).astype(dtype) for o in graph.outputs), grads)

class Wrong(Right):
    name = "wrong"
    factor = 1 + 1e-3

class Absent(Right):
    name = "absent"

    def unavailable(self):
        return "Absent is not installed: pip install absent"

class Crashing(Right):
    name = "crashing"

    @property
    def dtypes(self):
        raise RuntimeError("gradverify is broken")

for subject in (Right(), Wrong(), Absent(), Crashing()):
    register(subject)
"""

SPEC = """\
gradverify: 1
defaults: {dtypes: [float64]}
cases:
  - name: growth
    expr: sum(x * exp(y))
    inputs: {x: [1.0, 2.0], y: [0.5, 0.25]}
    tags: [smoke]
  - name: cube
    expr: sum(x * x * x)
    inputs: {x: [1.0, 2.0]}
"""

FAST = ("-p", "no:cacheprovider", "--gradverify-examples=0")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    (pytester.path / "a.grad.yaml").write_text(SPEC)
    return pytester


def run(project: pytest.Pytester, *args: str, subjects: str = "right") -> pytest.RunResult:
    return project.runpytest_inprocess("--gradverify", f"--gradverify-subjects={subjects}", *args)


def ids(result: pytest.RunResult) -> list[str]:
    """Of `--collect-only -q`."""
    return [line for line in result.outlines if "::" in line]


def test_without_the_flag_nothing_is_collected(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "gradverify:" not in result.stdout.str()


def test_ids_are_readable_and_stable(project: pytest.Pytester) -> None:
    args = ("--collect-only", "-q", "--gradverify-dtypes=float32,float64", "--gradverify-examples=5")
    first = ids(run(project, *args, subjects="right,wrong"))
    assert first == ids(run(project, *args, subjects="right,wrong"))
    assert first == [
        *(f"a.grad.yaml::{case}[{subject}-{dtype}]" for case in ("growth", "cube") for subject in ("right", "wrong")
          for dtype in ("float32", "float64")),
        *(f"gradverify::random graphs[{s}-{d}]" for s in ("right", "wrong") for d in ("float32", "float64")),
    ]  # fmt: skip


def test_pass_prints_the_table(project: pytest.Pytester) -> None:
    result = run(project, *FAST)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*subject*dtype*PASS*FAIL*INCONCLUSIVE*worst error*catches*", "right*float64*2*0*0*%*e-*"]
    )


def test_fail_explains_itself(project: pytest.Pytester) -> None:
    result = run(project, *FAST, subjects="wrong")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines([
        "FAIL (*): growth on wrong in float64 (a.grad.yaml:4)",
        "dx?1? is off by *",
        "first wrong op: *exp*",
        "  dx?1?: got *, want *; 2 of 2 are off",
        "at x = ?1.0, 2.0?, y = ?0.5, 0.25?",
        "more: .gradverify/growth*/report.txt*",
    ])  # fmt: skip
    assert "Traceback" not in result.stdout.str()
    assert "--- graph" not in result.stdout.str()
    (folder,) = (project.path / ".gradverify").glob("growth*")
    check_evidence((folder / "report.txt").read_text())
    assert (folder / "case.grad.yaml").read_text().startswith("gradverify: 1")
    assert "def true_entry(" in (folder / "reproduce.py").read_text()


def test_verbose_twice_shows_all_evidence(project: pytest.Pytester) -> None:
    check_evidence(run(project, *FAST, "-vv", subjects="wrong").stdout.str())


def check_evidence(text: str) -> None:
    parts = (
        "FAIL (", "got     ", "want    ", "error   ", "budget  ", "oracle ", "--- graph", "--- spec", "gradverify: 1",
        "--- stand-alone reproducer",
    )  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert re.search(r"want    -?\d\.\d{15,19}", text)


def test_the_spec_in_a_failure_fails_again(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("--gradverify", "--gradverify-subjects=wrong", *FAST, "--gradverify-report=json:r.json")
    failed = next(r for r in json.loads((project.path / "r.json").read_text())["results"] if not r["ok"])
    (project.path / "a.grad.yaml").write_text(failed["verdict"]["culprit"]["spec"])
    run(project, *FAST, subjects="wrong").assert_outcomes(failed=1)
    run(project, *FAST, subjects="right").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("args", "passed", "failed"),
    [
        (("-k", "cube"), 1, 0),
        (("-k", "growth and float64"), 0, 1),
        (("-m", "gradverify"), 1, 1),
        (("-m", "not gradverify"), 0, 0),
        (("-m", "smoke"), 0, 1),
        (("-x",), 0, 1),
        (("a.grad.yaml::cube[wrong-float64]",), 1, 0),
    ],
)
def test_selection(project: pytest.Pytester, args: tuple[str, ...], passed: int, failed: int) -> None:
    run(project, *FAST, "--strict-markers", *args, subjects="wrong").assert_outcomes(
        passed=passed, failed=failed, deselected=2 - passed - failed if args[0] in ("-k", "-m") else 0
    )


def test_last_failed(project: pytest.Pytester) -> None:
    args = ("--gradverify-examples=20",)
    run(project, *args, subjects="wrong").assert_outcomes(passed=1, failed=3)
    again = run(project, *args, "--lf", "--collect-only", "-q", subjects="wrong")
    assert ids(again) == [
        "a.grad.yaml::growth[wrong-float64]",
        "gradverify::random graphs[wrong-float32]",
        "gradverify::random graphs[wrong-float64]",
    ]


def test_random_graphs_shrink_to_one_op(project: pytest.Pytester) -> None:
    result = run(
        project, "-p", "no:cacheprovider", "-k", "random and float64", "--gradverify-examples=60", subjects="wrong"
    )
    result.assert_outcomes(failed=1, deselected=3)
    (file,) = (project.path / ".gradverify").glob("*random_graphs*/report.txt")
    report = file.read_text()
    graph = report[report.index("--- graph") : report.index("--- spec")]
    assert graph.count(" = ") == 1, graph


def test_seed_repeats_and_changes_random_graphs(project: pytest.Pytester) -> None:
    def shares(seed: int) -> list[float]:
        run(project, "-p", "no:cacheprovider", "-k", "random and float64", "--gradverify-examples=5",
            f"--gradverify-seed={seed}", "--gradverify-report=json:r.json")  # fmt: skip
        return [r["verdict"]["share"] for r in json.loads((project.path / "r.json").read_text())["results"]]

    first = shares(1)
    assert len(first) == 5
    assert shares(1) == first
    assert shares(2) != first


def test_random_graphs_by_id_and_not_with_files(project: pytest.Pytester) -> None:
    args = ("--collect-only", "-q")
    assert ids(run(project, *args, "a.grad.yaml")) == [
        "a.grad.yaml::growth[right-float64]",
        "a.grad.yaml::cube[right-float64]",
    ]
    wanted = "gradverify::random graphs[right-float32]"
    assert ids(run(project, *args, wanted)) == [wanted]
    missing = run(project, "gradverify::random graphs[right-float16]")
    assert missing.ret == pytest.ExitCode.USAGE_ERROR
    assert not [i for i in ids(run(project, *args)) if "random" in i]
    assert [i for i in ids(run(project, *args, "--gradverify-examples=3")) if "random" in i]


def test_inconclusive_passes_is_named_and_fails_under_strict(project: pytest.Pytester) -> None:
    lenient = run(project, *FAST, "-v", subjects="absent")
    assert lenient.ret == 0
    lenient.stdout.fnmatch_lines(
        ["*cube?absent-float64? INCONCLUSIVE*", "not judged, for want of *: absent (2 verdicts)", "*2 inconclusive*"]
    )
    assert "passed" not in lenient.outlines[-1]
    run(project, *FAST, subjects="absent").stdout.fnmatch_lines(["a.grad.yaml II*"])
    strict = run(project, *FAST, "--gradverify-strict", subjects="absent")
    strict.assert_outcomes(failed=2)
    assert strict.ret == 1
    strict.stdout.fnmatch_lines(
        ["INCONCLUSIVE: growth on absent*", "Absent is not installed: pip install absent", "reason: *"]
    )


def test_unavailable_subject_of_random_graphs(project: pytest.Pytester) -> None:
    args = ("-p", "no:cacheprovider", "-k", "random", "--gradverify-examples=5", "--gradverify-report=json:r.json")
    assert run(project, *args, subjects="absent").ret == 0
    results = json.loads((project.path / "r.json").read_text())["results"]
    assert [r["verdict"]["reason"] for r in results] == ["unavailable"] * 2  # said once, not once an example
    run(project, *args, "--gradverify-strict", subjects="absent").assert_outcomes(failed=2, deselected=2)


def test_expected_failures(project: pytest.Pytester) -> None:
    (project.path / "a.grad.yaml").write_text(
        SPEC.replace("tags: [smoke]", "expect: fail\n    subjects: [wrong, right]")
    )
    run(project, *FAST, subjects="wrong").assert_outcomes(passed=2)
    result = run(project, *FAST, subjects="right")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["PASS, where its author expected a FAIL: growth on right*"])


def test_bad_spec_is_one_line(project: pytest.Pytester) -> None:
    (project.path / "a.grad.yaml").write_text(SPEC.replace("exp(y)", "expp(y)"))
    result = run(project, *FAST, "--gradverify-report=json:r.json")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    data = json.loads((project.path / "r.json").read_text())
    assert data["ok"] is False
    assert data["errors"][0]["id"] == "a.grad.yaml"
    result.stdout.fnmatch_lines(["*a.grad.yaml:5:*expp*did you mean 'exp'*"])
    assert "Traceback" not in result.stdout.str()
    assert "raise" not in result.stdout.str()


def test_a_crash_of_our_own_is_an_error_with_a_traceback(project: pytest.Pytester) -> None:
    result = run(project, *FAST, "-k", "cube", "--gradverify-report=json:r.json", subjects="crashing")
    assert result.ret == 1
    data = json.loads((project.path / "r.json").read_text())
    assert data["ok"] is False
    assert "gradverify is broken" in data["errors"][0]["message"]
    result.stdout.fnmatch_lines(
        ["*RuntimeError: gradverify is broken", "ERROR a.grad.yaml::cube?crashing-float64?*", "*1 error*"]
    )
    assert "pluggy/_hooks.py" not in result.stdout.str()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--gradverify-subjects=rihgt", "unknown subject 'rihgt'; did you mean 'right'"),
        ("--gradverify-examples=-1", "whole number"),
        ("--gradverify-seed=one", "whole number"),
        ("--gradverify-report=jsn:x", "json:PATH"),
        ("--gradverify-report=json:", "json:PATH"),
    ],
)
def test_bad_options_are_usage_errors(project: pytest.Pytester, option: str, said: str) -> None:
    result = project.runpytest_inprocess("--gradverify", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --gradverify*{said}*"])


def test_ini_equivalents_and_the_command_line_wins(project: pytest.Pytester) -> None:
    project.makeini(
        "[pytest]\ngradverify = true\ngradverify_subjects = right wrong\ngradverify_dtypes = float32\n"
        "gradverify_examples = 0\ngradverify_strict = true\ngradverify_seed = 7\ngradverify_report = json:r.json\n"
    )
    project.runpytest_inprocess("-p", "no:cacheprovider", "-k", "cube").assert_outcomes(passed=2, deselected=2)
    written = json.loads((project.path / "r.json").read_text())["settings"]
    assert written == {"subjects": ["right", "wrong"], "dtypes": ["float32"], "device": "cpu", "examples": 0, "seed": 7,
                       "strict": True, "fail_on": "all"}  # fmt: skip
    result = project.runpytest_inprocess(
        "--collect-only", "-q", "--gradverify-subjects=right", "--gradverify-dtypes=float64"
    )
    assert ids(result) == ["a.grad.yaml::growth[right-float64]", "a.grad.yaml::cube[right-float64]"]


def test_json_report_keeps_to_its_schema(project: pytest.Pytester) -> None:
    result = run(project, "-p", "no:cacheprovider", "--gradverify-examples=10", "--gradverify-report=json:out/r.json",
                 subjects="wrong,absent,right")  # fmt: skip
    assert result.ret == 1
    result.stdout.fnmatch_lines(["report: out/r.json"])
    data = json.loads((project.path / "out" / "r.json").read_text())
    jsonschema.Draft202012Validator(schema()).validate(data)
    assert data["ok"] is False
    assert {(r["subject"], r["verdict"]["outcome"]) for r in data["results"]} >= {
        ("wrong", "FAIL"), ("absent", "INCONCLUSIVE"), ("right", "PASS")}  # fmt: skip
    row = next(r for r in data["summary"] if (r["subject"], r["dtype"]) == ("right", "float64"))
    assert row["pass"] == 12
    assert 0 < row["power_median"] <= row["power_worst"]


def test_junit_xml_has_the_figures(project: pytest.Pytester) -> None:
    run(project, *FAST, "--junitxml=j.xml", subjects="wrong")
    cases = {c.get("name"): c for c in ET.parse(project.path / "j.xml").iter("testcase")}
    good, bad = cases["cube[wrong-float64]"], cases["growth[wrong-float64]"]
    properties = {p.get("name"): p.get("value") for p in good.iter("property")}
    assert properties["gradverify_outcome"] == "PASS"
    assert 0 < float(properties["gradverify_power"] or "nan") < 1e-12
    failure = bad.find("failure")
    assert failure is not None
    assert "first wrong op" in (failure.text or "")


def test_xdist_gathers_everything(project: pytest.Pytester) -> None:
    args = ("--gradverify", "--gradverify-subjects=right,wrong", "--gradverify-examples=3", "-p", "no:cacheprovider",
            "--gradverify-report=json:r.json")  # fmt: skip
    result = project.runpytest_subprocess(*args, "-n", "2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["right*float64*5*0*0*%*", "report: r.json"])
    apart = json.loads((project.path / "r.json").read_text())
    jsonschema.Draft202012Validator(schema()).validate(apart)
    project.runpytest_inprocess(*args)
    together = json.loads((project.path / "r.json").read_text())
    key = lambda r: (r["id"], r["verdict"]["outcome"], r["verdict"]["share"])
    assert sorted(map(key, apart["results"])) == sorted(map(key, together["results"]))
    wanted = "gradverify::random graphs[right-float32]"
    project.runpytest_subprocess(*args, "-n", "1", wanted).assert_outcomes(passed=1)


class TestFixture:
    """Explicit checks inside tests; they work with and without the flag."""

    BODY = """
import pytest
from gradverify import Outcome
from gradverify.plugin import VerdictError

@pytest.mark.gradverify(subjects="right")
def test_good(gradverify):
    verdict = gradverify.assert_pass("sum(x * exp(y))", x=[1.0, 2.0], y=0.5)
    assert verdict.subject == "right" and verdict.power < 1e-12
    assert gradverify.check("x * x", x=3.0, dtype="float32").dtype == "float32"

def test_wrong_is_returned_by_check_and_raised_by_assert_pass(gradverify):
    verdict = gradverify.check("exp(x)", subject="wrong", x=1.0)
    assert verdict.outcome is Outcome.FAIL and not verdict
    with pytest.raises(VerdictError, match="first wrong op|FAIL") as e:
        gradverify.assert_pass("exp(x)", subject="wrong", x=1.0)
    assert e.value.verdicts[0].outcome is Outcome.FAIL

def test_inconclusive_is_no_pass(gradverify):
    with pytest.raises(VerdictError, match="not installed"):
        gradverify.assert_pass("exp(x)", subject="absent", x=1.0)

def test_a_subject_must_be_named(gradverify):
    with pytest.raises(TypeError, match="say which subject"):
        gradverify.check("exp(x)", x=1.0)

@pytest.mark.gradverify(subjects=["right"], strict=True)
def test_spec(gradverify, request):
    assert [v.case for v in gradverify.run_spec(request.path.parent / "a.grad.yaml")] == ["growth", "cube"]

@pytest.mark.gradverify(subjects=["wrong"])
def test_spec_fails(gradverify, request):
    with pytest.raises(VerdictError, match="growth"):
        gradverify.run_spec(request.path.parent / "a.grad.yaml")
"""

    def test_without_the_flag(self, project: pytest.Pytester) -> None:
        project.makepyfile(self.BODY)
        result = project.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers")
        result.assert_outcomes(passed=6)
        assert "worst error" not in result.stdout.str()

    def test_with_the_flag_its_verdicts_are_counted(self, project: pytest.Pytester) -> None:
        project.makepyfile(self.BODY)
        result = project.runpytest_inprocess("-p", "no:cacheprovider", "--gradverify", "-k", "test_good")
        result.assert_outcomes(passed=1, deselected=result.parseoutcomes()["deselected"])
        result.stdout.fnmatch_lines(["right*float32*1*0*0*", "right*float64*1*0*0*"])

    def test_a_failing_check_shows_the_verdict(self, project: pytest.Pytester) -> None:
        project.makepyfile("def test_it(gradverify):\n    gradverify.assert_pass('exp(x)', subject='wrong', x=1.0)\n")
        result = project.runpytest_inprocess("-p", "no:cacheprovider")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*VerdictError: FAIL*exp(x) on wrong in float64*", "*want *", "*more: .gradverify*"]
        )

    def test_a_wrong_marker_says_so(self, project: pytest.Pytester) -> None:
        project.makepyfile(
            "import pytest\n@pytest.mark.gradverify(subject='right')\ndef test_it(gradverify):\n    pass\n"
        )
        result = project.runpytest_inprocess("-p", "no:cacheprovider")
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*takes subjects=*"])


def test_fail_on_says_what_gates(project: pytest.Pytester) -> None:
    """The option wins over the ini file, and that over pyproject.toml."""
    run(project, *FAST, "--gradverify-fail-on=none", subjects="wrong").assert_outcomes(passed=2)
    run(project, *FAST, "--gradverify-fail-on=fail:law", subjects="wrong").assert_outcomes(passed=2)
    run(project, *FAST, "--gradverify-fail-on=inconclusive", subjects="absent").assert_outcomes(failed=2)
    (project.path / "pyproject.toml").write_text("[tool.gradverify]\nfail_on = ['none']\n")
    run(project, *FAST, subjects="wrong").assert_outcomes(passed=2)
    project.makeini("[pytest]\ngradverify_fail_on = fail, weak\n")
    run(project, *FAST, subjects="wrong").assert_outcomes(passed=1, failed=1)
    refused = run(project, *FAST, "--gradverify-fail-on=fial")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--gradverify: unknown outcome 'fial'; did you mean 'fail'*"])


def test_help_and_markers_name_everything(project: pytest.Pytester) -> None:
    text = project.runpytest_inprocess("--help").stdout.str()
    for name in ("subjects", "dtypes", "device", "examples", "seed", "strict", "fail-on", "report"):
        assert f"--gradverify-{name}" in text
        assert f"gradverify_{name.replace('-', '_')}" in text
    project.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.gradverify(*"])


def test_paths_are_named_as_pytest_names_them(project: pytest.Pytester) -> None:
    folder: Path = project.mkdir("deep")
    (project.path / "a.grad.yaml").rename(folder / "b.grad.yaml")
    assert ids(run(project, "--collect-only", "-q", *FAST))[0] == "deep/b.grad.yaml::growth[right-float64]"
