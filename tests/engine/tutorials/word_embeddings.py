import torch
from torch import nn

trigrams = [((0, 1), 2), ((1, 2), 3), ((2, 3), 0)]


class NGram(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(4, 5, padding_idx=3)
        self.linear1, self.linear2 = nn.Linear(10, 16), nn.Linear(16, 4)

    def forward(self, x):
        e = self.embeddings(x).view((1, -1))
        return nn.functional.log_softmax(self.linear2(nn.functional.relu(self.linear1(e))), dim=1)


model = NGram()
print(model.embeddings.weight[3])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
totals = []
for _ in range(80):
    total = 0
    for context, target in trigrams:
        model.zero_grad()
        loss = nn.NLLLoss()(model(torch.tensor(context)), torch.tensor([target]))
        loss.backward()
        optimizer.step()
        total += loss.item()
    totals.append(total)
print(totals[-1] < totals[0], model.embeddings.weight[3], model.embeddings.weight.grad[0].shape)
bag = nn.EmbeddingBag(4, 3, mode="sum")
nn.init.ones_(bag.weight)
print(bag(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1])))
