"""Written by scripts/make_stubs.py."""

from typing import Any

from ravine.numpy.rule_optimizer import RuleOptimizer

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

class AdaHessian(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaHessianPointwise(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdafactorPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta2_decay: float = -0.8,
        eps1: float = 1e-30,
        eps2: float = 0.001,
        d: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamEpsHat(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamMini(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Adamw(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Amos(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta2: float = 0.999,
        eps: float = 2.350988701644575e-38,
        scale: float = 0.0,
        momentum: float = 0.0,
        zeta: float = 0.25,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Amsgrad(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Asgd(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        lambd: float = 0.0001,
        alpha: float = 0.75,
        t0: float = 1000000.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class CAME(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        beta3: float = 0.9999,
        eps1: float = 1e-30,
        eps2: float = 1e-16,
        d: float = 1.0,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DAdaptAdam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DAdaptAdamBiasCorrected(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DAdaptSGD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        d0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DoG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        reps_rel: float = 1e-06,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class DoWG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        r_eps: float = 0.01,
        eps: float = 0.0001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LDoG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        reps_rel: float = 1e-06,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Momentum(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        dampening: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MomentumClassical(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MomentumEma(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Nadam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.002,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Nesterov(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Prodigy(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        safeguard_warmup: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ProdigyBiasCorrected(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        safeguard_warmup: bool = False,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Radam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Rmsprop(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-08,
        centered: bool = False,
        momentum: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeAdamW(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeAdamWPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeRAdam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0025,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        silent_sgd_phase: bool = True,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ScheduleFreeSGD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        warmup_steps: float = 0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Sgd(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Sophia(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.965,
        beta2: float = 0.99,
        gamma: float = 0.05,
        eps: float = 1e-12,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SophiaG(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.965,
        beta2: float = 0.99,
        rho: float = 0.04,
        bs: float = 5120.0,
        eps: float = 1e-15,
        weight_decay: float = 0.1,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...
