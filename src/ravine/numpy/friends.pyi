"""Written by scripts/make_stubs.py."""

from typing import Any

from ravine.numpy.rule_optimizer import RuleOptimizer

__all__ = [
    "LAMB",
    "LARS",
    "QHM",
    "SGDP",
    "SGLD",
    "AdamEpsHat",
    "AdamP",
    "Adamw",
    "AggMo",
    "Amsgrad",
    "Fromage",
    "LAMBKozistr",
    "LAMBTimm",
    "LAMBv3",
    "LARSKozistr",
    "LARSOptax",
    "LARSTimm",
    "Lion",
    "Momentum",
    "MomentumClassical",
    "MomentumEMA",
    "Nadam",
    "Nesterov",
    "NesterovClassical",
    "NovoGrad",
    "Radam",
    "Rmsprop",
    "SignSGD",
    "Signum",
    "Tiger",
]

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

class AdamP(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
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

class AggMo(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        betas: tuple[float, ...] = ...,
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

class Fromage(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMB(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMBKozistr(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMBTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LAMBv3(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARS(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARSKozistr(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARSOptax(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LARSTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Lion(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
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

class MomentumEMA(RuleOptimizer):
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

class NesterovClassical(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NovoGrad(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        beta2: float = 0.98,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class QHM(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1.0,
        momentum: float = 0.999,
        nu: float = 0.7,
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

class SGDP(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.1,
        momentum: float = 0.9,
        dampening: float = 0.0,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SGLD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        temperature: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class SignSGD(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Signum(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta: float = 0.9,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Tiger(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta: float = 0.965,
        weight_decay: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...
