"""A stand-alone reproducer: a script that prints a framework's gradient beside the true one.

It needs the framework, NumPy and mpmath. The framework's ops are sliced from the adapter that ran them, the definitions
from `report.definitions`. A subject without a template here is run through gradverify, and the script says so.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.case import Case
from ..core.errors import ShapeError, Unsupported
from ..core.graph import Apply, Constant, Graph, Input, Node
from ..core.imports import NamedCall, parsed, root_of
from ..frameworks.base import Template
from ..frameworks.registry import templates
from ..namespaces.run import constant_array
from ..ops import OPS
from ..ops.build import GraphBuilder, Recorder, Ref
from ..ops.complex.lowering import is_complex
from ..spec.document import loads
from .slices import Adapter, Slice, definitions

DEFINITIONS = "gradverify.report.definitions"

MAX_NESTING = 10
"""Of definitions in terms of other ops."""

# The names that the script itself uses; an input of the same name gets an underscore.
RESERVED = {"np", "mp", "mpf", "lift"}


TEMPLATES: Mapping[str, Template] = MappingProxyType({t.framework: t for t in templates()})

TRUTH = '''\
def true_entry(name, index):
    """d(sum of cotangent * output) / d{name}[index], by a central difference of the definition.

    With a step h = 1e-20 |x| and 60 digits more than |log10 |x||, truncation (h**2) and rounding (1e-60 / h) both
    leave about 40 digits, unless the point is ill-conditioned. At a kink it is the mean of the two sides.
    """
    x = mpf(values[name][index].item())
    with mp.workdps(60 + (abs(int(mp.log10(abs(x)))) if x else 0)):
        h = mpf(10) ** -20 * (min(abs(x), 1) or 1)
        sides = []
        for sign in (1, -1):
            point = {n: lift(v.tolist()) if v.dtype.kind in "fV" else v for n, v in values.items()}
            point[name][index] = x + sign * h
            outs = definition(*point.values())
            sides.append(sum((np.sum(o * lift(g.tolist())) for o, g in zip(outs, cotangent)), mpf(0)))
        return (sides[0] - sides[1]) / (2 * h)


for name in wrt:
    for index in np.ndindex(values[name].shape):
        want = true_entry(name, index)
        mine = None if got[name] is None else got[name][index].item()
        where = f"d{name}{list(index) if index else ''}"
        if mine is None:
            print(f"{where}: %(subject)s gives None, true {mp.nstr(want, 20)}")
        else:
            off = f"{mp.nstr(abs(mpf(mine) - want) / abs(want), 3)} relative" if want else f"{abs(mine):.3g}"
            print(f"{where}: %(subject)s {mine!r}, true {mp.nstr(want, 20)}, off by {off}")
'''


CLAIMED = """\
# What the author claims to be the gradient. `g` is the cotangent; of several outputs `g0`, `g1`, ….
claims = {%(claims)s}
with mp.workdps(60):
    given = {n: lift(v.tolist()) if v.dtype.kind in "fV" else v for n, v in values.items()}
    for i, g in enumerate(cotangent):
        given.setdefault("g" if len(cotangent) == 1 else f"g{i}", lift(g.tolist()))
    for name, (claim, arguments) in claims.items():
        claimed = claim(*(given[n] for n in arguments))[0]
        for index in np.ndindex(values[name].shape):
            want, said = true_entry(name, index), np.broadcast_to(claimed, values[name].shape)[index]
            where = f"claim for d{name}{list(index) if index else ''}"
            off = f"{mp.nstr(abs(said - want) / abs(want), 3)} relative" if want else mp.nstr(abs(said), 3)
            print(f"{where}: {mp.nstr(said, 20)}, true {mp.nstr(want, 20)}, off by {off}")
"""


LAWS = """\
# A law does not hold. Whoever is asked again, or in proportion, must answer so.
answers = {"asked again": (asked(cotangent), 1.0)}
for scale in (2.0**40, 2.0**-40):
    scaled = [np.asarray(g * scale, g.dtype) for g in cotangent]
    answers[f"with {scale:.3g} times the cotangent"] = (asked(scaled), scale)
for how, (found, scale) in answers.items():
    for name in wrt:
        if got[name] is not None and found[name] is not None:
            off = np.max(np.abs(np.asarray(found[name], float) / scale - np.asarray(got[name], float)), initial=0.0)
            print(f"d{name} {how}: off by {off:.3g} of the first answer")
"""


def reproducer(spec: str, subject: str, dtype: str, law: bool = False) -> str:
    """The script of a one-case spec text; with `law`, it asks for more than one answer. Raises SpecError or Unsupported."""
    return script(loads(spec).cases[0].case(dtype), subject, spec, law)


def script(case: Case, subject: str, spec: str = "", law: bool = False) -> str:
    """The script of a case. `spec`, its text, serves where the subject has no template; Unsupported without one, and for
    complex cases."""
    if is_complex(case.graph):
        raise Unsupported("the case has complex numbers; `gradverify run` of the spec above shows it again")
    # Frameworks' own functions know no bfloat16 of NumPy's: gradverify puts it in.
    template = TEMPLATES.get(subject) if case.dtype != "bfloat16" and case.vjp is None else None
    ours, truth = Slice(), Slice()
    if template is not None:
        needs, body = template.package, [_values(case), _forward(case, template, ours), _asked(template.body)]
        ours.imports |= dict.fromkeys(template.imports)
    elif spec:
        needs, body = "gradverify", [_through_gradverify(spec, subject, case.dtype, case.function)]
    else:
        raise Unsupported(f"no template of a script for {subject}")
    definition = _definition(case.graph, case.dtype, truth)
    names = [f"claim_for_{_identifier(n)}" for n in case.claims]
    claimed = [_definition(claim, case.dtype, truth, name) for name, claim in zip(names, case.claims.values())]
    claims = ", ".join(f"{n!r}: ({name}, {tuple(case.claims[n].inputs)!r})" for n, name in zip(case.claims, names))
    truth.take(DEFINITIONS, "lift")
    if any("gradverify" in line for line in truth.imports) and needs != "gradverify":
        needs += ", gradverify (for the definition of an op)"
    imports = {"import numpy as np", *ours.imports, *truth.imports, "from mpmath import mp, mpf"}
    parts = [
        f'"""{_docstring(case.name)}: the gradient by {subject} in {case.dtype}, beside the true one.\n\n'
        f'Made by gradverify {version("gradverify")}. Needs {needs}, NumPy and mpmath.\n"""',
        "\n".join(sorted(imports - {"from mpmath import mp", "from mpmath import mpf"}, key=_import_order)),
        ours.text,
        *body,
        "# The truth: the definition in mpmath, and differences of it. No rule of differentiation is used.",
        truth.text,
        definition,
        TRUTH % {"subject": subject},
        *([LAWS] if law and template is not None else []),
        *([*claimed, CLAIMED % {"claims": claims}] if claims else []),
    ]
    return "\n\n\n".join(p.strip("\n") for p in parts if p) + "\n"


def _asked(body: str) -> str:
    """The framework's part as a function of the cotangent."""
    return (
        f"def asked(cotangent):\n{textwrap.indent(body.rstrip(), '    ')}\n    return got\n\n\ngot = asked(cotangent)"
    )


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from gradverify"), line.split()[1]


def _docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'")


def _values(case: Case) -> str:
    lines = ["values = {"]
    lines += [f"    {name!r}: {_array(v)}," for name, v in case.values.items()]
    lines += ["}", f"cotangent = [{', '.join(_array(g) for g in case.cotangent)}]", f"wrt = {list(case.wrt)!r}"]
    return "\n".join(lines)


def _array(x: np.ndarray) -> str:
    reshape = f".reshape({x.shape})" if x.size == 0 and x.shape != (0,) else ""
    entries = re.sub(r"\b(inf|nan)\b", r"np.\1", repr(x.tolist()))
    return f'np.array({entries}, dtype="{x.dtype.name}"){reshape}'


def _forward(case: Case, template: Template, into: Slice) -> str:
    """The framework's side: the ops as its adapter binds them, or the user's own function."""
    if case.function is not None:
        return _own_function(parsed(case.function), case.graph)
    if template.adapter is None:
        bind: Callable[[str], str] = "engine.ENGINE.{}".format
    else:
        adapter = Adapter(template.adapter, template.package)
        bind = lambda op: adapter.bind(op, into)
    dtypes = {"float": case.dtype, "int": "int64", "bool": "bool"}

    def constant(node: Constant) -> str:
        dtype = dtypes[node.kind]
        return template.constant.format(value=repr(node.value), shape=node.shape, dtype=dtype)

    return _function("forward", case.graph, bind, constant)


def _own_function(call: NamedCall, graph: Graph) -> str:
    """The user's own function, imported, as `forward`."""
    module, _, name = call.function.partition(":")
    names = [_identifier(n) for n in graph.inputs]
    arguments = ", ".join(names) if call.positional is None else call.arguments(_identifier)
    root = root_of(module, getattr(sys.modules.get(module), "__file__", None) or "")
    return "\n".join([
        *(["import sys", "", f"sys.path.insert(0, {root!r})"] if root else []),
        f"from {module} import {name.partition('.')[0]}", "", "",
        f"def forward({', '.join(names)}):",
        f"    out = {name}({arguments})",
        "    return list(out) if isinstance(out, (tuple, list)) else [out]",
    ])  # fmt: skip


def _definition(graph: Graph, dtype: str, into: Slice, name: str = "definition") -> str:
    """The definition, or another function, over mpmath numbers.

    What `definitions` lacks is taken from gradverify, and the script says so.
    """

    def bind(op: str) -> str:
        name = f"mp_{op}"
        if name in definitions(DEFINITIONS):
            into.take(DEFINITIONS, name)
            return name
        # No short definition: the script needs gradverify for this one.
        into.imports["from gradverify.oracle.mp import MPMATH"] = None
        into.imports["from gradverify.ops import OPS"] = None
        return f"(lambda *xs, **params: OPS[{op!r}].define(MPMATH, *xs, **params))"

    def constant(node: Constant) -> str:
        if node.kind != "float":
            return f"np.array({node.value!r}, dtype={'int64' if node.kind == 'int' else 'bool'!r})"
        return f"lift({node.value!r})"

    return _function(name, _primitive(_round_literals(graph, dtype)), bind, constant)


def _round_literals(graph: Graph, dtype: str) -> Graph:
    """The graph with its float literals as the subject sees them. Those of definitions come later, and stay exact."""

    def one(node: Node) -> Node:
        if not isinstance(node, Constant) or node.kind != "float":
            return node
        value = constant_array(node, dtype)
        return Constant(_tuples(value.tolist()), node.shape)

    return Graph(tuple(one(n) for n in graph.nodes), graph.outputs)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _primitive(graph: Graph) -> Graph:
    """The graph with every op that `definitions` lacks expanded to its definition, as far as it has one."""
    for _ in range(MAX_NESTING):
        builder = GraphBuilder()
        new: dict[int, int] = {}
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Input):
                new[k] = builder.input(node.name, node.shape, node.kind)
            elif isinstance(node, Constant):
                new[k] = builder.constant(node.value, node.kind)
            else:
                new[k] = _expand(builder, node, [new[a] for a in node.args])
        made = builder.graph(*(new[o] for o in graph.outputs)).pruned()
        if made == graph:
            break
        graph = made
    return graph


def _expand(builder: GraphBuilder, node: Apply, args: list[int]) -> int:
    if f"mp_{node.op}" not in definitions(DEFINITIONS) and not OPS[node.op].primitive:
        try:
            made: Ref = OPS[node.op].define(Recorder(builder), *(Ref(builder, a) for a in args), **dict(node.params))
            return made.index
        except (AttributeError, TypeError, ShapeError):  # its definition uses more than ops
            pass
    return builder.apply(node.op, *args, **dict(node.params))


def _function(name: str, graph: Graph, bind: Callable[[str], str], constant: Callable[[Constant], str]) -> str:
    """The graph as a Python function of its inputs that returns the list of its outputs."""
    names: dict[int, str] = {}
    lines: list[str] = []
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Input):
            names[k] = _identifier(node.name)
        elif k not in graph.active:
            continue
        elif isinstance(node, Apply):
            names[k] = f"t{k}_"
            args = [names[a] for a in node.args]
            for i, a in enumerate(node.args):
                literal = graph.nodes[a]
                # An integer literal may stand where a float is wanted.
                if isinstance(literal, Constant) and literal.kind == "int" and OPS[node.op].argument(i) == "float":
                    args[i] = constant(Constant(literal.value, literal.shape))
            given = [*args, *(f"{p}={v!r}" for p, v in node.params)]
            lines.append(f"    {names[k]} = {bind(node.op)}({', '.join(given)})")
        elif isinstance(node, Constant):
            names[k] = constant(node)
    inputs = ", ".join(names[k] for k in graph.inputs.values())
    lines.append(f"    return [{', '.join(names[o] for o in graph.outputs)}]")
    return "\n".join([f"def {name}({inputs}):", *lines])


def _identifier(name: str) -> str:
    clash = name in RESERVED or name in {t.package for t in TEMPLATES.values()} | {"F", "jnp", "special", "math"}
    return f"{name}_" if clash or not name.isidentifier() else name


def _through_gradverify(spec: str, subject: str, dtype: str, called: str | None) -> str:
    imports, function = "", "subject.function(case.graph, case.dtype)"
    if called is not None:
        module = called.partition(":")[0]
        root = root_of(module, getattr(sys.modules.get(module), "__file__", None) or "")
        imports = "from gradverify.judge.named import resolve_function\n"
        imports += f"import sys\n\nsys.path.insert(0, {root!r})\n" if root else ""
        function = "resolve_function(case, subject)"
    return f'''\
from gradverify.spec import loads
from gradverify.frameworks import find
{imports}
SPEC = """\\
{spec.replace(chr(92), chr(92) * 2).replace('"""', chr(92) + '"""').rstrip()}
"""

# A subject that a conftest.py registers must be registered here too.
case = loads(SPEC).cases[0].case({dtype!r})
values, cotangent, wrt = case.values, case.cotangent, case.wrt
subject = find({subject!r})
observed = subject.run_vjp({function}, values, wrt, cotangent)
if observed.raised is not None:
    raise observed.raised
got = observed.gradients
'''
