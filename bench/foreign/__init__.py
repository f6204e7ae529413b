"""Public bug reports about wrong gradients, each as the smallest function that has the bug, and its mended twin."""
