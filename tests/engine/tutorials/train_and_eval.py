import torch
from torch import nn

model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))
x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
model.train()
print(model[0](x), model[0].running_mean, model[0].num_batches_tracked)
kept = (model(torch.ones(1000, 2) * torch.arange(1000.0).unsqueeze(1)) != 0).float().mean().item()
print(0.4 < kept < 0.6, model.training, model[1].training)
model.eval()
print(model(x).requires_grad, [m.training for m in model.modules()])
with torch.no_grad():
    print(model(x).shape, model(x).requires_grad)
