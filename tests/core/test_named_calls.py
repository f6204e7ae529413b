"""Functions by name, and calls of them."""

from __future__ import annotations

import math
import os.path

import pytest

from gradverify.core.imports import Name, importable, imported, parsed, root_of


def test_a_name_alone_is_given_all_inputs() -> None:
    call = parsed("math:hypot")
    assert call.over(imported(call.function), ("a", "b"))(3.0, 4.0) == 5.0
    assert (str(call), call.inputs) == ("math:hypot", ())


def test_a_call_names_inputs_and_literals() -> None:
    call = parsed("math:isclose(y, x, rel_tol=0.5)")
    assert call.positional == (Name("y"), Name("x"))
    assert call.inputs == ("y", "x")
    assert call.over(math.isclose, ("x", "y"))(1.0, 1.4)
    assert call.renamed({"x": "u", "y": "v"}.__getitem__) == "math:isclose(v, u, rel_tol=0.5)"


@pytest.mark.parametrize(
    "text",
    ["m:f(x + 1)", "m:f(g(x))", "m:f(*x)", "m:f(**x)", "m:f(x", "m:f(x))", "m:f(x)(y)", "m:f(lambda: 0)", "m:f([x])"],
)
def test_what_is_neither_name_nor_literal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"call|argument"):
        parsed(text)


def test_nothing_is_evaluated() -> None:
    with pytest.raises(ValueError, match="argument"):
        parsed("os:getcwd(__import__('os').abort())")


def test_only_what_the_name_leads_back_to_is_importable() -> None:
    assert importable("math:hypot", math.hypot)
    assert not importable("math:hypot", math.atan2)
    assert not importable("math:nope", math.hypot)
    assert not importable("no_such_module:hypot", math.hypot)
    assert not importable("tests:f.<locals>.g", math.hypot)
    assert not importable("__main__:hypot", math.hypot)


def test_the_folder_on_the_path() -> None:
    assert root_of("tests.core.test_named_calls", os.path.abspath(__file__)).endswith(os.sep) is False
    assert os.path.isdir(os.path.join(root_of("tests.core.test_named_calls", os.path.abspath(__file__)), "tests"))
    assert root_of("numpy.linalg", "/x/site-packages/numpy/linalg/__init__.py") == ""
    assert root_of("builtins", "") == ""
