"""AMSGrad, with bias corrections."""

import torch


class AMSGrad(torch.optim.Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                g = p.grad
                state = self.state[p]
                if len(state) == 0:
                    state["t"] = 0
                    state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)
                    state["max_v"] = torch.zeros_like(p)
                state["t"] += 1
                state["m"].lerp_(g, 1 - beta1)
                state["v"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
                torch.maximum(state["max_v"], state["v"], out=state["max_v"])
                correction1 = 1 - beta1 ** state["t"]
                correction2 = 1 - beta2 ** state["t"]
                denom = (state["max_v"] / correction2).sqrt().add_(group["eps"])
                p.addcdiv_(state["m"], denom, value=-group["lr"] / correction1)
