"""The published schema, the reader, the shipped specs and the docs say the same."""

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from gradverify.core.graph import Apply
from gradverify.namespaces.dtypes import PRECISION
from gradverify.ops import FAMILIES, OPS
from gradverify.ops.complex.lowering import COMPLEX
from gradverify.spec import SpecError, load, loads, schema
from gradverify.spec.keys import TABLES, table
from gradverify.spec.values import DOMAINS

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.grad.yaml"))
DOCS = ROOT / "docs" / "spec.md"
VALIDATOR = jsonschema.Draft202012Validator(schema.schema())


def plain(text: str):
    return YAML(typ="safe", pure=True).load(text)


def test_the_published_file_is_made_from_the_table_of_keys():
    assert schema.PATH.read_text(encoding="utf-8") == schema.text(), "run python -m gradverify.spec.schema"
    jsonschema.Draft202012Validator.check_schema(json.loads(schema.text()))


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.name)
def test_shipped_specs_validate(path):
    text = path.read_text(encoding="utf-8")
    VALIDATOR.validate(plain(text))
    assert text.startswith("# yaml-language-server: $schema=../gradverify/spec/schema.json\n")
    document = load(path)
    for spec in document.cases:
        assert [spec.case(d).dtype for d in spec.dtypes] == [PRECISION.get(d, d) for d in spec.dtypes]


def test_every_key_has_a_description_in_the_schema():
    for name, keys in TABLES.items():
        made = VALIDATOR.schema if name == "document" else VALIDATOR.schema["$defs"][name]
        made = made["oneOf"][1] if name == "input" else made
        assert {k: v["description"] for k, v in made["properties"].items()} == {k: v.doc for k, v in keys.items()}


C = "gradverify: 1\ncases:\n- name: n\n  expr: x\n  inputs: {x: {shape: [2]}}\n"
BOTH_REFUSE = [
    "gradverify: 2\ncases: []\n",
    "cases: []\n",
    "gradverify: 1\n",
    "gradverify: 1\ncases: {}\n",
    "gradverify: 1\ncases: []\nfoo: 1\n",
    "gradverify: 1\ncases: [1]\n",
    "gradverify: 1\ncases: [{name: n, expr: x}]\n",
    C + "  foo: 1\n",
    C + "  expect: maybe\n",
    C + "  dtypes: [float33]\n",
    C + "  dtypes: []\n",
    C + "  dtypes: float32\n",
    C + "  subjects: [1]\n",
    C + "  wrt: []\n",
    C + "  seed: -1\n",
    C + "  seed: 1.5\n",
    C + "  call: os.system\n",
    C + "  grad: [1]\n",
    C + "  let: x\n",
    C + "  inconclusive: {}\n",
    C + "  cotangent: {a: 1}\n",
    C.replace("expr: x", "expr: []"),
    C.replace("expr: x", "expr: {}"),
    C.replace("name: n", "name: ' n'"),
    C.replace("{shape: [2]}", "{}"),
    C.replace("{shape: [2]}", "{shape: 2}"),
    C.replace("{shape: [2]}", "{shape: [-2]}"),
    C.replace("{shape: [2]}", "{shape: [2], domain: nowhere}"),
    C.replace("{shape: [2]}", "{shape: [2], domain: [1]}"),
    C.replace("{shape: [2]}", "{values: [2], domain: [1, 2]}"),
    C.replace("{shape: [2]}", "{shape: [2], dtype: int32}"),
    C.replace("{shape: [2]}", "{shape: [2], foo: 1}"),
    C.replace("{shape: [2]}", "abc"),
    C.replace("{shape: [2]}", "[1, abc]"),
]
BOTH_ACCEPT = [
    "gradverify: 1\ncases: []\n",
    C,
    C + "  expect: raises\n  seed: 3\n  tags: [slow]\n  invariants: []\n  note: hello\n  wrt: [x]\n",
    C + "  cotangent: [1, .inf]\n",
    C + "  cotangent: 1\n",
    C + "  inconclusive: {jax: no such op}\n",
    C + "  call: a.b:c\n  subjects: [torch]\n",
    C + "  let: {h: 1}\n  grad: {x: 1}\n",
    C.replace("expr: x", "expr: [x, 2]"),
    C.replace("{shape: [2]}", "2"),
    C.replace("{shape: [2]}", "[[1, 2.5], [.nan, -1]]"),
    C.replace("{shape: [2]}", "{values: 2, shape: [2]}"),
    *(C.replace("{shape: [2]}", f"{{shape: [2, 2], domain: {name}}}") for name in DOMAINS),
]


@pytest.mark.parametrize("text", BOTH_REFUSE)
def test_schema_and_reader_refuse_the_same(text):
    assert not VALIDATOR.is_valid(plain(text))
    with pytest.raises(SpecError):
        loads(text)


@pytest.mark.parametrize("text", BOTH_ACCEPT)
def test_schema_and_reader_accept_the_same(text):
    VALIDATOR.validate(plain(text))
    loads(text)


def test_the_docs_hold_the_tables_of_keys_and_of_domains():
    docs = DOCS.read_text(encoding="utf-8")
    for name in TABLES:
        assert table(name) in docs, f"docs/spec.md lacks the table of {name}:\n{table(name)}"
    for name, domain in DOMAINS.items():
        assert f"| `{name}` | {domain.doc} |" in docs


def test_the_examples_of_the_docs_are_spec_files():
    blocks = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1:]
    assert blocks
    for block in blocks:
        text = block.split("```")[0]
        loads(text, "docs/spec.md")
        VALIDATOR.validate(plain(text))


def test_shipped_specs_cover_the_op_table():
    used = {n.op for path in SPECS for spec in load(path).cases for n in spec.graph.nodes if isinstance(n, Apply)}
    differentiable = {s.name for family in FAMILIES.values() for s in family if s.result == "float"}
    assert len(SPECS) >= 10
    assert sum(len(load(path).cases) for path in SPECS) >= 150
    assert sorted(differentiable - used) == []
    assert used <= {*OPS, *COMPLEX}
    assert set(COMPLEX) <= used
