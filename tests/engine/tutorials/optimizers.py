import torch


def rosenbrock(p):
    x, y = p
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


for name, options in [
    ("SGD", dict(lr=1e-4, momentum=0.9, nesterov=True)),
    ("Adam", dict(lr=0.02)),
    ("AdamW", dict(lr=0.02)),
    ("RMSprop", dict(lr=1e-2)),
    ("Adagrad", dict(lr=0.2)),
    ("Adamax", dict(lr=0.02)),
    ("NAdam", dict(lr=0.02)),
    ("RAdam", dict(lr=0.02)),
    ("Adadelta", dict(lr=1.0)),
    ("Rprop", dict(lr=0.01)),
]:
    p = torch.tensor([-0.5, 0.8], requires_grad=True)
    optimizer = getattr(torch.optim, name)([p], **options)
    for _ in range(100):
        optimizer.zero_grad()
        rosenbrock(p).backward()
        optimizer.step()
    print(name, [round(v, 3) for v in p.tolist()])
