"""Training programs: what the other laws come to when they are used together, over several steps.

The numbers are small integers and the learning rates powers of two, so that all steps are exact in float32.
"""

from __future__ import annotations

from ..register import law
from ..session import Session, Var

SGD = "https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html"
NOTES = "https://docs.pytorch.org/docs/stable/notes/autograd.html"
NEEDS = {"tape", "flags", "modes", "inplace"}


def step(t: Session, *parameters: Var, lr: float = 0.5) -> None:
    """Gradient descent, and .grad dropped."""
    with t.no_grad():
        for p in parameters:
            p.sub_(p.grad * lr)
    for p in parameters:
        p.grad = None


@law(needs=NEEDS, source=SGD)
def mlp_steps_as_by_hand(t: Session) -> None:
    """Two steps of a network with one hidden unit are those of the formulas written out: v relu(w x) against a 1."""
    w, v, by_hand = t.tensor(1.0, requires_grad=True), t.tensor(2.0, requires_grad=True), [1.0, 2.0]
    for x in (1.0, 2.0):
        error = (w * x).relu() * v - 1.0
        (error * error).backward()
        hidden = max(by_hand[0] * x, 0.0)
        e = hidden * by_hand[1] - 1.0
        slopes = [2 * e * by_hand[1] * x * (hidden > 0), 2 * e * hidden]
        t.equal(w.grad, slopes[0])
        t.equal(v.grad, slopes[1])
        step(t, w, v)
        by_hand = [p - 0.5 * g for p, g in zip(by_hand, slopes)]
    t.equal(w.detach(), by_hand[0])
    t.equal(v.detach(), by_hand[1])


@law(needs=NEEDS, source=SGD)
def momentum_with_a_frozen_layer(t: Session) -> None:
    """Momentum buffers hold gradients and no graphs; a frozen layer stays as it is, thawed it learns again."""
    w, f = t.tensor(1.0, requires_grad=True), t.tensor(3.0)
    buffer = t.tensor(0.0)
    for expected in (-2.0, -6.5):  # the gradient is 3; buffer: 3, then 3/2 + 3; step: -lr (1) times that
        (w * f).backward()
        with t.no_grad():
            buffer.mul_(0.5).add_(w.grad)
            w.sub_(buffer)
        w.grad = None
        t.equal(w.detach(), expected)
    t.equal(f, 3.0)
    f.requires_grad_(True)
    (w * f).backward()
    t.equal(f.grad, -6.5)
    t.equal(buffer.requires_grad, False)


@law(
    needs={"tape", "arrays"},
    source="https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-accumulation",
)
def micro_batches_add_up_to_the_batch(t: Session) -> None:
    """The gradients of two micro-batches, accumulated, are the gradient of the batch."""
    w = t.tensor([1.0, -2.0], requires_grad=True)
    for x in ([3.0, 1.0], [5.0, 2.0]):
        y = (w * t.tensor(x)).sum()
        (y * y).backward()
    v = t.tensor([1.0, -2.0], requires_grad=True)
    a, b = ((v * t.tensor(x)).sum() for x in ([3.0, 1.0], [5.0, 2.0]))
    (a * a + b * b).backward()
    t.equal(w.grad, v.grad)


CHECKPOINT = """class Checkpoint(torch.autograd.Function):
    def forward(ctx, f, x):
        ctx.f = f; ctx.save_for_backward(x); return f(x)
    def backward(ctx, g):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad(): y = ctx.f(x)
        y.backward(g); return None, x.grad
    forward, backward = staticmethod(forward), staticmethod(backward)"""


@law(needs={"function", "modes"}, source="https://docs.pytorch.org/docs/stable/checkpoint.html")
def checkpointing_changes_nothing(t: Session) -> None:
    """A segment that is run again within backward gives the gradient that keeping it would have given: backward within
    backward, parameters of the segment included."""
    t.define(CHECKPOINT)
    w = t.define("w = torch.tensor(2.0, requires_grad=True)")
    x = t.tensor(3.0, requires_grad=True)
    y = t.do("Checkpoint.apply(lambda x: x * x * w, {0} * 5.0)", x)
    (y * 2.0).backward()
    t.equal(x.grad, 600.0)  # d(2 (5x)^2 w)/dx = 100 x w
    t.equal(w.grad, 450.0)  # 2 (5x)^2


@law(needs=NEEDS | {"cut"}, source=f"{NOTES}#locally-disabling-gradient-computation")
def two_optimizers_and_a_detach(t: Session) -> None:
    """The loop of a GAN: the critic learns from a detached sample and the maker gets nothing; then the maker learns through
    the critic, whose own gradient of that pass is dropped."""
    maker, critic = t.tensor(2.0, requires_grad=True), t.tensor(3.0, requires_grad=True)
    sample = maker * 4.0
    (critic * sample.detach()).backward()
    t.equal(maker.grad, None)
    t.equal(critic.grad, 8.0)
    step(t, critic)
    (critic * sample).backward()
    t.equal(maker.grad, -4.0)  # the critic is 3 - 8/2 = -1
    critic.grad = None
    step(t, maker)
    t.equal(maker.detach(), 4.0)
    t.equal(critic.detach(), -1.0)


SCHEDULES = "https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"


@law(needs={"optim"}, source=SCHEDULES)
def schedules_multiply(t: Session) -> None:
    """Two schedulers of one optimizer: each changes the rate that it finds, and neither undoes the other."""
    t.define("p = torch.tensor([1.0], requires_grad=True)")
    opt = t.define("opt = torch.optim.SGD([p], lr=8.0)")
    for gamma in (0.5, 0.25):
        t.define(f"s{int(1 / gamma)} = torch.optim.lr_scheduler.StepLR(opt, 1, {gamma})")
    t.do("(opt.step(), s2.step(), s4.step())")
    t.equal(t.do('{0}.param_groups[0]["lr"]', opt), 1.0)


@law(needs={"optim"}, source=SCHEDULES)
def a_schedule_keeps_the_rate_that_was_set(t: Session) -> None:
    """A rate that the user sets between two steps is what the scheduler goes on from."""
    t.define("p = torch.tensor([1.0], requires_grad=True)")
    opt = t.define("opt = torch.optim.SGD([p], lr=8.0)")
    t.define("s = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)")
    t.do("(opt.step(), s.step(), opt.param_groups[0].update(lr=32.0), opt.step(), s.step())")
    t.equal(t.do('{0}.param_groups[0]["lr"]', opt), 16.0)
