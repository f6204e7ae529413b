import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, k):
        return torch.tensor(float(k)), k * k


loader = DataLoader(Squares(10), batch_size=4)
for x, y in loader:
    print(x, y)
print(len(loader), len(DataLoader(Squares(10), batch_size=4, drop_last=True)))
data = TensorDataset(torch.arange(6.0).reshape(6, 1), torch.arange(6))
shuffled = [int(y) for _, batch in DataLoader(data, batch_size=2, shuffle=True) for y in batch]
print(sorted(shuffled))
train, test = random_split(data, [4, 2])
print(len(train), len(test), len(Subset(data, [0, 2])))
