"""Where a result was detached that is returned beside one that is not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from gradverify.frameworks.torch.tracer import trace  # noqa: E402


def test_a_returned_result_that_was_detached_names_its_line() -> None:
    def f(x):  # type: ignore[no-untyped-def]
        y = x * 2
        return y, y.exp().detach()

    (site,) = trace(f, (torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True),)).detach_sites
    assert site.endswith(f"test_torch_detached_results.py:{f.__code__.co_firstlineno + 2} (detach)")


def test_under_no_grad_too() -> None:
    def f(x):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            y = x.exp()
        return x * 2, y

    (site,) = trace(f, (torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True),)).detach_sites
    assert site.endswith("(exp, under no_grad)")
