import torch
import torch.nn as nn
import torch.nn.functional as F

training = [
    ("the dog ate the apple".split(), ["DET", "NN", "V", "DET", "NN"]),
    ("everybody read that book".split(), ["NN", "V", "DET", "NN"]),
]
words = {w: k for k, w in enumerate(dict.fromkeys(w for s, _ in training for w in s))}
tags = {"DET": 0, "NN": 1, "V": 2}


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(len(words), 6)
        self.lstm = nn.LSTM(6, 6)
        self.hidden2tag = nn.Linear(6, 3)

    def forward(self, sentence):
        out, _ = self.lstm(self.embeddings(sentence).view(len(sentence), 1, -1))
        return F.log_softmax(self.hidden2tag(out.view(len(sentence), -1)), dim=1)


model, loss_function = Tagger(), nn.NLLLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(200):
    for sentence, target in training:
        model.zero_grad()
        scores = model(torch.tensor([words[w] for w in sentence], dtype=torch.long))
        loss = loss_function(scores, torch.tensor([tags[t] for t in target]))
        loss.backward()
        optimizer.step()
print(loss.item() < 0.3, scores.shape)
