import torch
from torch import nn, optim

backbone = nn.Sequential(
    nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
)
for param in backbone.parameters():
    param.requires_grad = False
model = nn.Sequential(backbone, nn.Linear(4, 2))
optimizer = optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=1e-2, momentum=0.9)
before = [p.clone() for p in model.parameters()]
loss = nn.CrossEntropyLoss()(model(torch.rand(6, 3, 8, 8)), torch.tensor([0, 1, 0, 1, 0, 1]))
loss.backward()
optimizer.step()
print([torch.equal(a, b) for a, b in zip(before, model.parameters())], [p.grad is None for p in model.parameters()])
