"""What has no definition is judged in its own dtype: a right bfloat16 function does not fail because float32 is finer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradverify import Outcome
from tests.helpers import custom, judge

torch = pytest.importorskip("torch")


def out_of_sight(x: Any) -> Any:
    return torch.from_numpy(np.sin(x.detach().float().numpy())).to(x.dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_differences_in_the_own_dtype(dtype: str, factor: float) -> None:
    x = torch.tensor([0.5, 1.5, -0.75], dtype=getattr(torch, dtype), requires_grad=True)
    verdict = judge(custom(out_of_sight, lambda g, x: factor * g * torch.cos(x)), x)
    assert "float32" not in verdict.message or dtype == "float32"
    assert verdict.outcome is not (Outcome.FAIL if factor == 1 else Outcome.PASS), verdict.text()
