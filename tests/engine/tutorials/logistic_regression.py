import torch
import torch.nn.functional as F

X = torch.tensor([[0.5, 1.0], [1.5, 2.0], [-1.0, -0.5], [-2.0, -1.0]])
y = torch.tensor([1.0, 1.0, 0.0, 0.0])
w, b = torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)
optimizer = torch.optim.SGD([w, b], lr=0.5, momentum=0.9, weight_decay=1e-3)
for step in range(50):
    p = torch.sigmoid(X @ w + b)
    loss = F.binary_cross_entropy(p, y)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
print(round(loss.item(), 4), (p > 0.5).long().tolist(), [round(v, 3) for v in w.tolist()])
