"""`torch.optim`: optimisers with PyTorch's update rules, written into the parameters' own memory.

The one idea: an optimiser is a rule for one parameter, `update`; all the rest (groups, state, state dicts) is bookkeeping.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..dispatch import quiet
from ..modes import enable_grad
from ..tensor import Tensor, wrap
from . import lr_scheduler, swa_utils

__all__ = [
    "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop",
    "lr_scheduler", "swa_utils",
]  # fmt: skip

Group = dict[str, Any]


class Optimizer:
    """Base: parameter groups with their own options, and a state per parameter."""

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        for name, value in defaults.items():
            _check(name, value)
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + params.type()
            )
        self._opt_called = False  # has `step` been called? Schedules ask
        self.defaults, self.state = defaults, defaultdict[Tensor, dict[str, Any]](dict)
        self.param_groups: list[Group] = []
        given = list(params)
        if not given:
            raise ValueError("optimizer got an empty parameter list")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        group = dict(param_group)
        params = group["params"]
        group["params"] = [params] if isinstance(params, Tensor) else [
            p[1] if isinstance(p, tuple) else p for p in params  # named_parameters() will do as well
        ]  # fmt: skip
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf and not p.retains_grad:
                raise ValueError("can't optimize a non-leaf Tensor")
            if id(p) in known:
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(self.defaults | group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p._grad is not None:
                    if set_to_none:
                        p._grad = None
                    else:
                        p._grad = p._grad.detach()
                        p._grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient. `closure` computes the loss again, where given."""
        loss, self._opt_called = None, True
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p._grad is None:
                    continue
                g = p._grad._data
                if group.get("maximize"):
                    g = -g
                quiet.run(self.update, p._array(), g, self.state[p], group)
                p._cell()[0] += 1
        return loss

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        """Change the array `p` in place, given its gradient. Must not change `g`."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Parameters are numbered in the order of the groups, as PyTorch does."""
        order = {id(p): k for k, p in enumerate(p for g in self.param_groups for p in g["params"])}
        groups = [{k: v for k, v in g.items() if k != "params"} | {"params": [order[id(p)] for p in g["params"]]}
                  for g in self.param_groups]  # fmt: skip
        state = {order[id(p)]: {k: wrap(v) if isinstance(v, np.ndarray) else v for k, v in s.items()}
                 for p, s in self.state.items()}  # fmt: skip
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups = state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        params = [p for g in self.param_groups for p in g["params"]]
        for own, other in zip(self.param_groups, groups):
            own.update({k: v for k, v in other.items() if k != "params"})
        for k, s in state_dict["state"].items():
            self.state[params[k]] = {n: np.array(v._data) if isinstance(v, Tensor) else v for n, v in s.items()}

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join([*lines, ")"])


def _check(name: str, value: Any) -> None:
    label = {
        "lr": "learning rate", "eps": "epsilon value", "weight_decay": "weight_decay value", "momentum": "momentum value",
        "alpha": "alpha value", "lr_decay": "lr_decay value",
        "initial_accumulator_value": "initial_accumulator_value value",
    }.get(name)  # fmt: skip
    if label is not None and not value >= 0:
        raise ValueError(f"Invalid {label}: {value}")
    if name == "betas":
        for k, beta in enumerate(value):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {k}: {beta}")


class SGD(Optimizer):
    """p -= lr d, with d the gradient, or its running sum (momentum; Sutskever et al. 2013 for Nesterov's)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: float = 0,
        nesterov: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        momentum = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = state["momentum_buffer"] = np.array(g)
            else:
                buffer *= momentum
                buffer += (1 - group["dampening"]) * g
            g = g + momentum * buffer if group["nesterov"] else buffer
        p -= group["lr"] * g


class Adagrad(Optimizer):
    """Steps shrink with the root of the summed squares (Duchi, Hazan & Singer 2011)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
        initial_accumulator_value: float = 0, eps: float = 1e-10, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "maximize": maximize,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if not state:
            state["step"], state["sum"] = 0, np.full_like(p, group["initial_accumulator_value"])
        state["step"] += 1
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        lr = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        state["sum"] += g * g
        p -= lr * (g / (np.sqrt(state["sum"]) + group["eps"]))


class RMSprop(Optimizer):
    """Steps divided by a running root mean square (Hinton's lecture 6e; centred as in Graves 2013)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0,
        momentum: float = 0, centered: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "maximize": maximize,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        alpha = group["alpha"]
        if not state:
            state["step"], state["square_avg"] = 0, np.zeros_like(p)
            if group["momentum"]:
                state["momentum_buffer"] = np.zeros_like(p)
            if group["centered"]:
                state["grad_avg"] = np.zeros_like(p)
        state["step"] += 1
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        square = state["square_avg"]
        square *= alpha
        square += (1 - alpha) * g * g
        if group["centered"]:
            mean = state["grad_avg"]
            mean += (1 - alpha) * (g - mean)
            root = np.sqrt(square - mean * mean)
        else:
            root = np.sqrt(square)
        step = g / (root + group["eps"])
        if group["momentum"]:
            buffer = state["momentum_buffer"]
            buffer *= group["momentum"]
            buffer += step
            step = buffer
        p -= group["lr"] * step


class Adam(Optimizer):
    """Running means of gradient and square, with their bias corrected (Kingma & Ba 2015, algorithm 1)."""

    decoupled = False

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad, "maximize": maximize,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        (beta1, beta2), lr = group["betas"], group["lr"]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = np.zeros_like(p), np.zeros_like(p)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = np.zeros_like(p)
        state["step"] += 1
        if group["weight_decay"]:
            if self.decoupled:
                p *= 1 - lr * group["weight_decay"]
            else:
                g = g + group["weight_decay"] * p
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean += (1 - beta1) * (g - mean)
        square *= beta2
        square += (1 - beta2) * g * g
        if group["amsgrad"]:
            np.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
            square = state["max_exp_avg_sq"]
        correction1, correction2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        p -= (lr / correction1) * (mean / (np.sqrt(square) / math.sqrt(correction2) + group["eps"]))


class AdamW(Adam):
    """Adam with the weight decay taken out of the gradient (Loshchilov & Hutter 2019)."""

    decoupled = True

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


def _moments(p: Any, g: Any, state: dict[str, Any], group: Group) -> tuple[Any, Any, Any]:
    """The decayed gradient, and the running means of it and its square."""
    if not state:
        state["step"], state["exp_avg"], state["exp_avg_sq"] = 0, np.zeros_like(p), np.zeros_like(p)
    state["step"] += 1
    beta1, beta2 = group["betas"]
    g = g + group["weight_decay"] * p if group["weight_decay"] else g
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean += (1 - beta1) * (g - mean)
    square *= beta2
    square += (1 - beta2) * g * g
    return g, mean, square


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the root mean square (Kingma & Ba 2015, section 7.1)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        (beta1, beta2), lr = group["betas"], group["lr"]
        if not state:
            state["step"], state["exp_avg"], state["exp_inf"] = 0, np.zeros_like(p), np.zeros_like(p)
        state["step"] += 1
        g = g + group["weight_decay"] * p if group["weight_decay"] else g
        mean, largest = state["exp_avg"], state["exp_inf"]
        mean += (1 - beta1) * (g - mean)
        largest *= beta2
        np.maximum(largest, np.abs(g) + group["eps"], out=largest)
        p -= lr / (1 - beta1 ** state["step"]) * mean / largest


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat 2016), its momentum growing by a schedule."""

    def __init__(
        self, params: Iterable[Any], lr: float = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, momentum_decay: float = 4e-3, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "maximize": maximize,
        })  # fmt: skip

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        product = state.get("mu_product", 1.0)
        g, mean, square = _moments(p, g, state, group)
        (beta1, beta2), lr, step = group["betas"], group["lr"], state["step"]
        mu, following = (beta1 * (1 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (step, step + 1))
        product = state["mu_product"] = product * mu
        size = np.sqrt(square / (1 - beta2**step)) + group["eps"]
        p -= lr * (1 - mu) / (1 - product) * g / size
        p -= lr * following / (1 - product * following) * mean / size


class RAdam(Optimizer):
    """Adam whose adaptive rate waits until its variance is known (Liu et al. 2020, algorithm 2)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0, *, maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        g, mean, square = _moments(p, g, state, group)
        (beta1, beta2), lr, step = group["betas"], group["lr"], state["step"]
        correction1, correction2 = 1 - beta1**step, 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / correction2
        move = lr * (mean / correction1)
        if length > 5:
            share = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            move = move * (math.sqrt(correction2) / (np.sqrt(square) + group["eps"])) * math.sqrt(share)
        p -= move


class Adadelta(Optimizer):
    """Steps in the units of the parameter (Zeiler 2012)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, *,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        rho, eps = group["rho"], group["eps"]
        if not state:
            state["step"], state["square_avg"], state["acc_delta"] = 0, np.zeros_like(p), np.zeros_like(p)
        state["step"] += 1
        g = g + group["weight_decay"] * p if group["weight_decay"] else g
        square, moved = state["square_avg"], state["acc_delta"]
        square *= rho
        square += (1 - rho) * g * g
        delta = np.sqrt(moved + eps) / np.sqrt(square + eps) * g
        moved *= rho
        moved += (1 - rho) * delta * delta
        p -= group["lr"] * delta


class Rprop(Optimizer):
    """Steps by the signs of the gradients alone (Riedmiller & Braun 1993)."""

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50), *, maximize: bool = False,
    ) -> None:  # fmt: skip
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize})

    def update(self, p: Any, g: Any, state: dict[str, Any], group: Group) -> None:
        if not state:
            state["step"], state["prev"], state["step_size"] = 0, np.zeros_like(p), np.full_like(p, group["lr"])
        state["step"] += 1
        (less, more), turn = group["etas"], g * state["prev"]
        factor = np.where(turn > 0, more, np.where(turn < 0, less, 1.0)).astype(p.dtype)
        state["step_size"] = np.clip(state["step_size"] * factor, *group["step_sizes"])
        g = np.where(turn < 0, 0, g)
        p -= np.sign(g) * state["step_size"]
        state["prev"] = np.array(g)


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last differences of gradients (Nocedal & Wright 2006, algorithms 7.4, 3.5 and 3.6).

    `step` takes the closure, and calls it up to `max_eval` times. One group of parameters.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1, max_iter: int = 20, max_eval: int | None = None,
        tolerance_grad: float = 1e-7, tolerance_change: float = 1e-9, history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(params, {
            "lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
            "line_search_fn": line_search_fn,
        })  # fmt: skip
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        if line_search_fn not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        self._pairs: list[tuple[Any, Any]] = []
        self._last: tuple[Any, Any] | None = None  # (step, gradient before it)
        self._iterations = 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Returns the loss before the step."""
        if closure is None:
            raise TypeError("LBFGS.step() missing 1 required positional argument: 'closure'")
        self._opt_called = True
        group, evaluations = self.param_groups[0], 0
        params = group["params"]

        def ask(x: Any) -> tuple[float, Any]:
            nonlocal evaluations
            start = 0
            for p in params:
                p._array()[...] = x[start : start + p._data.size].reshape(p._data.shape)
                p._cell()[0] += 1
                start += p._data.size
            evaluations += 1
            with enable_grad():
                loss = float(closure())
            return loss, self._gradient(params)

        x = np.concatenate([p._array().ravel() for p in params])
        with enable_grad():
            first = closure()
        evaluations += 1
        f, g = float(first), self._gradient(params)
        for _ in range(group["max_iter"]):
            if np.abs(g).max() <= group["tolerance_grad"] or evaluations >= group["max_eval"]:
                break
            d = -self._direction(g, group["history_size"])
            slope = float(g @ d)
            if slope > -group["tolerance_change"]:
                break
            self._iterations += 1
            t = min(1.0, 1.0 / float(np.abs(g).sum())) * group["lr"] if self._iterations == 1 else group["lr"]
            if group["line_search_fn"] is None:
                self._last = t * d, g
                x = x + t * d
                f_before = f
                f, g = ask(x)
            else:
                f_before = f
                t, f, g_new = _strong_wolfe(ask, x, d, t, f, g, slope)
                self._last = t * d, g
                x, g = x + t * d, g_new
            if np.abs(t * d).max() <= group["tolerance_change"] or abs(f - f_before) < group["tolerance_change"]:
                break
        ask(x)
        return first

    def _gradient(self, params: list[Tensor]) -> Any:
        return np.concatenate([
            np.zeros(p._data.size, p._data.dtype) if p._grad is None else np.array(p._grad._data).ravel() for p in params
        ])  # fmt: skip

    def _direction(self, g: Any, history: int) -> Any:
        """The inverse Hessian's estimate times g, by the two loops."""
        if self._last is not None:
            s, y = self._last[0], g - self._last[1]
            if float(s @ y) > 1e-10:
                self._pairs = [*self._pairs, (s, y)][-history:]
            self._last = None
        q, shares = g.copy(), []
        for s, y in reversed(self._pairs):
            a = float(s @ q) / float(s @ y)
            shares.append(a)
            q = q - a * y
        if self._pairs:
            s, y = self._pairs[-1]
            q = q * (float(s @ y) / float(y @ y))
        for (s, y), a in zip(self._pairs, reversed(shares)):
            q = q + (a - float(y @ q) / float(s @ y)) * s
        return q


def _strong_wolfe(
    ask: Callable[[Any], tuple[float, Any]], x: Any, d: Any, t: float, f0: float, g0: Any, slope0: float
) -> tuple[float, float, Any]:
    """A step length of sufficient decrease (1e-4) and curvature (0.9), by bisection of a bracket."""
    low, high = 0.0, math.inf
    best = 0.0, f0, g0
    for _ in range(25):
        f, g = ask(x + t * d)
        if not f <= f0 + 1e-4 * t * slope0:
            high = t
        else:
            if f < best[1]:
                best = t, f, g
            slope = float(g @ d)
            if abs(slope) <= 0.9 * abs(slope0):
                return t, f, g
            if slope < 0:
                low = t
            else:
                high = t
        t = 2 * t if high == math.inf else (low + high) / 2
    return best
