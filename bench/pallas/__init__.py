"""Pallas kernels, right and mutated, and what gradverify.check says of them."""
