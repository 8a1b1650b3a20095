"""How optimizers of each kind of package are made and stepped: one class for each kind."""

import importlib
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from inspect import signature
from typing import Any

import numpy as np

from ravine.bench import peers
from ravine.cards import Witness

Arrays = list[np.ndarray]
Signals = dict[str, Arrays]
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


class OfTorch:
    """A subclass of torch.optim.Optimizer."""

    def __init__(self, witness: Witness, values: dict[str, Any], starts: Arrays, _: Any):
        import torch

        torch.set_default_dtype(torch.float64)
        self.params = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in starts]
        self.witness, self.values = witness, values
        call = (
            witness.call if "(params" in witness.call else witness.call.replace("(", "(params, ", 1)
        )
        self.optimizer = eval(call, {**peers.namespace(witness), **values, "params": self.given()})
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()

    def given(self) -> Any:
        """What it takes as parameters."""
        return self.params

    def step(self, grads: list[np.ndarray | None], lr: float, signals: Signals) -> None:
        import torch

        rate = self.witness.argument("lr")
        for group in self.optimizer.param_groups:
            group["lr"] = eval(rate, {**self.values, "lr": lr}) if rate else lr
        for p, g in zip(self.params, grads, strict=True):
            p.grad = None if g is None else torch.tensor(g, dtype=torch.float64)
        given = {k: [torch.tensor(x, dtype=torch.float64) for x in v] for k, v in signals.items()}
        if given and not given.keys() <= signature(self.optimizer.step).parameters.keys():
            for p, h in zip(self.params, given.pop("hessian"), strict=True):
                if p.grad is not None:  # the same gradient, with a graph whose Hessian is h
                    p.grad = h * (p - p.detach()) + p.grad
        self.optimizer.step(**given)

    def arrays(self) -> Arrays:
        return [p.detach().numpy() for p in self.params]

    def checkpoint(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """What it saves: arrays by "number/name", and groups, without what is not of numbers."""
        saved = {"state": {}, "param_groups": [], **self.optimizer.state_dict()}
        arrays = dict(_arrays(saved["state"]))
        groups = [{k: _number(v) for k, v in its.items()} for its in saved["param_groups"]]
        for number, its in enumerate(groups):
            arrays |= _arrays(
                {k: v for k, v in its.items() if not _is_plain(v)}, f"groups/{number}/"
            )
        return arrays, [{k: v for k, v in its.items() if _is_plain(v)} for its in groups]

    def evaluated(self) -> Arrays:
        """The weights to evaluate with; none where that is left to the user, as by torch.optim.ASGD."""
        if not hasattr(self.optimizer, "eval"):
            return []
        self.optimizer.eval()
        return self.arrays()


def _arrays(value: Any, place: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """All numbers and tensors in dicts and lists, by their places, "0/momentum_buffer/0.9"."""
    if isinstance(value, (bool, int, float)) or hasattr(value, "numpy"):
        yield place.removesuffix("/") if place.count("/") > 1 else place, np.array(value)
    elif isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, its in pairs:
            yield from _arrays(its, f"{place}{key}/")


def _number(value: Any) -> Any:
    """A tensor of one number as that number, as a count of steps or a sum over all tensors may be."""
    return value.item() if hasattr(value, "numel") and value.numel() == 1 else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


class OfNames(OfTorch):
    """Adam-mini, which sees by a parameter's name what it is."""

    def given(self) -> Any:
        return [(f"{'mlp' if p.ndim == 2 else 'block'}.{i}", p) for i, p in enumerate(self.params)]


class OfSophia(OfTorch):
    """SophiaG, which takes the gradient of sampled labels from the parameters, too."""

    def step(self, grads: list[np.ndarray | None], lr: float, signals: Signals) -> None:
        import torch

        for p, g, sampled in zip(self.params, grads, signals["sampled"], strict=True):
            p.grad = None if g is None else torch.tensor(sampled, dtype=torch.float64)
        self.optimizer.update_hessian()
        super().step(grads, lr, {})


class OfOptax:
    """A gradient transformation of optax; lr is a schedule."""

    def __init__(
        self,
        witness: Witness,
        values: dict[str, Any],
        starts: Arrays,
        lr: Callable[[int], float] | None,
    ):
        import jax

        jax.config.update("jax_enable_x64", True)
        import jax.numpy as jnp

        if lr is not None:
            rates = jnp.array([lr(t) for t in range(1, 200)])
            values = {**values, "lr": lambda count: rates[count]}
        self.params = [jnp.asarray(x) for x in starts]
        self.optimizer = eval(witness.call, {**peers.namespace(witness), **values})
        self.state = self.optimizer.init(self.params)

    def step(self, grads: list[np.ndarray | None], lr: float, _: Signals) -> None:
        import jax.numpy as jnp

        given = [jnp.asarray(g) for g in grads]
        updates, self.state = self.optimizer.update(given, self.state, self.params)
        self.params = [p + u for p, u in zip(self.params, updates, strict=True)]

    def arrays(self) -> Arrays:
        return [np.asarray(p) for p in self.params]


class OfKeras:
    """An optimizer of Keras."""

    def __init__(self, witness: Witness, values: dict[str, Any], starts: Arrays, _: Any):
        import jax

        jax.config.update("jax_enable_x64", True)
        import keras

        keras.config.set_floatx("float64")
        self.params = [keras.Variable(x, dtype="float64") for x in starts]
        self.optimizer = eval(witness.call, {**peers.namespace(witness), **values})
        self.optimizer.build(self.params)

    def step(self, grads: list[np.ndarray | None], lr: float, _: Signals) -> None:
        import jax.numpy as jnp

        self.optimizer.learning_rate = lr
        self.optimizer.apply([jnp.asarray(g) for g in grads])

    def arrays(self) -> Arrays:
        return [np.asarray(p.value) for p in self.params]

    def checkpoint(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """Its state and options, as ravine.torch reads them."""
        from ravine.torch.keras import keras_state_dict

        saved = keras_state_dict(self.optimizer, self.params)
        return dict(_arrays(saved["state"])), saved["param_groups"]


KINDS = {
    "optax": OfOptax,
    "keras": OfKeras,
    "adam_mini": OfNames,
    "sophia_opt": OfSophia,
}


def kind(witness: Witness) -> Any:
    """The class that steps a witness's optimizers."""
    return KINDS.get(witness.name.partition(".")[0], OfTorch)


def check_version(witness: Witness) -> None:
    """LookupError where another version is installed than the witness is of."""
    there = version(witness.distribution).partition("+")[0]
    if there != witness.version:
        raise LookupError(
            f"{witness.distribution} {there} is installed, and the witness is of {witness.version}"
        )


def misplaced(witness: Witness) -> list[str]:
    """What a witness says of options and defaults that is not so: of `needs`, `fixed` and `defaults`."""
    places, last = witness.name.split(".")[:-1], witness.name.split(".")[-1]
    peers.namespace(witness)
    try:
        theirs = signature(getattr(importlib.import_module(".".join(places)), last)).parameters
    except ValueError:
        return []
    defaults = {k: x.default for k, x in theirs.items()}
    wrong = [f"needs {k}={v!r}" for k, v in witness.needs.items() if defaults.get(k) != v]
    return wrong + [f"fixed {k}={v!r}" for k, v in witness.fixed.items() if defaults.get(k, v) is v]
