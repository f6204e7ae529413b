import numpy as np
import torch

a = np.ones(3)
t = torch.from_numpy(a)
a[0] = 7
print(t, t.numpy() is a or np.shares_memory(t.numpy(), a))
t.add_(1)
print(a)
print(torch.tensor(a).dtype, torch.as_tensor(a).add_(1)[0].item(), a[0])
x = torch.ones(2, requires_grad=True)
try:
    x.numpy()
except RuntimeError as error:
    print(error)
print(x.detach().numpy())
