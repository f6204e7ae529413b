"""A tensor that does not require grad: nothing is recorded."""

import gradverify.engine as torch


def get_tensor_info(tensor):
    info = []
    for name in ["requires_grad", "is_leaf", "retains_grad", "grad_fn", "grad"]:
        info.append(f"{name}({getattr(tensor, name)})")
    info.append(f"tensor({tensor!s})")
    return " ".join(info)


x = torch.tensor(5.0)
y = x**3
z = torch.log(y)

print("x", get_tensor_info(x))
print("y", get_tensor_info(y))
print("z", get_tensor_info(z))
