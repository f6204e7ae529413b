"""The frameworks whose gradients are judged: one package each. Nothing is imported before it is asked for."""

from .base import Observation, Subject
from .registry import find, names, register

__all__ = ["Observation", "Subject", "find", "names", "register"]
