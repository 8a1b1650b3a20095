"""Written by scripts/make_stubs.py."""

from torch.optim.optimizer import ParamsT
from typing_extensions import Unpack

from ravine.torch.checks import How
from ravine.torch.classes import FromRule

__all__ = [
    "ADOPT",
    "CAME",
    "LAMB",
    "LARS",
    "MARS",
    "QHM",
    "SGDP",
    "SGLD",
    "SOAP",
    "ADOPTKozistr",
    "AMSGrad",
    "AMSGradKeras",
    "AMSGradOptax",
    "AdEMAMix",
    "AdaBelief",
    "AdaBeliefRectified",
    "AdaHessian",
    "AdaHessianPointwise",
    "AdaMuon",
    "AdaMuonKozistr",
    "AdafactorPaper",
    "AdagradKeras",
    "AdamAtan2",
    "AdamC",
    "AdamEpsHat",
    "AdamMini",
    "AdamP",
    "AdamaxKeras",
    "Adan",
    "AdanPaper",
    "AggMo",
    "Amos",
    "DAdaptAdam",
    "DAdaptAdamBiasCorrected",
    "DAdaptAdamPaper",
    "DAdaptSGD",
    "Dion",
    "DoG",
    "DoWG",
    "Fromage",
    "GaLore",
    "LAMBKozistr",
    "LAMBTimm",
    "LAMBv3",
    "LARSKozistr",
    "LARSOptax",
    "LARSTimm",
    "LDoG",
    "LaProp",
    "LaPropTimm",
    "Lion",
    "MARSLion",
    "MARSShampoo",
    "MARSTimm",
    "Momentum",
    "MomentumClassical",
    "MomentumEMA",
    "MuonHeavyball",
    "MuonJordan",
    "MuonMoonshot",
    "MuonOptax",
    "NAdamKeras",
    "NAdamOptax",
    "NAdamPaper",
    "NAdamTimm",
    "Nesterov",
    "NesterovClassical",
    "NorMuon",
    "NorMuonCode",
    "NovoGrad",
    "PSGDKron",
    "PolarExpress",
    "Prodigy",
    "ProdigyBiasCorrected",
    "ProdigyPaper",
    "QHAdam",
    "RAdamOptax",
    "RAdamPaper",
    "RAdamSkipping",
    "RMSpropKeras",
    "RMSpropTF",
    "ScheduleFreeAdamW",
    "ScheduleFreeAdamWPaper",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "Scion",
    "ScionRMS",
    "ScionSign",
    "Shampoo",
    "SignSGD",
    "Signum",
    "Sophia",
    "SophiaG",
    "StableAdamW",
    "Tiger",
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

class AdaMuon(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-08,
        rms_scale: float = 0.2,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        betas: tuple[float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class AdaMuonKozistr(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.02,
        beta1: float = 0.9,
        beta2: float = 0.95,
        eps: float = 1e-10,
        rms_scale: float = 0.2,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
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

class AdamP(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        weight_decay: float = 0.0,
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

class AggMo(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.1,
        betas: tuple[float, ...] = ...,
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

class DAdaptAdamPaper(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
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

class Dion(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        momentum: float = 0.95,
        rank: float = 768,
        eps: float = 1e-08,
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

class Fromage(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        **how: Unpack[How],
    ) -> None: ...

class GaLore(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        rank: float = 128,
        every: float = 200,
        scale: float = 0.25,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LAMB(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LAMBKozistr(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LAMBTimm(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LAMBv3(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-06,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class LARS(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...

class LARSKozistr(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...

class LARSOptax(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class LARSTimm(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust_coefficient: float = 0.001,
        eps: float = 1e-08,
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

class Lion(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0001,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
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

class MARSShampoo(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.003,
        beta1: float = 0.95,
        gamma: float = 0.025,
        ns_eps: float = 1e-08,
        ns_steps: float = 5,
        bfloat16: bool = False,
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

class MomentumEMA(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        beta1: float = 0.9,
        betas: tuple[float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class MuonHeavyball(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0025,
        momentum: float = 0.9,
        nesterov: bool = True,
        eps: float = 1e-07,
        bfloat16: bool = False,
        **how: Unpack[How],
    ) -> None: ...

class MuonJordan(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        **how: Unpack[How],
    ) -> None: ...

class MuonMoonshot(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.95,
        nesterov: bool = True,
        rms_scale: float = 0.2,
        eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        weight_decay: float = 0.1,
        **how: Unpack[How],
    ) -> None: ...

class MuonOptax(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_a: float = 3.4445,
        ns_b: float = -4.775,
        ns_c: float = 2.0315,
        eps: float = 1e-08,
        ns_steps: float = 5,
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

class NesterovClassical(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        momentum: float = 0.9,
        **how: Unpack[How],
    ) -> None: ...

class NorMuon(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        beta2: float = 0.95,
        eps: float = 1e-10,
        rms_scale: float = 0.2,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class NorMuonCode(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.02,
        beta1: float = 0.95,
        beta2: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-10,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class NovoGrad(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta1: float = 0.95,
        beta2: float = 0.98,
        eps: float = 1e-08,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class PSGDKron(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.0003,
        beta1: float = 0.9,
        precond_lr: float = 0.1,
        least: float = 0.03,
        decay: float = 0.001,
        flat_start: float = 500,
        damping: float = 0.00034526698300124393,
        most: float = 1.1,
        betas: tuple[float] = ...,
        **how: Unpack[How],
    ) -> None: ...

class PolarExpress(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.02,
        beta1: float = 0.95,
        nesterov: bool = True,
        eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        betas: tuple[float] = ...,
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

class ProdigyPaper(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-08,
        d0: float = 1e-06,
        betas: tuple[float, float] = ...,
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

class QHM(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 1.0,
        momentum: float = 0.999,
        nu: float = 0.7,
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

class SGDP(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.1,
        momentum: float = 0.9,
        dampening: float = 0.0,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        weight_decay: float = 0.0,
        **how: Unpack[How],
    ) -> None: ...

class SGLD(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        temperature: float = 1.0,
        **how: Unpack[How],
    ) -> None: ...

class SOAP(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.003,
        beta1: float = 0.95,
        beta2: float = 0.95,
        shampoo_beta: float = 0.95,
        eps: float = 1e-08,
        every: float = 10,
        betas: tuple[float, float] = ...,
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

class Scion(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        alpha: float = 0.1,
        radius: float = 1.0,
        constrained: bool = True,
        eps: float = 1e-08,
        ns_eps: float = 1e-07,
        ns_steps: float = 5,
        bfloat16: bool = False,
        **how: Unpack[How],
    ) -> None: ...

class ScionRMS(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        alpha: float = 0.1,
        radius: float = 1.0,
        constrained: bool = True,
        eps: float = 1e-08,
        **how: Unpack[How],
    ) -> None: ...

class ScionSign(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        alpha: float = 0.1,
        radius: float = 1.0,
        constrained: bool = True,
        **how: Unpack[How],
    ) -> None: ...

class Shampoo(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        eps: float = 1e-06,
        every: float = 1,
        **how: Unpack[How],
    ) -> None: ...

class SignSGD(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        **how: Unpack[How],
    ) -> None: ...

class Signum(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta: float = 0.9,
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

class Tiger(FromRule):
    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.001,
        beta: float = 0.965,
        weight_decay: float = 0.01,
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
