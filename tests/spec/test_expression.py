"""Expressions: what they mean, what is refused, and where the finger points."""

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradverify.core.errors import SpecError
from gradverify.core.graph import Apply, Constant, Graph
from gradverify.ops import OPS
from gradverify.spec import parse
from gradverify.spec.expression import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES, canonical

LEAVES = {
    "x": ((3,), "float"),
    "y": ((3,), "float"),
    "w": ((2, 3), "float"),
    "s": ((), "float"),
    "i": ((2,), "int"),
    "m": ((3,), "bool"),
}


def ops(text: str) -> list[str]:
    return [n.op for n in parse(text, LEAVES).nodes if isinstance(n, Apply)]


def last(text: str) -> Apply:
    graph = parse(text, LEAVES)
    node = graph.nodes[graph.outputs[0]]
    assert isinstance(node, Apply)
    return node


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x + y * s", ["multiply", "add"]),
        ("(x + y) * s", ["add", "multiply"]),
        ("-x ** 2", ["pow", "negative"]),
        ("(-x) ** 2", ["negative", "pow"]),
        ("2 ** -x", ["negative", "pow"]),
        ("x / y - x", ["divide", "subtract"]),
        ("w @ x", ["matmul"]),
        ("+x", []),
        ("sum(exp(x))", ["exp", "sum"]),
        ("where(0 < x <= 1, x, y)", ["less", "less_equal", "logical_and", "where"]),
        ("where((x > 0) & ~(y != 1) | m, x, y)", ["greater", "not_equal", "logical_not", "logical_and", "logical_or", "where"]),  # noqa: E501
        ("x[1:] * x[:-1]", ["getitem", "getitem", "multiply"]),
    ],
)  # fmt: skip
def test_operators_become_ops_in_python_s_order(text, expected):
    assert ops(text) == expected


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("x[0]", (0,)),
        ("x[-1]", (-1,)),
        ("w[1:, ::-1]", ((1, None, None), (None, None, -1))),
        ("w[..., None, 0]", ("...", None, 0)),
        ("w[0:2:1]", ((0, 2, 1),)),
        ("s[()]", ()),
    ],
)
def test_subscripts(text, index):
    node = last(text)
    assert (node.op, dict(node.params)) == ("getitem", {"index": index})


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("sum(w, 1)", {"axis": 1, "keepdims": False}),
        ("sum(w, axis=(0, -1), keepdims=True)", {"axis": (0, -1), "keepdims": True}),
        ("sum(w, axis=[0, 1])", {"axis": (0, 1), "keepdims": False}),
        ("vector_norm(x, ord=inf)", {"axis": None, "keepdims": False, "ord": math.inf}),
        ("concat([x, y, [1, 2]], 0)", {"axis": 0}),
        ("einsum('ij,j->i', w, x)", {"subscripts": "ij,j->i"}),
        ("pad(w, pads=((1, 0), (0, 2)))", {"pads": ((1, 0), (0, 2))}),
        ("embed(s, index=(2,), shape=(3,))", {"index": (2,), "shape": (3,)}),
    ],
)
def test_parameters_are_literals_by_name_or_in_table_order(text, params):
    assert dict(last(text).params) == params


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("x + 2", 2, "float"),
        ("x + -2.5", -2.5, "float"),
        ("x + --1", 1, "float"),
        ("x * pi", math.pi, "float"),
        ("x * -inf", -math.inf, "float"),
        ("x + [1, 2.5, -3]", (1, 2.5, -3), "float"),
        ("take(x, [2, 0], axis=0)", (2, 0), "int"),
        ("where([True, False, True], x, y)", (True, False, True), "bool"),
    ],
)
def test_literals_take_the_kind_that_their_op_wants(text, value, kind):
    (constant,) = (n for n in parse(text, LEAVES).nodes if isinstance(n, Constant))
    assert (constant.value, constant.kind) == (value, kind)


def test_equal_constants_are_one_node_and_bindings_are_shared():
    graph = parse("h * h + h / 2 - 2", LEAVES, let={"h": "exp(x)"})
    assert sum(isinstance(n, Constant) for n in graph.nodes) == 1
    assert [n.op for n in graph.nodes if isinstance(n, Apply)] == ["exp", "multiply", "divide", "add", "subtract"]


def test_a_binding_that_nothing_uses_leaves_no_trace():
    assert parse("x", LEAVES, let={"h": "exp(y)"}) == parse("x", LEAVES)


def test_equal_graphs_compare_equal_however_they_were_written():
    flat = parse("exp(x) + (y - 1) * 2", LEAVES)
    bound = parse("a + b * 2", LEAVES, let={"a": "exp(x)", "b": "y - 1"})
    assert flat == bound == canonical(flat)


# Shapes for the examples that do not work on (3, 3) matrices with three indices.
SHAPES = {
    "broadcast_to": {"x": (3, 1)},
    "embed": {"x": (2,)},
    "reshape": {"x": (3, 4)},
    "index_add": {"x": (4, 2), "i": (3,), "u": (3, 2)},
    "scatter_add": {"x": (4, 4), "i": (4, 2), "u": (4, 2)},
    "squeeze": {"x": (1, 3)},
    "take_along_axis": {"x": (4, 4), "i": (4, 2)},
    "layer_norm": {"w": (3,), "b": (3,)},
    "rms_norm": {"w": (3,)},
    "linear": {"b": (3,)},
    "outer": {"x": (3,), "y": (2,)},
    "im2col": {"x": (1, 2, 4, 4)},
    "col2im": {"x": (1, 2, 4, 2, 2)},
    "conv2d": {"x": (1, 2, 4, 4), "w": (3, 2, 3, 3)},
    "max_pool2d": {"x": (1, 2, 4, 4)},
    "avg_pool2d": {"x": (1, 2, 4, 4)},
    "adaptive_avg_pool2d": {"x": (1, 2, 4, 4)},
    "batch_norm": {"x": (2, 3, 2, 2), "w": (3,), "b": (3,)},
}


@pytest.mark.parametrize("name", sorted(OPS))
def test_the_example_of_every_op_parses(name):
    spec = OPS[name]
    kinds = dict.fromkeys(("i", "indices", "target"), "int") | dict.fromkeys(("m", "mask"), "bool")
    shapes = SHAPES.get(name, {})
    leaves = {n: (shapes.get(n, (3,) if kinds.get(n) == "int" else (3, 3)), kinds.get(n, "float"))
              for n in re.findall(r"\b[a-z]\b|mask|indices|target", re.sub(r"'.*?'", "", spec.example))}  # fmt: skip
    graph = parse(spec.example, leaves)
    assert name in {n.op for n in graph.nodes if isinstance(n, Apply)}


REFUSED = [
    # text, column, message
    ("x y", 3, "not an expression: 'y' is out of place"),
    ("x +", 4, "not an expression: something is missing at the end"),
    ("x + * y", 5, "not an expression: '*' is out of place"),
    ("x = 3", 3, "not an expression: '=' is out of place"),
    ("(x", 1, "'(' is never closed: ')' is missing"),
    ("x)", 2, "')' closes nothing"),
    ("[x)", 3, "')' closes nothing"),
    ("x, y", 1, "one expression, not several: `expr:` takes a list of expressions"),
    ("   ", 1, "an empty expression"),
    ("softplsu(x)", 1, "unknown op 'softplsu'; did you mean 'softplus' or 'softsign'?"),
    ("x + mul(x, y)", 5, "unknown op 'mul'; here it is called 'multiply'"),
    ("qqqq(x)", 1, "unknown op 'qqqq'"),
    ("__import__('os')", 1, "unknown op '__import__'"),
    ("qqexec('1')", 1, "unknown op 'qqexec'"),
    ("x + z", 5, "unknown name 'z' (the names here are: x, y, w, s, i, m)"),
    ("exp + 1", 1, "exp is an op, not an array: call it, exp(x)"),
    ("x(3)", 1, "x is an array, not an op"),
    ("1(x)", 1, "only ops are called, by their names"),
    ("sum(x)(y)", 1, "only ops are called, by their names"),
    ("x.T", 2, "'.' is not part of the language; there are no attributes; ops are called by name, as in sum(x)"),
    ("().__class__", 3, "'.' is not part of the language; there are no attributes; ops are called by name, as in sum(x)"),
    ("lambda: x", 1, "'lambda' is not part of the language; bind names with `let:`"),
    ("(t := x)", 4, "':=' is not part of the language; bind names with `let:`"),
    ("[v for v in x]", 4, "'for' is not part of the language"),
    ("x if m else y", 3, "'if' is not part of the language; write where(mask, x, y)"),
    ("x and y", 3, "'and' is not part of the language; write & (logical_and)"),
    ("not m", 1, "'not' is not part of the language; write ~ (logical_not)"),
    ("x ^ 2", 3, "'^' is not part of the language; powers are written **"),
    ("x // 2", 3, "'//' is not part of the language; write floor(x / y)"),
    ("x # sum", 3, "'#' is not part of the language; comments go into YAML, or into `note:`"),
    ("f'{x}'", 1, "'f' is not part of the language"),
    ("{x}", 1, "'{' is not part of the language"),
    ("x; y", 2, "';' is not part of the language; bind names with `let:`"),
    ("`x`", 1, "'`' is not part of the language"),
    ("x + é", 5, "'é' is not part of the language"),
    ("0x10 + x", 1, "'0x10' is not a number"),
    ("1_000 * x", 1, "'1_000' is not a number"),
    ("x * 1i", 5, "'1i' is not a number"),
    ("x * 1e999", 5, "1e999 is larger than any double; write inf"),
    ("99999999999999999999 * x", 1, "the integer 99999999999999999999 does not fit 64 bits"),
    ("9**9**9", 4, "an exponent without inputs must lie in [-1000, 1000]"),
    ("x ** 1001", 6, "an exponent without inputs must lie in [-1000, 1000]"),
    ("pow(x, -1e9)", 8, "an exponent without inputs must lie in [-1000, 1000]"),
    ("x ** inf", 6, "an exponent without inputs must lie in [-1000, 1000]"),
    ("[x, y]", 1, "a list literal holds numbers only; arrays are put together by stack([x, y])"),
    ("[[1, 2], [3]] + x", 1, "the rows of a literal array differ in length"),
    ("[1, True] + x", 1, "a literal of booleans and numbers mixed"),
    ("'abc'", 1, "'abc' is a parameter, not an array"),
    ("x + None", 5, "None is a parameter, not an array"),
    ("x[i]", 3, "an index is made of integers, slices, None and ...; arrays index through take"),
    ("x[1.0]", 3, "an index is made of integers, slices, None and ...; arrays index through take"),
    ("x[True]", 3, "an index is made of integers, slices, None and ...; arrays index through take"),
    ("x[0, 0]", 2, "getitem: index (0, 0) names 2 axes of an array of shape (3,)"),
    ("sum(x, axes=0)", 8, "sum has no parameter 'axes'; did you mean 'axis'?"),
    ("sum(x, out=0)", 8, "sum has no parameter 'out' (it has: axis, keepdims)"),
    ("sum(x, axis=0, axis=0)", 16, "sum: axis is given twice"),
    ("sum(x, 0, axis=0)", 11, "sum: axis is given twice"),
    ("sum(x, 0, True, 1)", 17, "sum takes 1 array and the parameters axis, keepdims"),
    ("exp(x, y)", 8, "exp takes 1 array and no parameters"),
    ("sum(x, axis=s)", 13, "sum: the parameter axis takes a literal, not an expression"),
    ("sum(*x)", 5, "'*' unpacks nothing here"),
    ("sum(**x)", 5, "'**' unpacks nothing here"),
    ("sum()", 1, "sum takes 1 argument, got 0"),
    ("multiply(x)", 1, "multiply takes 2 arguments, got 1"),
    ("w + [1, 2]", 3, "add: shapes (2, 3) and (2,) do not broadcast"),
    ("exp(x) * (w @ y[:2])", 13, "matmul: shapes (2, 3) and (2,): inner sizes 3 and 2 differ"),
    ("where(x, x, y)", 1, "where: argument 1 must be bool, got float"),
    ("x + True", 3, "add: argument 2 must be float, got bool"),
    ("take(x, [0.5], axis=0)", 9, "integers are wanted here"),
    ("broadcast_to(x, (100000000, 3))", 1, "broadcast_to makes an array of 300000000 elements; at most 16777216"),
    ("broadcast_to(x, (9000000000, 3))", 1, "broadcast_to would make an array of 27000000000 elements; at most 2147483648"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "message"), REFUSED, ids=[t for t, _, _ in REFUSED])
def test_what_is_refused_and_where(text, column, message):
    with pytest.raises(SpecError) as caught:
        parse(text, LEAVES)
    assert (caught.value.line, caught.value.column, caught.value.message) == (1, column, message)


DEEP = [
    "(" * 5000 + "x" + ")" * 5000,
    "-" * 9000 + "x",
    "exp(" * 3000 + "x" + ")" * 3000,
    "x" + "[0:1]" * 3000,
    "x" + " + x" * 4000,
    "x" + " ** x" * 3000,
    "[" * 5000,
    "sum(x, axis=" + "(" * 5000 + "0" + ",)" * 5000 + ")",
    "~" * 9000 + "m",
    "exp" + "(x)" * 5000,
]


@pytest.mark.parametrize("text", DEEP, ids=[t[:12] for t in DEEP])
def test_depth_is_bounded_before_any_recursion(text):
    with pytest.raises(SpecError, match=f"nested more than {MAX_DEPTH} deep: use `let:`"):
        parse(text, LEAVES)


def test_the_deepest_that_is_allowed_is_within_the_interpreter_s_limits():
    text = "exp(" * (MAX_DEPTH - 1) + "x" + ")" * (MAX_DEPTH - 1)
    assert len(ops(text)) == MAX_DEPTH - 1


def test_length_is_bounded():
    with pytest.raises(SpecError, match=f"an expression of {MAX_CHARACTERS + 1} characters; at most {MAX_CHARACTERS}"):
        parse("x" * (MAX_CHARACTERS + 1), LEAVES)


def test_the_number_of_nodes_is_bounded():
    """Each binding doubles nothing but adds sixty nodes: `let` is no way around the bound."""
    let = {f"t{k}": " + ".join(["x"] * 61) for k in range(MAX_NODES // 60 + 1)}
    with pytest.raises(SpecError, match=f"a graph of more than {MAX_NODES} nodes"):
        parse("x", LEAVES, let=let)


def test_huge_tables_of_numbers_are_bounded_by_the_length():
    graph = parse("x[0] + [" + ", ".join(["1"] * 5000) + "]", LEAVES)
    assert graph.nodes[graph.outputs[0]].shape == (5000,)


words = st.sampled_from(
    [*LEAVES, *OPS, "pi", "e", "inf", "lambda", "if", "else", "for", "in", "True", "None", "...", "(", ")", "[", "]", ",",
     ":", "+", "-", "*", "/", "**", "@", "<", "==", "&", "|", "~", "=", ".", "'ij->j'", "0", "1", "2.5", "-1", "1e9", " ",
     "axis", "keepdims", "shape", "\n", "\t", "#", "\\", "é", "\0", "{", "!", '"', "f'", "0x", "1j"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60), st.lists(words, max_size=25).map("".join), st.lists(words, max_size=25).map(" ".join)
    )
)
@example("x\x0c+y")
@example("\ufeffx")
@example("x\\\n")
@example("'\ud800'")
def test_any_text_is_a_graph_or_a_spec_error(text):  # fmt: skip
    try:
        graph = parse(text, LEAVES)
    except SpecError as e:
        assert re.fullmatch(r"<\w+>:[1-9]\d*:[1-9]\d*: .+", str(e), re.DOTALL)  # noqa: PT017
    else:
        assert isinstance(graph, Graph)
        assert canonical(graph) == graph
