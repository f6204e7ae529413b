"""Inputs by the thousand, made like real ones and then broken: documented errors, no tracebacks, no hangs."""
