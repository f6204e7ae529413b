"""PyTorch's functions, by family: its names and signatures over the op table.

The one idea: a function here only translates a call (`dim` to `axis`, `unsqueeze` to `expand_dims`); what is computed and
how it is differentiated stands in the op table. Ops that take arguments as the table does (exp, maximum, ...) need no
function at all: `aliases` makes theirs from a list, and `methods` gives them all to Tensor.
"""
