"""The kernels, a module per family."""
