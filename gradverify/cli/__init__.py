"""The command line; a command is imported when it is called. See `Exit` for the exit codes."""

from .group import Exit as Exit
from .group import main as main
