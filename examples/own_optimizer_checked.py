"""Is my optimizer right? An Adam with a common bug, checked, fixed, and checked again.

    python examples/own_optimizer_checked.py
    ravine check examples/own_optimizer_checked.py:MyAdam      # the same on the command line

In your own tests, `check_optimizer(MyAdam).code == 0` is all that you need to assert.
"""

import torch

from ravine.checks import check_optimizer


class MyAdam(torch.optim.Optimizer):
    """Adam, as one writes it in a hurry: `t` is counted once for each tensor."""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        self.t = 0

    def count(self, state):
        self.t += 1
        return self.t

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)
                t = self.count(state)
                state["m"].lerp_(p.grad, 1 - beta1)
                state["v"].lerp_(p.grad**2, 1 - beta2)
                m_hat, v_hat = state["m"] / (1 - beta1**t), state["v"] / (1 - beta2**t)
                p -= group["lr"] * m_hat / (v_hat.sqrt() + group["eps"])
        return loss


class MyFixedAdam(MyAdam):
    """The same with a count for each tensor, kept with its state, so that checkpoints have it too."""

    def count(self, state):
        state["t"] = state.get("t", 0) + 1
        return state["t"]


def main():
    for optimizer in (MyAdam, MyFixedAdam):
        report = check_optimizer(optimizer, only=["identity"])
        print(report.headline)


if __name__ == "__main__":
    main()
