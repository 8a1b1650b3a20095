"""SGD with Nesterov's momentum."""

import torch


class Nesterov(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01, momentum=0.9, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for p in group["params"]:
                g = p.grad + group["weight_decay"] * p
                state = self.state[p]
                if not state:
                    state["buffer"] = torch.zeros_like(p)
                b = state["buffer"]
                b.mul_(momentum).add_(g)
                p.add_(g + momentum * b, alpha=-lr)
