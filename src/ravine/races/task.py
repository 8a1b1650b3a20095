"""Tasks: what a race trains. A file in plain PyTorch, a bundled problem, or objects.

    # mytask.py
    "MNIST-1D: 40 numbers, 10 classes, an MLP."
    def data(): return (x, y), (x_held_out, y_held_out)      # or three parts: train, validation, test
    def model(): return nn.Sequential(...)
    loss = nn.functional.cross_entropy                       # of output and target
    steps, batch_size = 1500, 32

`loss` may also be `def loss(model, *batch)`. Without it, the model's output must have `.loss`, as in
Hugging Face's models, or the model must have Lightning's `training_step`. Optional are
`score(output, target)` or `score(model, *batch)`, `lower_is_better`, `target` and `schedule`. A part of
the data is a tuple of arrays or tensors, a dict of them, a Dataset, or a DataLoader.
"""

from __future__ import annotations

import inspect
import math
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ravine.files import exists, load, sources
from ravine.naming import typo
from ravine.races.examples import Batch, Examples, examples
from ravine.races.fingerprint import code, fingerprint

__all__ = ["SCHEDULES", "Task", "TaskError", "from_file", "from_objects", "problem", "problems"]

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda share: 1 - share,
    "cosine": lambda share: (1 + math.cos(math.pi * share)) / 2,
    "constant": lambda share: 1.0,
}
"""The factor of the learning rate, as a function of the share of the steps taken."""

_NEEDED = ("data", "model", "steps", "batch_size")
_OPTIONAL = ("loss", "score", "lower_is_better", "target", "schedule")
_EVALUATED = 1000  # examples at a time


class TaskError(ValueError):
    """A task that cannot be raced, with the reason in a sentence."""


@dataclass(frozen=True)
class Task:
    """A problem: data, how a model is made, what is minimised and how it is scored.

    name, about: its name, and a line about it. make: creates the model. loss: a function of output and
    target, or of a model and a batch if its first parameter is called model; None if the model provides
    it. train, validation, test: the parts of the data; choices are scored on validation, reports on test.
    steps, batch_size: the budget. score, lower_is_better, target, schedule: see the module. fixed:
    whether all seeds start with the same weights, those of an existing model. remarks: what everybody who
    races it must know. texts: its source, for the digest. source: the file that it comes from, from which
    other processes load it; "" for objects, which are pickled.
    """

    name: str
    make: Callable[[], nn.Module]
    loss: Callable[..., Any] | None
    train: Examples
    validation: Examples
    test: Examples
    steps: int
    batch_size: int
    about: str = ""
    score: Callable[..., Any] | None = None
    lower_is_better: bool | None = None
    target: float | None = None
    schedule: str = "linear"
    fixed: bool = False
    remarks: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    source: str = ""

    def __reduce__(self) -> Any:
        if self.source:
            changed = {k: getattr(self, k) for k in ("steps", "schedule")}
            return _again, (self.source, changed)
        return _rebuilt, ({k: getattr(self, k) for k in self.__dataclass_fields__},)

    @cached_property
    def digest(self) -> str:
        """The digest by which its results are found: of the code, the data and the initial weights.

        Comments, docstrings, layout and the name do not count. Neither do steps, batch size and schedule,
        which are part of a run's key.
        """
        parts = [self.train, self.validation, self.test]
        held_out = [self.score_name, self.lower, self.target, self.fixed]
        return fingerprint(*self.texts, *parts, self.model(0), *held_out)

    def model(self, seed: int) -> nn.Module:
        """A model with the initial weights of a seed, in training mode. Raises TaskError."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                made = self.make()
            except Exception as error:
                raise TaskError(f"{self.name}: model() raises {_what(error)}") from error
        if not isinstance(made, nn.Module):
            raise TaskError(f"{self.name}: model() returns {made!r}; it must be an nn.Module")
        if not any(p.requires_grad for p in made.parameters()):
            raise TaskError(f"{self.name}: the model has no parameter that can be trained")
        return made.train()

    def losses(self, model: Any, batch: Batch) -> Any:
        """The loss of a batch: a tensor with one number that has gradients."""
        if self.loss is not None and not _takes_model(self.loss):
            *inputs, target = batch
            return self.loss(model(*inputs), target)
        if self.loss is not None:
            return self.loss(model, *_unpacked(batch))
        if hasattr(model, "training_step"):
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", "You are trying to `self.log"
                )  # without a Trainer
                found = model.training_step(batch, 0)
            return found["loss"] if isinstance(found, Mapping) else found
        found = model(**batch) if isinstance(batch, Mapping) else model(*batch)
        return found["loss"] if isinstance(found, dict) else found.loss

    def evaluate(self, model: nn.Module, part: Examples) -> float:
        """The score on a part of the data: a mean over its examples, with the model in `eval()` mode."""
        training = [(module, module.training) for module in model.modules()]
        total = 0.0
        try:
            model.eval()
            with torch.no_grad():
                for index in torch.arange(len(part)).split(_EVALUATED):
                    total += len(index) * self._scored(model, part.batch(index))
        finally:
            for module, mode in training:
                module.training = mode
        return total / len(part)

    def _scored(self, model: nn.Module, batch: Batch) -> float:
        if self.score_name == "loss":
            return float(self.losses(model, batch))
        if self.score is not None and _takes_model(self.score):
            return float(self.score(model, *_unpacked(batch)))
        *inputs, target = batch
        output = model(*inputs)
        if self.score is not None:
            return float(self.score(output, target))
        return float((output.argmax(1) == target).double().mean())

    @cached_property
    def score_name(self) -> str:
        """The name of the score: that of the task's function, or "accuracy", or "loss"."""
        if self.score is not None:
            return getattr(self.score, "__name__", "score")
        if self.loss is None or _takes_model(self.loss):
            return "loss"
        batch = self.train.batch(torch.arange(min(2, len(self.train))))
        if isinstance(batch, Mapping) or batch[-1].ndim != 1 or batch[-1].is_floating_point():
            return "loss"
        with torch.no_grad():
            output = self.model(0).eval()(*batch[:-1])
        classes = isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] > 1
        return "accuracy" if classes else "loss"

    @property
    def lower(self) -> bool:
        """Whether a lower score is better; by default if it is a loss."""
        return self.score_name == "loss" if self.lower_is_better is None else self.lower_is_better

    def reached(self, score: float) -> bool:
        """Whether a score is at the target or better."""
        if self.target is None:
            return False
        return score <= self.target if self.lower else score >= self.target

    def generator(self, seed: int) -> torch.Generator:
        """The generator that draws the order of a seed's batches."""
        return torch.Generator().manual_seed(seed)

    def order(self, seed: int) -> Iterator[Tensor]:
        """The batches of a seed, as indices: an endless series of epochs, each a permutation."""
        generator, n = self.generator(seed), len(self.train)
        rest = torch.empty(0, dtype=torch.long)
        while True:
            while len(rest) < self.batch_size:
                rest = torch.cat([rest, torch.randperm(n, generator=generator)])
            batch, rest = rest[: self.batch_size], rest[self.batch_size :]
            yield batch

    def check(self) -> None:
        """Raise TaskError, saying why, if the task cannot be raced: data that does not fit, a bad loss."""
        model, index = self.model(0), next(self.order(0))
        try:
            with torch.random.fork_rng(devices=[]):
                loss = self.losses(model, self.train.batch(index))
        except Exception as error:
            raise TaskError(
                f"{self.name}: data, model and loss do not fit together: {_what(error)}; a batch is "
                f"{self.train.describe(index)}{self._without(model)}"
            ) from error
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise TaskError(
                f"{self.name}: the loss must be one number, a tensor; got {got}{self._without(model)}"
            )
        if not loss.requires_grad:
            raise TaskError(f"{self.name}: the loss does not depend on the model's parameters")
        if not math.isfinite(loss.item()):
            raise TaskError(
                f"{self.name}: the loss is {loss.item()} before the first step; "
                f"{self.train.unfit() or 'the data is finite, so look at the model and the loss'}"
            )
        for name, part in (("validation", self.validation), ("test", self.test)):
            try:
                score = self.evaluate(model, part)
            except Exception as error:
                raise TaskError(
                    f"{self.name}: the {name} part cannot be scored: {_what(error)}"
                ) from error
            if math.isnan(score):
                raise TaskError(
                    f"{self.name}: the score of the untrained model on the {name} part is nan; "
                    f"{part.unfit() or 'the data is finite, so look at the score'}"
                )

    def _without(self, model: nn.Module) -> str:
        """The source of the loss if the task has none."""
        if self.loss is not None:
            return ""
        if hasattr(model, "training_step"):
            return "; a race calls training_step without a Trainer, and it must return the loss"
        return "; there is no loss, so the model's output must have .loss"

    def within(self, steps: int | None = None, schedule: str | None = None) -> Task:
        """The same task with another budget or schedule; None leaves it. Raises TaskError."""
        steps = self.steps if steps is None else steps
        schedule = self.schedule if schedule is None else schedule
        return _checked(replace(self, steps=steps, schedule=schedule))


def _only_array(part: Examples) -> Tensor | None:
    """The array of a part that has only one."""
    content = None if part.collate else part.content
    return content[0] if isinstance(content, tuple) and len(content) == 1 else None


def _takes_model(function: Callable[..., Any]) -> bool:
    """Whether a loss or score takes a model and a batch, because its first parameter is called model."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return bool(names) and names[0] in ("model", "net", "module")


def _unpacked(batch: Batch) -> tuple[Any, ...]:
    return (batch,) if isinstance(batch, Mapping) else batch


def _what(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _checked(task: Task) -> Task:
    for name in ("steps", "batch_size"):
        value = getattr(task, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise TaskError(
                f"{task.name}: {name}={value!r} is invalid; {name} must be a whole number of at least 1"
            )
    if task.schedule not in SCHEDULES:
        raise TaskError(
            f"{task.name}: schedule={task.schedule!r} is invalid; schedule must be "
            f"{', '.join(SCHEDULES)}"
        )
    if task.lower_is_better not in (None, True, False):
        raise TaskError(
            f"{task.name}: lower_is_better={task.lower_is_better!r} is invalid; it must be True or False"
        )
    if task.target is not None and not isinstance(task.target, (int, float)):
        raise TaskError(f"{task.name}: target={task.target!r} is invalid; target must be a number")
    if task.batch_size > len(task.train):
        raise TaskError(
            f"{task.name}: batch_size={task.batch_size} is invalid; there are "
            f"{len(task.train)} examples to train on"
        )
    return task


# ---- from a file ---------------------------------------------------------------------------------


def from_file(place: str) -> Task:
    """The task in a file; see the module. Raises TaskError, saying what is wrong with which line."""
    path = Path(place).expanduser()
    if not exists(path) or path.suffix != ".py":
        what = "is not a Python file" if exists(path) else "does not exist"
        raise TaskError(f"{place} {what}; name a file that has {', '.join(_NEEDED)} and loss")
    try:
        module = load(str(path))
    except LookupError as error:
        raise TaskError(str(error)) from error
    read = tuple(sorted(sources(str(path)).items()))
    return _from_module(str(path.resolve()), path.stem, module, tuple(code(x) for _, x in read))


def problems() -> dict[str, str]:
    """The bundled problems: the first line of each one's description, by its name."""
    import ravine.races.problems as package

    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    found = {name: import_module(f"{package.__name__}.{name}") for name in names}
    return {
        name.replace("_", "-"): (module.__doc__ or "").partition("\n")[0]
        for name, module in found.items()
    }


def problem(name: str) -> Task:
    """A bundled problem by its name. Raises TaskError, which lists the names."""
    there = problems()
    if name not in there:
        raise TaskError(
            f"no problem is called {name!r}; there are {', '.join(there)}{typo(name, there)}"
        )
    module = import_module(f"ravine.races.problems.{name.replace('-', '_')}")
    text = Path(str(module.__file__)).read_bytes()
    return _from_module(f"problem:{name}", name, module, (code(text),))


_made: dict[tuple[str, tuple[str, ...]], Task] = {}


def _from_module(source: str, name: str, module: Any, texts: tuple[str, ...]) -> Task:
    if (source, texts) in _made:
        return _made[source, texts]
    there = vars(module)
    missing = [key for key in _NEEDED if key not in there]
    if missing:
        raise TaskError(
            f"{name}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; a task has "
            f"{', '.join(_NEEDED)} and loss, and may have {', '.join(_OPTIONAL[1:])}"
        )
    uncallable = [k for k in ("data", "model") if not callable(there[k])]
    if uncallable or isinstance(there["model"], nn.Module):
        key = (*uncallable, "model")[0]
        module = isinstance(there[key], nn.Module)
        what = f"a {type(there[key]).__name__}" if module else repr(there[key])
        raise TaskError(f"{name}: {key} is {what}; it must be a function, def {key}(): ...")
    try:
        parts = there["data"]()
    except ModuleNotFoundError as error:
        raise error
    except Exception as error:
        raise TaskError(f"{name}: data() raises {_what(error)}") from error
    optional = {k: there[k] for k in _OPTIONAL if k in there}
    given = {**optional, **{k: there[k] for k in ("steps", "batch_size")}}
    about = (there.get("__doc__") or "").strip().partition("\n")[0]
    made = _task(name, there["model"], parts, about=about, texts=texts, source=source, **given)
    _made.clear()  # the data of one task at a time
    _made[source, texts] = made
    return made


def _again(source: str, changed: dict[str, Any]) -> Task:
    kind, _, name = source.partition(":")
    return (problem(name) if kind == "problem" else from_file(source)).within(**changed)


def _rebuilt(fields: dict[str, Any]) -> Task:
    return Task(**fields)


# ---- from objects --------------------------------------------------------------------------------


def from_objects(
    model: nn.Module | Callable[[], nn.Module],
    data: Any,
    loss: Callable[..., Any] | None = None,
    *,
    held_out: Any = None,
    test: Any = None,
    name: str = "task",
    steps: int = 1000,
    batch_size: int | None = None,
    **optional: Any,
) -> Task:
    """A task made of existing objects; the keywords are those of a file.

    model: a function that creates one, with new weights for each seed; or a model, with whose weights
    all seeds start. data, held_out, test: the parts; without `held_out`, a fifth of the data is held out.
    batch_size: by default that of the DataLoader, or 32, or the number of examples if there are fewer.
    """
    unknown = [k for k in optional if k not in (*_OPTIONAL, "about")]
    if unknown:
        raise TypeError(
            f"{unknown[0]!r} is not part of a task; the parts are {', '.join(_OPTIONAL)}"
        )
    size = batch_size or getattr(data, "batch_size", None)
    parts = [part for part in (data, held_out, test) if part is not None]
    texts = tuple(code(x) for x in (model, loss, optional.get("score")) if x is not None)
    given = {"loss": loss, "steps": steps, "batch_size": size, "texts": texts, **optional}
    if isinstance(model, nn.Module):
        return _task(name, _Copy(model), tuple(parts), fixed=True, **given)
    if not callable(model):
        raise TaskError(f"model is {model!r}; it must be an nn.Module or a function that makes one")
    return _task(name, model, tuple(parts), **given)


class _Copy:
    """Creates copies of a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self) -> nn.Module:
        from copy import deepcopy

        return deepcopy(self.model)


def _task(name: str, make: Callable[[], nn.Module], parts: Any, **given: Any) -> Task:
    remarks = ["every seed begins with the model's own weights"] if given.get("fixed") else []
    if not isinstance(parts, (tuple, list)) or not 1 <= len(parts) <= 3:
        many = f"{len(parts)} parts" if isinstance(parts, (tuple, list)) else f"{parts!r:.60}"
        raise TaskError(
            f"{name}: data() returns {many}; it must return the parts of the data, (x, y), "
            "(x_held_out, y_held_out), or three of them: train, validation, test"
        )
    try:
        made = [examples(part) for part in parts]
    except (TypeError, ValueError) as error:
        raise TaskError(f"{name}: {error}") from error
    if len(made) == 1:
        made = [*made[0].split(0.2)]
        remarks.append("a fifth of the data is held out, since no held-out part is given")
    if len(made) == 2:
        made.append(made[1])
        remarks.append(
            "one held-out part serves for choosing and for reporting, so that the tuned scores are a "
            "little too good; give three parts: train, validation, test"
        )
    if any(len(part) == 0 for part in made):
        raise TaskError(f"{name}: a part of the data has no examples")
    given.setdefault("loss", None)
    loss, array = given["loss"], _only_array(made[0])
    if loss is not None and not _takes_model(loss) and array is not None:
        raise TaskError(
            f"{name}: a part of the data is one array, {tuple(array.shape)}, but the loss takes an output "
            "and a target; write each part as a tuple: (x, y), (x_held_out, y_held_out)"
        )
    if given["batch_size"] is None:
        given["batch_size"] = min(32, len(made[0]))
    task = Task(name, make, train=made[0], validation=made[1], test=made[2], **given)
    return _checked(replace(task, remarks=tuple(remarks)))
