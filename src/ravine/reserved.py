"""The names that slots, signals or hyperparameters cannot have, each with the reason."""

from __future__ import annotations

__all__ = ["why_reserved"]

_ALWAYS = {
    **dict.fromkeys(("float", "ops"), "is called in the printed step"),
    **dict.fromkeys(("paper", "at", "card", "evaluate", "seen"), "is a keyword of @rule"),
}
_SIGNALS = {
    **dict.fromkeys(("closure", "grads", "zero_grad"), "is an argument of step"),
    "t": "is the count of steps: a positional argument, the last",
}
_SLOTS = {"step": "is the key of the step count in an optimizer's state"}
_HYPERPARAMETERS = {
    "t": "is the count of steps: a positional argument, the last",
    "doc": "is a keyword of Rule.named",
    "start": "is a keyword of ravine.reading.worked",
    "rule": "names the rule of a param group in ravine.torch.Mixed",
    "betas": "is torch's name for beta1 and beta2 together, or a tuple of numbers",
    "how": "stands for the keywords that every class of ravine.torch has",
    "grad_scale": "is what torch.amp.GradScaler sets",
    **dict.fromkeys(("params", "param_names"), "is a key of torch's param groups"),
    **dict.fromkeys(
        ("engine", "state_dtype", "stochastic_rounding", "seed", "grad_norm", "flatten"),
        "is a keyword of every optimizer class",
    ),
    **dict.fromkeys(
        ("differentiable", "capturable", "foreach", "fused"),
        "is an option of torch.optim's classes that says how a step is taken",
    ),
    **dict.fromkeys(
        ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"),
        "is where torch's schedulers keep a number",
    ),
    **dict.fromkeys(
        (
            *("optimizer", "learning_rate", "epochs", "batch_size"),
            *("stopping_threshold", "clipping", "callback"),
        ),
        "is an argument of ravine.numpy.fit, where no hyperparameter of that name could be set",
    ),
}

_OF = {"hyperparameter": _HYPERPARAMETERS, "signal": _SIGNALS, "slot": _SLOTS}


def why_reserved(name: str, what: str) -> str:
    """Why a hyperparameter, signal or slot cannot have this name; "" if it can."""
    return _ALWAYS.get(name) or _OF[what].get(name, "")
