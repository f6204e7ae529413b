"""ResNet-18: one step on random labels, then a new classifier head on a frozen body, fine-tuned on images made on the spot.

    python resnet18.py [WEIGHTS]

WEIGHTS is a file in torchvision's format (.safetensors or .pth); without one the network starts from random weights.
"""

import sys

import gradverify.engine as torch
from gradverify.engine import nn, optim
from gradverify.engine.models import resnet18
from gradverify.engine.utils.data import DataLoader, TensorDataset

weights = sys.argv[1] if len(sys.argv) > 1 else None
torch.manual_seed(0)

# Forward, backward and one step of the whole network.
model = resnet18(weights=weights)
data = torch.rand(2, 3, 64, 64)
labels = torch.rand(2, 1000)
prediction = model(data)
loss = (prediction - labels).sum()
print(f"Current Loss: {loss}")
loss.backward()
optimizer = optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
optimizer.step()

# A frozen body, and a head for three classes: images that are red, green or blue.
model = resnet18(weights=weights)
for param in model.parameters():
    param.requires_grad = False
model.fc = nn.Linear(512, 3)
print([name for name, p in model.named_parameters() if p.requires_grad])

classes = torch.arange(24) % 3
images = 0.2 * torch.rand(24, 3, 32, 32)
for k in range(24):
    images[k, int(classes[k])] += 0.8
loader = DataLoader(TensorDataset(images, classes), batch_size=8, shuffle=True)
optimizer = optim.SGD(model.fc.parameters(), lr=1e-2, momentum=0.9)
criterion = nn.CrossEntropyLoss()

for epoch in range(3):
    total = 0.0
    for batch, target in loader:
        optimizer.zero_grad()
        loss = criterion(model(batch), target)
        loss.backward()
        optimizer.step()
        total += loss.item() / len(loader)
    print(f"epoch {epoch}: loss {total:.4f}")
