import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, ReduceLROnPlateau, SequentialLR, StepLR


def rates(make, steps=8, metric=False):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = make(optimizer)
    out = []
    for k in range(steps):
        optimizer.step()
        scheduler.step(1.0) if metric else scheduler.step()
        out.append(round(optimizer.param_groups[0]["lr"], 5))
    return out


print(rates(lambda o: StepLR(o, 3, 0.5)))
print(rates(lambda o: CosineAnnealingLR(o, 8)))
print(rates(lambda o: OneCycleLR(o, 0.2, total_steps=9)))
print(rates(lambda o: SequentialLR(o, [LinearLR(o, 0.1, total_iters=3), CosineAnnealingLR(o, 5)], [3])))
print(rates(lambda o: ReduceLROnPlateau(o, patience=1), metric=True))
