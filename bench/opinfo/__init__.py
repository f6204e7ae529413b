"""PyTorch's own samples of its operators (OpInfo) through gradverify.check."""
