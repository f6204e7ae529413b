import torch
from torch import nn

w = torch.empty(400, 300)
for name, options in [
    ("xavier_uniform_", {}),
    ("xavier_normal_", {}),
    ("kaiming_normal_", {"nonlinearity": "relu"}),
    ("kaiming_uniform_", {"mode": "fan_out"}),
    ("trunc_normal_", {"std": 0.5}),
    ("uniform_", {"a": -2, "b": 2}),
    ("normal_", {"std": 3}),
]:
    getattr(nn.init, name)(w, **options)
    print(name, round(w.std().item(), 1), abs(w.mean().item()) < 0.1)
nn.init.orthogonal_(w)
print(torch.allclose(w.T @ w, torch.eye(300), atol=1e-4))
print(nn.init.eye_(torch.empty(2, 3)), nn.init.constant_(torch.empty(2), 0.3), nn.init.calculate_gain("relu"))
