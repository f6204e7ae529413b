import math
import torch
import torch.nn.functional as F

q = torch.arange(24.0).reshape(1, 2, 3, 4) / 10
k, v = q.flip(2), q * 2
q.requires_grad_()
scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
mask = torch.tril(torch.ones(3, 3)).bool()
scores = scores.masked_fill(~mask, float("-inf"))
out = F.softmax(scores, dim=-1) @ v
print(out[0, 0])
print(torch.allclose(out, F.scaled_dot_product_attention(q, k, v, is_causal=True), atol=1e-6))
print(torch.allclose(out, F.scaled_dot_product_attention(q, k, v, attn_mask=mask), atol=1e-6))
out.sum().backward()
print(q.grad.abs().sum() < 1e-3, torch.einsum("bhqd,bhkd->bhqk", q, k).shape)
