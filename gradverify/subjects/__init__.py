"""One small file per framework: run a case, observe. `find(name)` gives the adapter; nothing is imported before."""

from .base import Observation, Subject
from .registry import find, names, register

__all__ = ["Observation", "Subject", "find", "names", "register"]
