"""Triton kernels under their interpreter, recorded beneath a trace of PyTorch."""
