"""Kernels in bfloat16 and float16 after public ones, each right, with precision bugs and with formula bugs."""
