import torch

x = torch.arange(12).reshape(3, 4)
print(x, x.shape, x.dtype, x[1], x[:, 1], x[-1, ::2])
y = torch.zeros_like(x, dtype=torch.float32)
y[1] = 5
print(y.sum(), y.mean(dim=1), torch.cat([x, x], dim=1).shape, x.T.shape)
print((x % 2 == 0).sum().item(), x.float().std().item() > 3)
z = x.view(-1).unsqueeze(0).expand(2, 12)
print(z.shape, z.stride(), z.contiguous().stride())
print(torch.stack([x[0], x[1]]).max(dim=1), torch.where(x > 5, x, -x))
