"""Written by scripts/make_stubs.py."""

from torch.optim.optimizer import ParamsT
from typing_extensions import Unpack

from ravine.torch.checks import How
from ravine.torch.classes import FromRule

__all__ = [
    "CAME",
    "AdaHessian",
    "AdaHessianPointwise",
    "AdafactorPaper",
    "AdamEpsHat",
    "AdamMini",
    "Adamw",
    "Amos",
    "Amsgrad",
    "Asgd",
    "DAdaptAdam",
    "DAdaptAdamBiasCorrected",
    "DAdaptSGD",
    "DoG",
    "DoWG",
    "LDoG",
    "Momentum",
    "MomentumClassical",
    "MomentumEma",
    "Nadam",
    "Nesterov",
    "Prodigy",
    "ProdigyBiasCorrected",
    "Radam",
    "Rmsprop",
    "ScheduleFreeAdamW",
    "ScheduleFreeAdamWPaper",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "Sgd",
    "Sophia",
    "SophiaG",
]

class AdaHessian(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdaHessianPointwise(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdafactorPaper(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        beta2_decay: float = -0.8,
        eps1: float = 1e-30,
        eps2: float = 0.001,
        d: float = 1.0,
        **how: Unpack[How],
    ) -> None: ...

class AdamEpsHat(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdamMini(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Adamw(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Amos(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta2: float = 0.999,
        eps: float = 2.350988701644575e-38,
        scale: float = 0.0,
        momentum: float = 0.0,
        zeta: float = 0.25,
        **how: Unpack[How],
    ) -> None: ...

class Amsgrad(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Asgd(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        **how: Unpack[How],
    ) -> None: ...

class CAME(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        beta3: float = 0.9999,
        eps1: float = 1e-30,
        eps2: float = 1e-16,
        d: float = 1.0,
        weight_decay: float = 0.0,
        betas: tuple[float, float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class DAdaptAdam(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class DAdaptAdamBiasCorrected(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class DAdaptSGD(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        d0: float = 1e-06,
        **how: Unpack[How],
    ) -> None: ...

class DoG(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        reps_rel: float = 1e-06,
        eps: float = 1e-08,
        **how: Unpack[How],
    ) -> None: ...

class DoWG(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        r_eps: float = 0.01,
        eps: float = 0.0001,
        **how: Unpack[How],
    ) -> None: ...

class LDoG(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        reps_rel: float = 1e-06,
        eps: float = 1e-08,
        **how: Unpack[How],
    ) -> None: ...

class Momentum(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        dampening: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class MomentumClassical(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class MomentumEma(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        betas: tuple[float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Nadam(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Nesterov(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class Prodigy(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        safeguard_warmup: bool = False,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class ProdigyBiasCorrected(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        safeguard_warmup: bool = False,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Radam(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Rmsprop(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        centered: bool = False,
        momentum: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class ScheduleFreeAdamW(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class ScheduleFreeAdamWPaper(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class ScheduleFreeRAdam(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        silent_sgd_phase: bool = True,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class ScheduleFreeSGD(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        **how: Unpack[How],
    ) -> None: ...

class Sgd(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...

class Sophia(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0001,
        beta1: float = 0.965,
        beta2: float = 0.99,
        gamma: float = 0.05,
        eps: float = 1e-12,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class SophiaG(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0001,
        beta1: float = 0.965,
        beta2: float = 0.99,
        rho: float = 0.04,
        bs: float = 5120.0,
        eps: float = 1e-15,
        weight_decay: float = 0.1,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...
