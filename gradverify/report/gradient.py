"""Value and gradient of a case by the oracle, as text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..core.case import Case
from ..judge.complex_case import real_case
from ..ops.complex.lowering import is_complex
from ..oracle.truth import truth


def gradient_lines(case: Case, seed: int) -> Iterator[str]:
    """Each entry of the value and of the gradients, to 20 digits, with its bound."""
    if is_complex(case.graph):
        case = real_case(case)
    true = truth(case.graph, case.values, case.cotangent, case.wrt, case.dtype, seed=seed)
    labelled = [(f"out{i}" if len(true.outputs) > 1 else "value", e) for i, e in enumerate(true.outputs)]
    labelled += [(f"d{name}", e) for name, e in true.gradients.items()]
    for label, estimate in labelled:
        for index in np.ndindex(estimate.shape):
            where = f"{label}[{', '.join(map(str, index))}]" if index else label
            yield f"{where} = {estimate.digits(index)}  ± {float(estimate.bound[index]):.1g}"
    if true.kinks:
        yield f"at a kink of {', '.join(true.kinks)}"
