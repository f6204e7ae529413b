"""Judging a Python function: trace it, then probe around the given point."""
