"""A framework whose calls of a function run programs that are compiled once for each shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .base import Framework, Observation, Programs, Pushed
from .wrapped import Wrapped


class Reused(Wrapped):
    """`inner`, within `Framework.reusing`. Traces are its own: they show what the function does at each point."""

    def __init__(self, inner: Framework, programs: Programs) -> None:
        super().__init__(inner)
        self.programs = programs

    def run_vjp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        with self.inner.reusing(self.programs):
            return self.inner.run_vjp(function, values, wrt, cotangent)

    def run_vjp_by(
        self,
        mode: str,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        wrt: tuple[str, ...],
        cotangent: tuple[np.ndarray, ...],
    ) -> Observation:
        with self.inner.reusing(self.programs):
            return self.inner.run_vjp_by(mode, function, values, wrt, cotangent)

    def run_jvp(
        self,
        function: Callable[..., Any],
        values: Mapping[str, np.ndarray],
        tangents: Mapping[str, np.ndarray],
        batched: bool,
    ) -> Pushed:
        with self.inner.reusing(self.programs):
            return self.inner.run_jvp(function, values, tangents, batched)
