"""HIPS autograd."""
