"""Where in the user's program a framework was called: for messages."""

from __future__ import annotations

import dis
import os
import re
import sys
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from ..core.graph import Node, Site

OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def frames(*roots: str) -> Iterator[FrameType]:
    """Return the frames under way, innermost first, up to the first of the user's code.

    That is the first that lies neither in gradverify nor in a framework's folder, of `roots`."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        if not frame.f_code.co_filename.startswith((OURS, *roots)):
            return
        frame = frame.f_back  # type: ignore[assignment]


def place(frame: FrameType) -> str:
    """`model.py:12`: the file as seen from the working directory, where it is below that."""
    return at(frame.f_code.co_filename, frame.f_lineno)


INSTALLED = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")


def at(path: str, line: int) -> str:
    """`model.py:12` below the working directory, `torch/nn/functional.py:2423` of an installed package elsewhere."""
    try:
        folder = os.getcwd()
    except OSError:  # somebody removed it
        folder = ""
    near = path.removeprefix(os.path.join(folder, ""))
    return f"{INSTALLED.sub('', near) if near == path else near}:{line}"


def site_in_run(run: CodeType, *roots: str) -> Site | None:
    """The innermost line of the user's code under way inside of the call of `run`; None where there is none.

    What a framework's own backward pass does was asked for by no line.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code is not run:
        if not frame.f_code.co_filename.startswith((OURS, "<frozen", *roots)):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return None


def of_node(node: Node) -> str:
    """ " at model.py:12", after a node's name; "" where its line is not known."""
    site = getattr(node, "site", None)
    return f" at {at(*site)}" if site else ""


def is_thrown_away(frame: FrameType) -> bool:
    """Is the result of the call that a frame is in thrown away, as in a statement of its own?"""
    following = (i for i in dis.get_instructions(frame.f_code) if i.offset > frame.f_lasti and i.opname != "CACHE")
    return next((i.opname == "POP_TOP" for i in following), False)


def folder_of(module: Any) -> str:
    """The folder of the package that a module is part of."""
    whole = sys.modules[module.__name__.partition(".")[0]]
    return os.path.dirname(str(whole.__file__)) + os.sep


def called_from(*roots: str) -> str:
    """Where the innermost frame outside gradverify and the frameworks stands."""
    *_, last = frames(*roots)
    return place(last)
