"""A benchmark of tools: which catch wrong gradients, and which reject right ones."""
