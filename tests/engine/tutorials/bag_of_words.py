import torch
import torch.nn as nn

data = [
    ("me gusta comer en la cafeteria".split(), 0),
    ("give it to me".split(), 1),
    ("no creo que sea una buena idea".split(), 0),
    ("no it is not a good idea".split(), 1),
]
vocabulary = {w: k for k, w in enumerate(dict.fromkeys(w for s, _ in data for w in s))}


class BoW(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(len(vocabulary), 2)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        return nn.functional.log_softmax(self.linear(x), dim=1)


def vector(sentence):
    out = torch.zeros(len(vocabulary))
    for w in sentence:
        out[vocabulary[w]] += 1
    return out.view(1, -1)


model = BoW()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(30):
    for sentence, label in data:
        model.zero_grad()
        loss = nn.NLLLoss()(model(vector(sentence)), torch.LongTensor([label]))
        loss.backward()
        optimizer.step()
print(round(loss.item(), 4), next(model.parameters())[:, vocabulary["idea"]])
