"""Spec files → cases, and each way in which a file can be wrong: one clear error, at the right place."""

import hashlib
import math
import re
import time
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradverify.core.errors import SpecError
from gradverify.core.graph import Input
from gradverify.spec import Document, load, loads, parse
from gradverify.spec import nodes as yaml_nodes
from gradverify.spec.values import DOMAINS

ISSUE_EXAMPLE = """\
gradverify: 1
defaults: {dtypes: [float32, float64], subjects: [engine, torch]}
cases:
  - name: cube
    expr: sum(x ** 3)
    inputs: {x: [1.0, 2.0]}
    grad: {x: "3 * x ** 2"}          # a claim, verified as well
  - name: affine softplus
    expr: sum(softplus(w @ x + b))
    inputs:
      w: {shape: [3, 4]}
      x: {shape: [4], domain: [-3, 3]}
      b: [0.1, 0.2, 0.3]
    invariants: [linearity]
  - name: my fused kernel
    expr: softplus(x) * y             # the definition
    call: mypackage.kernels:fused     # held against it, forward and backward
    inputs: {x: {shape: [8]}, y: {shape: [8]}}
    subjects: [torch]
"""


def one(body: str, head: str = "gradverify: 1\n"):
    """The only case of a document whose case has the keys in `body`."""
    lines = dedent(body).strip("\n").split("\n")
    return loads(head + "cases:\n  - name: n\n" + "".join(f"    {line}\n" for line in lines)).cases[0]


def test_the_example_that_introduces_the_format():
    document = loads(ISSUE_EXAMPLE, "a.grad.yaml")
    cube, affine, fused = document.cases
    assert (cube.name, cube.line, cube.file) == ("cube", 4, "a.grad.yaml")
    assert (cube.subjects, cube.dtypes, cube.expect) == (("engine", "torch"), ("float32", "float64"), "pass")
    case = cube.case("float32")
    assert case.values["x"].dtype == np.float32
    assert case.values["x"].tolist() == [1.0, 2.0]
    assert [g.tolist() for g in case.cotangent] == [1.0]
    assert case.claims == {"x": parse("3 * x ** 2", {"x": ((2,), "float")})}
    assert str(case.source) == "a.grad.yaml:4"
    assert affine.invariants == ("linearity",)
    assert affine.case("float64").wrt == ("w", "x", "b")
    assert np.all(np.abs(affine.case("float64").values["x"]) <= 3)
    assert (fused.function, fused.subjects) == ("mypackage.kernels:fused", ("torch",))
    (g,) = fused.case("float64").cotangent
    assert np.all((np.abs(g) >= 0.5) & (np.abs(g) < 2))
    assert len(set(np.sign(g))) == 2


def test_defaults_are_taken_and_overridden():
    document = loads("""\
gradverify: 1
defaults: {seed: 3, tags: [slow], invariants: [purity], domain: [5, 6], dtypes: [float64]}
cases:
  - {name: a, expr: x, inputs: {x: {shape: [9]}}}
  - {name: b, expr: x, inputs: {x: {shape: [9], domain: unit}}, seed: 4, tags: [], dtypes: [float16], note: hello}
""")
    a, b = document.cases
    assert (a.seed, a.tags, a.invariants, a.dtypes) == (3, ("slow",), ("purity",), ("float64",))
    assert (b.seed, b.tags, b.invariants, b.dtypes, b.note) == (4, (), ("purity",), ("float16",), "hello")
    x = a.case("float64").values["x"]
    assert x.min() >= 5
    assert x.max() <= 6
    x = b.case("float64").values["x"]
    assert x.min() > 0
    assert x.max() < 1


def test_values_of_every_form():
    case = one("""
        expr: a + b + c + d + where(m, k, f) + h
        inputs:
          a: 2
          b: [1, -2.5e-3, .inf]
          c: {values: [.nan, -.inf, 0x10]}
          d: {values: 7, shape: [3]}
          k: {values: [[1, 2, 3]]}
          f: {shape: [1, 3], domain: [4, 4]}
          m: [true, false, true]
          h: {shape: [3], values: 0.5, dtype: float}
        """).case("float64")
    assert case.values["a"].shape == ()
    assert case.values["b"].tolist() == [1.0, -2.5e-3, math.inf]
    np.testing.assert_array_equal(case.values["c"], [math.nan, -math.inf, 16.0])
    assert case.values["d"].tolist() == [7.0] * 3
    assert case.values["k"].shape == (1, 3)
    assert case.values["f"].tolist() == [[4.0] * 3]
    assert case.values["m"].dtype == np.bool_
    assert case.wrt == ("a", "b", "c", "d", "k", "f", "h")


def test_integers_and_masks_are_drawn_and_not_differentiated():
    spec = one("""
        expr: where(m, take(x, i, axis=0), 0)
        inputs:
          x: {shape: [5]}
          i: {shape: [200], domain: [0, 4], dtype: int64}
          m: {shape: [200], dtype: bool}
        """)
    case = spec.case("float32")
    assert case.values["i"].dtype == np.int64
    assert set(case.values["i"].tolist()) == {0, 1, 2, 3, 4}
    assert set(case.values["m"].tolist()) == {False, True}
    assert case.wrt == ("x",)


def test_draws_depend_on_names_and_seed_alone():
    text = "gradverify: 1\ncases: [{name: %s, expr: 'x + y', inputs: {%s: {shape: [4]}, %s: {shape: [4]}}, seed: %d}]"
    first = loads(text % ("n", "x", "y", 0)).cases[0].case("float64").values
    again = loads(text % ("n", "y", "x", 0), "elsewhere").cases[0].case("float64").values
    assert all(np.array_equal(first[k], again[k]) for k in "xy")
    assert not np.array_equal(first["x"], first["y"])
    for other in (("m", "x", "y", 0), ("n", "x", "y", 1)):
        assert not np.array_equal(first["x"], loads(text % other).cases[0].case("float64").values["x"])
    # Float32 values are the float64 ones, rounded: the point is the same up to that.
    rounded = loads(text % ("n", "x", "y", 0)).cases[0].case("float32").values["x"]
    assert np.array_equal(rounded, first["x"].astype(np.float32))


def test_draws_are_the_same_in_every_release():
    """A value once published in a report must come back: this pins the generator."""
    x = one("expr: x\ninputs: {x: {shape: [2], domain: [0, 1]}}").case("float64").values["x"]
    key = b"gradverify\0n\x000\0x\0value"
    raw = np.frombuffer(hashlib.shake_256(key).digest(16), dtype="<u8")
    assert x.tolist() == [int(r >> np.uint64(11)) * 2.0**-53 for r in raw]


@pytest.mark.parametrize(
    ("expr", "legal"),
    [
        ("log(x)", lambda x: np.all(x > 0)),
        ("1 / x", lambda x: np.all(x != 0) and np.any(x < 0)),
        ("log(1 - x * x)", lambda x: np.all(np.abs(x) < 1) and np.any(x < 0)),
        ("acosh(x)", lambda x: np.all(x > 1)),
        ("asin(x)", lambda x: np.all(np.abs(x) < 1)),
        ("logit(x)", lambda x: np.all((x > 0) & (x < 1))),
        ("log(-x)", lambda x: np.all(x < 0)),
        ("sqrt(log(x))", lambda x: np.all(x > 1)),
        ("x * sin(x)", lambda x: np.any(x < 0) and np.any(x > 1)),
        ("log(exp(x) + 1)", lambda x: np.any(x < 0)),
    ],
)
def test_a_domain_is_derived_from_the_ops(expr, legal):
    x = one(f"expr: {expr}\ninputs: {{x: {{shape: [64]}}}}").case("float64").values["x"]
    assert legal(x)


def test_domains_are_derived_for_several_inputs_and_around_given_ones():
    values = one("expr: log(x + y) / z\ninputs: {x: {shape: [64]}, y: {shape: [64]}, z: {shape: [64]}}")
    values = values.case("float64").values
    assert np.all(values["x"] + values["y"] > 0)
    assert np.all(values["z"] != 0)
    around = one("expr: log(x + y)\ninputs: {x: {shape: [64]}, y: [2.5]}").case("float64").values
    assert np.any(around["x"] < 0)


@pytest.mark.parametrize("name", sorted(DOMAINS))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_named_domains_hold_what_they_say(name, dtype):
    """For matrices the property itself, else the interval; in every dtype, so rounding must leave nothing outside."""
    x = one(f"expr: x\ninputs: {{x: {{shape: [40, 5, 5], domain: {name}}}}}").case(dtype).values["x"].astype(np.float64)
    if name == "positive_definite":
        assert np.array_equal(x, np.swapaxes(x, -1, -2))
        assert np.linalg.eigvalsh(x).min() > 0
    elif name == "invertible":
        assert np.linalg.svd(x, compute_uv=False).min() > 0
        assert not np.array_equal(x, np.swapaxes(x, -1, -2))
    else:
        parts = DOMAINS[name].parts
        assert np.all(np.any([(p.lo <= x) & (x <= p.hi) for p in parts], axis=0))
        assert all(np.any((p.lo <= x) & (x <= p.hi)) for p in parts)


def test_structured_arguments_without_a_domain_are_moved_into_it():
    x = one("expr: cholesky(x)\ninputs: {x: {shape: [4, 4]}}").case("float64").values["x"]
    assert np.linalg.eigvalsh((x + x.T) / 2).min() > 0
    values = one("expr: solve(x, y)\ninputs: {x: {shape: [3, 4, 4]}, y: {shape: [3, 4, 1]}}").case("float64").values
    assert np.linalg.cond(values["x"]).max() < 1e3


def test_cotangents():
    assert one("expr: x\ninputs: {x: [1, 2]}\ncotangent: [3, -4]").case("float64").cotangent[0].tolist() == [3, -4]
    assert one("expr: x\ninputs: {x: [1, 2]}\ncotangent: 0").case("float64").cotangent[0].tolist() == [0, 0]
    (g,) = one("expr: x\ninputs: {x: {shape: [0, 2]}}\ncotangent: []").case("float64").cotangent
    assert g.shape == (0, 2)
    two = one("expr: [x, sum(x)]\ninputs: {x: [1, 2]}\ncotangent: [[5, 6], 7]").case("float32").cotangent
    assert [g.tolist() for g in two] == [[5, 6], 7]
    drawn = one("expr: [sum(x), sum(x)]\ninputs: {x: [1, 2]}").case("float64").cotangent
    assert all(g.shape == () and abs(g) != 1 for g in drawn)  # with several outputs a 1 each would hide an exchange


def test_claims_are_graphs_over_the_inputs_and_the_cotangent():
    spec = one("""
        let: {h: exp(x)}
        expr: h * y
        inputs: {x: {shape: [3]}, y: {shape: []}}
        grad: {x: g * h * y, y: sum(g * h)}
        """)
    assert list(spec.claims["x"].inputs) == ["x", "y", "g"]
    shape = {"x": ((3,), "float"), "y": ((), "float"), "g": ((3,), "float")}
    assert spec.claims["y"] == parse("sum(g * exp(x))", shape)
    assert list(one("expr: sum(x)\ninputs: {x: [1, 2]}\ngrad: {x: 1}").claims["x"].inputs) == ["x"]
    stretched = one("expr: sum(x)\ninputs: {x: [1, 2]}\ngrad: {x: 1}").claims["x"]
    assert stretched.nodes[stretched.outputs[0]].shape == (2,)
    several = one("expr: [x, 2 * x]\ninputs: {x: [1, 2]}\ngrad: {x: g0 + 2 * g1}").claims["x"]
    assert list(several.inputs) == ["x", "g0", "g1"]


def test_explained_inconclusives():
    body = "expr: x\ninputs: {x: [1, 2]}\ninconclusive: "
    assert one(body + "too hard").explained("torch") == "too hard"
    assert one(body + "{jax: no such op}").explained("jax") == "no such op"
    assert one(body + "{jax: no such op}").explained("torch") is None


def test_unused_inputs_stay_inputs():
    spec = one("expr: sin(x)\ninputs: {x: [1, 2], y: [3]}")
    assert list(spec.graph.inputs) == ["x", "y"]
    assert spec.case("float64").wrt == ("x", "y")


def test_scalars_in_every_yaml_style_mean_the_same():
    expected = one("expr: x * 2 + sum(x)\ninputs: {x: [1, 2]}").graph
    for style in (
        "'x * 2 + sum(x)'",
        '"x * 2 + sum(x)"',
        '"x\\u0020* 2 \\\n       + sum(x)"',
        "x * 2\n   + sum(x)",
        "|\n   x * 2\n     + sum(x)",
        ">-\n  x * 2\n  + sum(x)",
    ):
        assert one(f"expr: {style}\ninputs: {{x: [1, 2]}}").graph == expected


# Every row: the document, line, column, message.
BAD = {
    "no cases": ("gradverify: 1\n", 1, 1, "a spec file needs the key 'cases'"),
    "no version": ("cases: []\n", 1, 1, "a spec file needs the key 'gradverify'"),
    "another version": ("gradverify: 2\ncases: []\n", 1, 13,
                        "this gradverify reads version 1 of the format: write `gradverify: 1`"),
    "empty": ("", 1, 1, "the file is empty"),
    "only a comment": ("# nothing\n", 1, 1, "the file is empty"),
    "a list": ("- 1\n", 1, 1, "a spec file is a mapping with the keys gradverify, defaults, cases; this is a list"),
    "several documents": ("gradverify: 1\ncases: []\n---\n{}\n", 3, 1, "a second document: a spec file holds one"),
    "an unknown key": ("gradverify: 1\ncase: []\n", 2, 1, "a spec file has no key 'case'; did you mean 'cases'?"),
    "a key twice": ("gradverify: 1\ncases: []\ncases: []\n", 3, 1, "the key 'cases' stands twice; first in line 2"),
    "an alias": ("gradverify: &a 1\ncases: []\n", 1, 13,
                 "anchors and aliases are not part of the format: repeat the value, or use `defaults`"),
    "a tag": ("gradverify: 1\ncases: !!python/object/apply:os.system [ls]\n", 2, 8,
              "tags (tag:yaml.org,2002:python/object/apply:os.system) are not part of the format"),
    "a bracket never closed": ("gradverify: 1\ncases: [1, 2\n", 3, 1,
                               "not YAML: expected ',' or ']', but got '<stream end>'"),
    "a tab": ("gradverify: 1\n\tcases: []\n", 2, 1, "not YAML: found character '\\t' that cannot start any token"),
    "a control character": ("gradverify: 1\ncases: \x07\n", 2, 8, "not YAML: special characters are not allowed"),
    "cases a mapping": ("gradverify: 1\ncases: {a: 1}\n", 2, 8, "cases must be a list, not a mapping"),
    "a case of text": ("gradverify: 1\ncases: [x]\n", 2, 9, "a case must be a mapping, not text"),
    "a list as a key": ("gradverify: 1\ncases: []\n[1]: 2\n", 3, 1, "a key must be text, this is a list"),
    "defaults a list": ("gradverify: 1\ndefaults: []\ncases: []\n", 2, 11, "defaults must be a mapping, not a list"),
    "a dtype": ("gradverify: 1\ndefaults: {dtypes: [flaot32]}\ncases: []\n", 2, 21,
                "unknown dtype 'flaot32'; did you mean 'float32'?"),
    "no dtype at all": ("gradverify: 1\ndefaults: {dtypes: []}\ncases: []\n", 2, 20, "dtypes is an empty list"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_documents(name):
    text, line, column, message = BAD[name]
    with pytest.raises(SpecError) as caught:
        loads(text, "f.grad.yaml")
    assert (caught.value.line, caught.value.column, caught.value.message) == (line, column, message)
    assert str(caught.value) == f"f.grad.yaml:{line}:{column}: {message}"


HEAD = "gradverify: 1\ncases:\n- name: n\n"
X = "  inputs: {x: {shape: [2, 3]}}\n"
# What stands after HEAD, and the message; `↓` stands before the character that the error points at, which is the case's
# first one where there is no `↓`.
BAD_CASES = [
    (X, "a case needs the key 'expr'"),
    ("  expr: x\n", "a case needs the key 'inputs'"),
    ("  ↓expr:\n" + X, "expr is empty"),
    ("  expr: ↓[]\n" + X, "expr is an empty list"),
    ("  expr: ↓{a: b}\n" + X, "expr must be an expression, not a mapping"),
    ("  ↓exp: x\n" + X, "a case has no key 'exp'; did you mean 'expr' or 'expect'?"),
    ("  expr: x + ↓z\n" + X, "unknown name 'z' (the names here are: x)"),
    ('  expr: "x\\x20+ ↓z"\n' + X, "unknown name 'z' (the names here are: x)"),
    ("  expr: 'x + ↓z'\n" + X, "unknown name 'z' (the names here are: x)"),
    ("  expr: |  # text\n    x\n      + ↓z\n" + X, "unknown name 'z' (the names here are: x)"),
    ("  expr: >-\n    x\n\n    + ↓z\n" + X, "unknown name 'z' (the names here are: x)"),
    ("  expr: x\n    + ↓z\n" + X, "unknown name 'z' (the names here are: x)"),
    ('  expr: "x \\\n     + ↓z"\n' + X, "unknown name 'z' (the names here are: x)"),
    ("  expr: 'einsum(''ij->i'', ↓z)'\n" + X, "unknown name 'z' (the names here are: x)"),
    ('  expr: "einsum(\\"ij->i\\", ↓z)"\n' + X, "unknown name 'z' (the names here are: x)"),
    ("  expr: |\n    sum↓(\n      x\n" + X, "'(' is never closed: ')' is missing"),
    ("  expr: x ↓+ [1, 2]\n" + X, "add: shapes (2, 3) and (2,) do not broadcast"),
    ("  expr: ↓x > 0\n" + X, "expr is bool: only floating-point results have gradients"),
    ("  expr: [x, ↓'x > 0']\n" + X, "expr is bool: only floating-point results have gradients"),
    ("  expr: x\n  inputs: ↓[x]\n", "inputs must be a mapping, not a list"),
    ("  expr: x\n  inputs: {↓1x: [1]}\n", "'1x' is no name: letters, digits and _ only, not a digit first"),
    ("  expr: x\n  inputs: {↓if: [1]}\n", "'if' is a word of Python: take another name"),
    ("  expr: x\n  inputs: {↓pi: [1]}\n", "'pi' is a constant of the language: take another name"),
    ("  expr: x\n  inputs: {↓g: [1]}\n", "'g' stands for the cotangent in claims: take another name"),
    ("  expr: x\n  inputs: {x: ↓abc}\n", "an entry of x must be a number, not text"),
    ("  expr: x\n  inputs: {↓x: }\n", "an entry of x must be a number, not nothing"),
    ("  expr: x\n  inputs: {x: [1, ↓a]}\n", "an entry of x must be a number, not text"),
    ("  expr: x\n  inputs: {x: [1, ↓true]}\n", "an entry of x must be a number, not a boolean"),
    ("  expr: x\n  inputs: {x: [[1, 2], ↓[3]]}\n", "the rows of x differ in shape: [1] after [2]"),
    ("  expr: x\n  inputs: {x: [[1], ↓3]}\n", "the rows of x differ in shape: [] after [1]"),
    ("  expr: x\n  inputs: {x: [↓{a: 1}]}\n", "x must be a number or nested lists of numbers, not a mapping"),
    ("  expr: x\n  inputs: {x: [↓1e999]}\n", "1e999 is larger than any double; write .inf"),
    ("  expr: x\n  inputs: {x: ↓[1.0, 1e300]}\n", "1e+300 overflows float32"),
    ("  expr: x\n  inputs: {x: ↓{}}\n", "the input x needs a shape, or values"),
    ("  expr: x\n  inputs: {x: {↓shap: [3]}}\n", "the input x has no key 'shap'; did you mean 'shape'?"),
    ("  expr: x\n  inputs: {x: {shape: ↓3}}\n", "shape must be a list, not an integer"),
    ("  expr: x\n  inputs: {x: {shape: [↓-3]}}\n", "a dimension must lie in [0, 9223372036854775807]"),
    ("  expr: x\n  inputs: {x: {shape: [↓2.0]}}\n", "a dimension must be an integer, not a number"),
    ("  expr: x\n  inputs: {x: {shape: [↓true]}}\n", "a dimension must be an integer, not a boolean"),
    ("  expr: x\n  inputs: {x: {shape: ↓[99999, 99999]}}\n", "an array of 9999800001 elements; at most 16777216"),
    ("  expr: x\n  inputs: {x: {shape: [3], values: ↓[1, 2]}}\n", "x has the shape [2], not [3]"),
    ("  expr: x\n  inputs: {x: {values: [1], domain: ↓unit}}\n", "values or a domain to draw them from, not both"),
    ("  expr: x\n  inputs: {x: {shape: [3], domain: ↓positiv}}\n",
     "unknown domain 'positiv'; did you mean 'positive'?"),
    ("  expr: x\n  inputs: {x: {shape: [3], domain: ↓[2, 1]}}\n", "a domain is [lo, hi] with lo <= hi, not [2, 1]"),
    ("  expr: x\n  inputs: {x: {shape: [3], domain: ↓[0, .inf]}}\n", "the ends of a domain must be finite"),
    ("  expr: x\n  inputs: {x: {shape: [3], domain: ↓invertible}}\n", "x is no square matrix: its shape is [3]"),
    ("  expr: x\n  inputs: {x: {shape: [3], dtype: ↓int32}}\n", "unknown dtype 'int32'; did you mean 'int64'?"),
    ("  expr: x\n  inputs: {x: [1], i: ↓{shape: [3], dtype: int64}}\n",
     "the integers i need values, or a domain [lo, hi] to draw them from"),
    ("  expr: x\n  inputs: {x: [1], i: {values: [↓1.5], dtype: int64}}\n",
     "an entry of i must be an integer, not a number"),
    ("  expr: log(x + y)\n  inputs: {x: ↓{shape: [3]}, y: [-9]}\n",
     "no usual domain of x keeps log inside its own: state `domain: [lo, hi]` or values"),
    ("  expr: x\n  let: {h: ↓z}\n" + X, "unknown name 'z' (the names here are: x)"),
    ("  expr: x\n  let: {↓x: x}\n" + X, "'x' stands twice"),
    ("  expr: x\n  let: {a: ↓b, b: x}\n" + X, "unknown name 'b' (the names here are: x)"),
    ("  expr: sum(x)\n  grad: {↓y: x}\n" + X, "unknown input 'y'"),
    ("  expr: sum(x)\n  grad: {x: ↓x > 0}\n" + X, "the claim is bool, not floating-point"),
    ("  expr: sum(x)\n  grad: {x: ↓'[1, 2]'}\n" + X, "the claim has the shape [2], x has [2, 3]"),
    ("  expr: ↓g * x\n" + X, "unknown name 'g' (the names here are: x)"),
    ("  expr: x + y\n  inputs: {x: [1], y: [2]}\n  wrt: [x]\n  grad: {↓y: g}\n",
     "y is not differentiated: `wrt` does not name it"),
    ("  expr: x\n  wrt: [↓z]\n" + X, "unknown input 'z'"),
    ("  expr: x\n  wrt: ↓[]\n" + X, "wrt is an empty list"),
    ("  expr: x\n  wrt: [x, ↓x]\n" + X, "wrt names 'x' twice"),
    ("  expr: x\n  cotangent: ↓[1, 2]\n" + X, "cotangent has the shape [2], not [2, 3]"),
    ("  expr: [x, x]\n  cotangent: ↓[1]\n" + X, "1 cotangents for 2 outputs"),
    ("  expr: x\n  expect: ↓fails\n" + X, "unknown expect 'fails'; did you mean 'fail'?"),
    ("  expr: x\n  call: ↓os.system\n" + X, "call is `package.module:function`, not 'os.system'"),
    ("  expr: x\n  call: ↓'os:system(1)'\n" + X, "call: it is given none of the inputs"),
    ("  expr: x\n  call: ↓'m:f(y)'\n" + X, "call: unknown input 'y'"),
    ("  expr: x\n  call: ↓'m:f(x + 1)'\n" + X, "call: an argument is the name of an input or a literal, not x + 1"),
    ("  expr: x\n  call: ↓'m:f(x)(x)'\n" + X, "call: 'm:f(x)(x)' is no call of one function"),
    ("  expr: x\n  invariants: ↓linearity\n" + X, "invariants must be a list, not text"),
    ("  expr: x\n  subjects: [↓1]\n" + X, "an entry of subjects must be text, not an integer"),
    ("  expr: x\n  seed: ↓-1\n" + X, "seed must lie in [0, 9223372036854775807]"),
    ("  expr: x\n  seed: ↓a\n" + X, "seed must be an integer, not text"),
    ("  expr: x\n  inconclusive: ↓''\n" + X, "inconclusive is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), BAD_CASES, ids=[m for _, m in BAD_CASES])
def test_bad_cases(body, message):
    text = (HEAD + body).replace("↓", "")
    before = (HEAD + body).partition("↓")[0] if "↓" in body else HEAD.removesuffix("name: n\n")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    with pytest.raises(SpecError) as caught:
        loads(text)
    assert (caught.value.message, caught.value.line, caught.value.column) == (message, line, column)


def test_two_cases_of_one_name():
    case = "- {name: n, expr: x, inputs: {x: [1]}}\n"
    with pytest.raises(SpecError, match=r"^<string>:4:10: two cases are called 'n'; the other is in line 3$"):
        loads("gradverify: 1\ncases:\n" + case + case)


def test_names_are_one_readable_line():
    for name in ('""', '" a"', '"a\\nb"', '"\\a"', "x" * 201):
        with pytest.raises(SpecError, match="name"):
            loads(f"gradverify: 1\ncases: [{{name: {name}, expr: x, inputs: {{x: [1]}}}}]")


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(SpecError, match=r"missing.grad.yaml:1:1: there is no such file"):
        load(tmp_path / "missing.grad.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.grad.yaml").write_bytes("gradverify: 1\n# café\n".encode("latin-1"))
    with pytest.raises(SpecError, match=r"latin.grad.yaml:2:6: not UTF-8: byte 0xe9 at offset 19"):
        load(tmp_path / "latin.grad.yaml")


def test_a_byte_order_mark_and_windows_line_ends_move_no_position(tmp_path):
    path = tmp_path / "bom.grad.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + ISSUE_EXAMPLE.replace("\n", "\r\n").encode())
    assert [c.line for c in load(path).cases] == [4, 8, 15]
    path.write_bytes(b"\xef\xbb\xbfgradverify: 2\r\ncases: []\r\n")
    with pytest.raises(SpecError, match=r":1:13: "):
        load(path)


BOMBS = {
    "billion laughs": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n",
    "merge keys": "a: &a {x: 1}\nb: {<<: *a}\n",
    "deep lists": "gradverify: 1\ncases: " + "[" * 20_000,
    "deep mappings": "gradverify: 1\ncases: " + "{a: " * 5_000,
    "deep blocks": "".join(f"{' ' * k}a:\n" for k in range(300)),
    "deep literal": "gradverify: 1\ncases: [{name: n, expr: x, inputs: {x: " + "[" * 60 + "]" * 60 + "}}]",
    "a long file": "gradverify: 1\ncases: []\n" + "#" * yaml_nodes.MAX_CHARACTERS,
    "a long integer": "gradverify: 1\ncases: [{name: n, expr: x, inputs: {x: " + "9" * 100_000 + "}}]",
    "a wide expression": "gradverify: 1\ncases: [{name: n, expr: " + "x+" * 100_000 + "x, inputs: {x: [1]}}]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name):
    start = time.process_time()
    with pytest.raises(SpecError):
        loads(BOMBS[name])
    assert time.process_time() - start < 5


def test_deriving_domains_gives_up_instead_of_searching_for_ever():
    """Eight logarithms of sums that no candidate satisfies together, in a long graph."""
    let = "\n".join(f"  t{k}: t{k - 1} + x{k % 9}" if k else "  t0: x0" for k in range(800))
    inputs = ", ".join(f"x{k}: {{shape: []}}" for k in range(9))
    start = time.process_time()
    with pytest.raises(SpecError, match="no usual domain of x0 keeps log inside its own"):
        one(f"let:\n{let}\nexpr: log(-exp(t799) - 1)\ninputs: {{{inputs}}}")
    assert time.process_time() - start < 10


atoms = st.one_of(
    st.sampled_from(
        ["1", "0", "-1", "2.5", "x", "y", "g", "x + y", "log(x)", "[1, 2]", "{shape: [2]}", "{shape: [2], domain: unit}",
         "true", "null", "''", ".nan", ".inf", "float32", "pass", "fail", "a:b", "&a 1", "*a", "!!int 1", "{", "]", "- x",
         "|\n  x", "\"\\u00e9\"", "{values: [[1], [2]], dtype: int64}", "[[1.5], 2]"]
    ),
    st.text(max_size=8),
)  # fmt: skip
keys = st.sampled_from(
    ["name", "expr", "inputs", "let", "grad", "call", "wrt", "cotangent", "expect", "inconclusive", "note", "dtypes",
     "subjects", "invariants", "tags", "seed", "x", "<<", "? a"]
)  # fmt: skip


@st.composite
def documents(draw):
    def mapping(indent: int) -> str:
        rows = draw(st.lists(st.tuples(keys, atoms), max_size=4))
        return "".join(f"{' ' * indent}{k}: {v}\n" for k, v in rows)

    cases = "".join(
        f"- name: c{k}\n  expr: {draw(atoms)}\n  inputs: {{x: {draw(atoms)}, y: {draw(atoms)}}}\n{mapping(2)}"
        for k in range(draw(st.integers(0, 2)))
    )
    return f"gradverify: 1\ncases:\n{cases}" + (mapping(0) if draw(st.booleans()) else "")


@settings(max_examples=300, deadline=None)
@given(st.one_of(documents(), st.text(max_size=80)))
@example('a: "\\UFFFFFFFF"')
@example("%YAML 99999999999999999999.1\n---\na: 1")
@example("? [a]\n: b")
@example("\ud800")
@example("a: \x85b")
def test_any_text_is_a_document_or_a_spec_error(text):
    try:
        document = loads(text)
    except SpecError as e:
        assert re.fullmatch(r"<\w+>:[1-9]\d*:[1-9]\d*: .+", str(e), re.DOTALL)  # noqa: PT017
    else:
        assert isinstance(document, Document)
        for spec in document.cases:
            for dtype in spec.dtypes:
                case = spec.case(dtype)
                assert all(case.values[n.name].shape == n.shape for n in case.graph.nodes if isinstance(n, Input))
                assert all(g.dtype == dtype for g in case.cotangent)
