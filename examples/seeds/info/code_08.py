"""The exponent is a tensor too, and gets its own gradient."""

import gradverify.engine as torch


def get_tensor_info(tensor):
    info = []
    for name in ["requires_grad", "is_leaf", "retains_grad", "grad_fn", "grad"]:
        info.append(f"{name}({getattr(tensor, name)})")
    info.append(f"tensor({tensor!s})")
    return " ".join(info)


q = torch.tensor(3.0, requires_grad=True)
x = torch.tensor(5.0, requires_grad=True)
y = x**q
z = torch.log(y)

print("q", get_tensor_info(q))
print("x", get_tensor_info(x))
print("y", get_tensor_info(y))
print("z", get_tensor_info(z))

z.backward()

print("q_after_backward", get_tensor_info(q))
print("x_after_backward", get_tensor_info(x))
print("y_after_backward", get_tensor_info(y))
print("z_after_backward", get_tensor_info(z))
