"""torch.optim's classes, spelt with Ravine's rules, and a class from any rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ravine import spellings
from ravine.engines.eager import plan
from ravine.rule import Rule
from ravine.rule import rule as as_rule
from ravine.spellings import spelling_of
from ravine.torch.rule_optimizer import RuleOptimizer

__all__ = ["SGD", "Adam", "AdamW", "RMSprop", "optimizer"]


def optimizer(rule: Rule | Callable[..., Any], name: str = "") -> type[RuleOptimizer]:
    """A torch.optim.Optimizer class from a rule.

    rule: a Rule, or a plain function with a rule's signature. name: the class's name; by default
    the rule's, in CamelCase. The class takes the parameters and, as keywords, the rule's
    hyperparameters, in param groups as well. Raises RuleError if the function is not a rule.

    >>> import torch, ravine
    >>> from ravine.ops import sign
    >>> def sign_descent(p, g, *, lr=1e-3):
    ...     return p - lr * sign(g)
    >>> SignDescent = ravine.torch.optimizer(sign_descent)
    >>> opt = SignDescent([torch.zeros(3, requires_grad=True)], lr=0.1)
    """
    made = rule if isinstance(rule, Rule) else as_rule(rule)
    defaults = {k: h.default for k, h in made.hyperparameters.items()}
    plan(made, defaults)  # a rule that cannot be traced is refused here, not in training

    class Optimizer(RuleOptimizer):
        spelling = spelling_of(made)

        def __init__(self, params: Any, *, engine: str = "auto", **hyperparameters: Any) -> None:
            super().__init__(params, made.values(hyperparameters), engine)

    from inspect import Parameter, Signature

    keywords = [Parameter(k, Parameter.KEYWORD_ONLY, default=v) for k, v in defaults.items()]
    parameters = Parameter("params", Parameter.POSITIONAL_OR_KEYWORD)
    keywords.append(Parameter("engine", Parameter.KEYWORD_ONLY, default="auto"))
    Optimizer.__signature__ = Signature([parameters, *keywords])  # type: ignore[attr-defined]
    spellings.present(Optimizer, made, name)
    return Optimizer


class SGD(RuleOptimizer):
    """Gradient descent, with momentum, Nesterov's momentum and L2 regularisation.

    As torch.optim.SGD. lr: length of the step. momentum: share of the velocity kept. dampening:
    share of the gradient kept out of the velocity, from the second step on. weight_decay: L2.
    nesterov: look one velocity ahead; needs momentum > 0 and dampening = 0. maximize: climb.
    foreach, fused: accepted; Ravine chooses its own engine. Rules: sgd, momentum, nesterov.
    """

    spelling = spellings.SGD

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | torch.Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class RMSprop(RuleOptimizer):
    """RMSprop: the gradient over its root mean square; eps outside the root.

    As torch.optim.RMSprop. lr: length of the step. alpha: decay rate of the mean square. eps: added
    to the root. weight_decay: L2. momentum: share of the velocity kept. centered: divide by the
    standard deviation. maximize: climb. foreach: accepted; Ravine chooses its own engine.
    """

    spelling = spellings.RMSPROP

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class Adam(RuleOptimizer):
    """Adam; with amsgrad=True, AMSGrad; weight_decay is L2 unless decoupled_weight_decay.

    As torch.optim.Adam. lr: length of the step. betas: decay rates of the means of the gradient and
    of its square. eps: added to the root of the corrected mean square. maximize: climb.
    foreach, fused: accepted; Ravine chooses its own engine. Rules: adam, amsgrad.
    """

    spelling = spellings.ADAM

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float | torch.Tensor, float | torch.Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)


class AdamW(RuleOptimizer):
    """Adam with decoupled weight decay: the weights shrink by lr * weight_decay, then step.

    As torch.optim.AdamW; the options are those of Adam.
    """

    spelling = spellings.ADAMW

    def __init__(
        self,
        params: Any,
        lr: float | torch.Tensor = 1e-3,
        betas: tuple[float | torch.Tensor, float | torch.Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        engine: str = "auto",
    ) -> None:
        super().__init__(params, spellings.options(locals()), engine)
