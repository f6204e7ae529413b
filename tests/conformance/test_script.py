"""Scripts: what is printed is what ran, with as few lines and parentheses as its order allows."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from gradverify.conformance.engines import find
from gradverify.conformance.script import fill
from gradverify.conformance.session import Broken, Session


def script(program: Callable[[Session], object]) -> list[str]:
    t = Session(find("engine"))
    program(t)
    return t.script()[1:]


@pytest.mark.parametrize(
    ("text", "parts", "filled"),
    [
        ("{0} * {1}", ["a + b", "c"], "(a + b) * c"),
        ("{0} + {1}", ["a * b", "c * d"], "a * b + c * d"),
        ("{0} * {1}", ["a * b", "c * d"], "a * b * (c * d)"),
        ("{0} - {1}", ["a - b", "c - d"], "a - b - (c - d)"),
        ("{0}.sum()", ["a * b"], "(a * b).sum()"),
        ("{0}.sum()", ["f(a * b)"], "f(a * b).sum()"),
        ("{0}[0]", ["x.t()"], "x.t()[0]"),
        ("-{0}", ["a + b"], "-(a + b)"),
        ("{0} ** 2", ["-x"], "(-x) ** 2"),
        ("f({0}, {1})", ["a + b", "-c"], "f(a + b, -c)"),
        ("{0}.grad = {1}", ["x", "a + b"], "x.grad = a + b"),
        ("assert {0} == {1}", ["a + b", "c"], "assert a + b == c"),
        ("assert {0} is True", ["x.requires_grad"], "assert x.requires_grad is True"),
    ],
)
def test_parentheses_only_where_needed(text: str, parts: list[str], filled: str) -> None:
    assert fill(text, parts) == filled
    ast.parse(filled)


def test_single_uses_fold() -> None:
    assert script(lambda t: (t.tensor(3.0, requires_grad=True) * 2.0).backward()) == [
        "(torch.tensor(3.0, requires_grad=True) * 2.0).backward()"
    ]


def test_what_is_used_twice_has_a_name() -> None:
    def program(t: Session) -> None:
        x = t.tensor(3.0, requires_grad=True)
        (x * x).backward()

    assert script(program) == ["x = torch.tensor(3.0, requires_grad=True)", "(x * x).backward()"]


def test_folding_keeps_the_order() -> None:
    """The product is computed before the edit, so it may not move behind it."""

    def program(t: Session) -> None:
        x = t.tensor([3.0])
        y = x * 2.0
        x.zero_()
        y.sum()

    assert script(program) == ["x = torch.tensor([3.0])", "y = x * 2.0", "x.zero_()", "y.sum()"]


def test_blocks_are_indented() -> None:
    def program(t: Session) -> None:
        x = t.tensor([3.0])
        with t.no_grad():
            x.zero_()
        with t.no_grad():
            pass
        x.sum()

    assert script(program) == [
        "x = torch.tensor([3.0])", "with torch.no_grad():", "    x.zero_()", "with torch.no_grad():", "    pass", "x.sum()",
    ]  # fmt: skip


def test_a_failing_script_fails_when_it_is_run() -> None:
    def program(t: Session) -> None:
        x = t.tensor(3.0, requires_grad=True)
        (x * x).backward()
        t.equal(x.grad, 7.0)

    with pytest.raises(Broken) as caught:
        program(Session(find("engine")))
    lines = caught.value.script
    assert lines[-1] == "assert x.grad.tolist() == 7.0  # got 6.0"
    with pytest.raises(AssertionError):
        exec("\n".join(lines), {})


def test_an_error_that_does_not_come_is_told() -> None:
    t = Session(find("engine"))
    x = t.tensor(3.0, requires_grad=True)
    y = x + x
    with pytest.raises(Broken, match="expected RuntimeError, got no error") as caught:
        t.raises(y.backward)
    with pytest.raises(AssertionError, match="RuntimeError expected"):
        exec("\n".join(caught.value.script), {})


def test_another_error_is_told() -> None:
    t = Session(find("engine"))
    x = t.tensor([3.0])
    with pytest.raises(Broken, match="expected RuntimeError, got IndexError"):
        t.raises(lambda: x[5])


def test_functional_engines_print_functions() -> None:
    autograd = pytest.importorskip("autograd")
    assert autograd is not None
    t = Session(find("autograd"))
    t.gradient(lambda x, y: (x * y).sum(), [1.0, 2.0], [3.0, 4.0])
    assert "f = lambda x, y: np.sum(x * y)" in t.script()
