"""Triton kernels under their interpreter, each right and with every one of its mutants."""
