"""Written by scripts/make_stubs.py."""

from torch.optim.optimizer import ParamsT
from typing_extensions import Unpack

from ravine.torch.checks import How
from ravine.torch.classes import FromRule

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

class ADOPT(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.9999,
        eps: float = 1e-06,
        clip_exp: float = 0.25,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class ADOPTKozistr(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.9999,
        eps: float = 1e-06,
        clip_exp: float = 0.25,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AMSGrad(FromRule):
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

class AMSGradKeras(FromRule):
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

class AMSGradOptax(FromRule):
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

class AdEMAMix(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        beta3: float = 0.9999,
        alpha: float = 5.0,
        alpha_warmup: float = 0.0,
        beta3_warmup: float = 0.0,
        eps: float = 1e-08,
        betas: tuple[float, float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdaBelief(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-16,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdaBeliefRectified(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-16,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdagradKeras(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        v0: float = 0.1,
        eps: float = 1e-07,
        **how: Unpack[How],
    ) -> None: ...

class AdamAtan2(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        a: float = 1.27,
        b: float = 1.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdamC(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        lr_peak: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = ...,
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

class AdamaxKeras(FromRule):
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

class Adan(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        betas: tuple[float, float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdanPaper(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.98,
        beta2: float = 0.92,
        beta3: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        betas: tuple[float, float, float] = ...,
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

class LaProp(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0004,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-15,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LaPropTimm(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0004,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-15,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class MARS(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.003,
        beta1: float = 0.95,
        beta2: float = 0.99,
        gamma: float = 0.025,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class MARSLion(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0003,
        beta1: float = 0.95,
        gamma: float = 0.025,
        betas: tuple[float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class MARSTimm(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.003,
        beta1: float = 0.9,
        beta2: float = 0.99,
        gamma: float = 0.025,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
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

class NAdamKeras(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-07,
        momentum_decay: float = 1.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class NAdamOptax(FromRule):
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

class NAdamPaper(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.002,
        beta1: float = 0.99,
        beta2: float = 0.999,
        eps: float = 1e-08,
        momentum_decay: float = 0.004,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class NAdamTimm(FromRule):
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

class Nesterov(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class QHAdam(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.995,
        beta2: float = 0.999,
        nu1: float = 0.7,
        nu2: float = 1.0,
        eps: float = 1e-08,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class RAdamOptax(FromRule):
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

class RAdamPaper(FromRule):
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

class RAdamSkipping(FromRule):
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

class RMSpropKeras(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        alpha: float = 0.9,
        eps: float = 1e-07,
        centered: bool = False,
        momentum: float = 0.0,
        v0: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class RMSpropTF(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        alpha: float = 0.9,
        eps: float = 1e-10,
        centered: bool = False,
        momentum: float = 0.0,
        v0: float = 1.0,
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

class StableAdamW(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        eps: float = 1e-08,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class Yogi(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 0.001,
        v0: float = 1e-06,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class YogiPaper(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 0.001,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...
