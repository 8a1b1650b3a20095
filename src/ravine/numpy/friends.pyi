"""Written by scripts/make_stubs.py."""

from typing import Any

from ravine.numpy.rule_optimizer import RuleOptimizer

__all__ = [
    "ADOPT",
    "MARS",
    "ADOPTKozistr",
    "AMSGrad",
    "AMSGradKeras",
    "AMSGradOptax",
    "AdEMAMix",
    "AdaBelief",
    "AdaBeliefRectified",
    "AdagradKeras",
    "AdamAtan2",
    "AdamC",
    "AdamEpsHat",
    "AdamaxKeras",
    "Adan",
    "AdanPaper",
    "Asgd",
    "LaProp",
    "LaPropTimm",
    "MARSLion",
    "MARSTimm",
    "Momentum",
    "MomentumClassical",
    "MomentumEma",
    "NAdamKeras",
    "NAdamOptax",
    "NAdamPaper",
    "NAdamTimm",
    "Nesterov",
    "QHAdam",
    "RAdamOptax",
    "RAdamPaper",
    "RAdamSkipping",
    "RMSpropKeras",
    "RMSpropTF",
    "Sgd",
    "StableAdamW",
    "Yogi",
    "YogiPaper",
]

class ADOPT(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.9999,
        eps: float = 1e-06,
        clip_exp: float = 0.25,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class ADOPTKozistr(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.9999,
        eps: float = 1e-06,
        clip_exp: float = 0.25,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AMSGrad(RuleOptimizer):
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

class AMSGradKeras(RuleOptimizer):
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

class AMSGradOptax(RuleOptimizer):
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

class AdEMAMix(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        beta3: float = 0.9999,
        alpha: float = 5.0,
        alpha_warmup: float = 0.0,
        beta3_warmup: float = 0.0,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaBelief(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-16,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdaBeliefRectified(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-16,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdagradKeras(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        v0: float = 0.1,
        eps: float = 1e-07,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamAtan2(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        a: float = 1.27,
        b: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdamC(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        lr_peak: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
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

class AdamaxKeras(RuleOptimizer):
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

class Adan(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class AdanPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
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

class LaProp(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0004,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-15,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class LaPropTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0004,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-15,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MARS(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.003,
        beta1: float = 0.95,
        beta2: float = 0.99,
        gamma: float = 0.025,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MARSLion(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.0003,
        beta1: float = 0.95,
        gamma: float = 0.025,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class MARSTimm(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.003,
        beta1: float = 0.9,
        beta2: float = 0.99,
        gamma: float = 0.025,
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

class NAdamKeras(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-07,
        momentum_decay: float = 1.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NAdamOptax(RuleOptimizer):
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

class NAdamPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.002,
        beta1: float = 0.99,
        beta2: float = 0.999,
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class NAdamTimm(RuleOptimizer):
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

class QHAdam(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.995,
        beta2: float = 0.999,
        nu1: float = 0.7,
        nu2: float = 1.0,
        eps: float = 1e-08,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class RAdamOptax(RuleOptimizer):
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

class RAdamPaper(RuleOptimizer):
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

class RAdamSkipping(RuleOptimizer):
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

class RMSpropKeras(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        alpha: float = 0.9,
        eps: float = 1e-07,
        centered: bool = False,
        momentum: float = 0.0,
        v0: float = 0.0,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class RMSpropTF(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        alpha: float = 0.9,
        eps: float = 1e-10,
        centered: bool = False,
        momentum: float = 0.0,
        v0: float = 1.0,
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

class StableAdamW(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class Yogi(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 0.001,
        v0: float = 1e-06,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...

class YogiPaper(RuleOptimizer):
    def __init__(
        self,
        params: Any,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 0.001,
        engine: str = "auto",
        seed: int = 0,
    ) -> None: ...
