"""Hypothesis strategies for random graphs and cases, for property tests of anything that differentiates.

>>> from hypothesis import given
>>> from gradverify import strategies
>>> @given(strategies.cases(dtypes=("float32", "float64")))
... def test_my_framework(case): ...
"""

from .generate.campaign import seeded_cases
from .generate.strategies import cases, graphs

__all__ = ["cases", "graphs", "seeded_cases"]
