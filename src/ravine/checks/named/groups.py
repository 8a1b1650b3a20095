"""Its parameters: in groups, with schedules, late, frozen, without gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ravine.checks.candidates import stepped
from ravine.checks.options import SURE
from ravine.checks.probe import Path, Probe, walked
from ravine.checks.registry import Context, Fault, Skip, check, failing, refusal
from ravine.checks.subjects import CouldNotRun

__all__: list[str] = []


@check("torch", "groups")
def groups_stand_alone(c: Context) -> str | None:
    """A group of parameters takes the same steps as it would in a separate optimizer with the same options.

    Runs: one tensor in a group, and two in a second one that has other values of lr, betas,
    weight_decay and so on; then optimizers of all tensors with either values.

    Fault: an option of a group is ignored, since the step reads it from `self`, or from the first
    group; or one group changes the steps of another.

    Fix: read every option from the group inside the loop over `self.param_groups`.
    """
    if c.coupled:
        raise Skip("the step of a tensor depends on the other tensors")
    names = [k for k, v in c.busy.items() if isinstance(v, float) and v]
    names = [k for k in names if _accepted(c, {k: _other(c, k)})]
    with failing("it does not take groups"):
        if _group_off(c, []):
            raise Fault("groups with equal options do not take the steps of one group")
    try:
        if not _group_off(c, names):
            return None
    except CouldNotRun:
        pass
    ignored, refused = [], []
    has = c.fresh(**c.busy).optimizer.param_groups[0]
    for k in names:
        try:
            if _group_off(c, [k]):
                ignored.append(k)
        except CouldNotRun:
            refused.append(k)
    spelt = {k: c.subject.options[k].spelt for k in names}
    wrong = [spelt[k] for k in ignored if k in SURE and c.subject.options[k].argument in has]
    if wrong:
        is_are = "is" if len(wrong) == 1 else "are"
        raise Fault(f"a group's own {', '.join(wrong)} {is_are} accepted and ignored")
    kinds = {"is not used": ignored, "is refused": refused}
    return "; ".join(
        f"a group's own {', '.join(spelt[k] for k in its)} {what}"
        for what, its in kinds.items()
        if its
    )


def _other(c: Context, name: str) -> float:
    return 0.7 * c.busy[name]


def _accepted(c: Context, values: dict[str, float]) -> bool:
    try:
        c.fresh(**{**c.busy, **values})
    except CouldNotRun:
        return False
    return True


def _group_off(c: Context, names: list[str]) -> float:
    """How far two groups are from each alone, where the second has these options otherwise."""
    other = {k: _other(c, k) for k in names}
    arguments = c.subject.arguments(**{**c.busy, **other})
    own = {c.subject.options[k].argument: arguments[c.subject.options[k].argument] for k in names}
    grads = c.probe.grads[:5]
    both = walked(
        c.fresh(
            None, "float64", lambda ps: [{"params": ps[:1]}, {"params": ps[1:], **own}], **c.busy
        ),
        grads,
    )
    its = c.probe.starts[0].size
    first = c.path(5, **c.busy)[:, :its]
    second = Probe(c.probe.starts, grads).follow(c.fresh(**{**c.busy, **other}))[:, its:]
    return max(c.off(both[:, :its], first), c.off(both[:, its:], second))


@check("torch", "groups")
def schedules_act_at_once(c: Context) -> str | None:
    """A learning rate set by a scheduler takes effect in the next step.

    Runs: five steps, `param_groups[i]["lr"]` made a third, four more. Where the rule is known, the
    path is compared with the rule's; where it is not, with the path on which nothing was set.

    Fault: the step still uses the old value, since it is read from `self.lr`, or was captured in a
    closure when the optimizer was made; or it takes effect one step late.

    Fix: read `group["lr"]` in every step.
    """
    if "lr" not in c.subject.options or "lr" not in c.busy:
        raise Skip("it has no lr")
    lr, argument = float(c.busy["lr"]), c.subject.options["lr"].argument
    running = c.fresh(**c.busy)
    if argument not in running.optimizer.param_groups[0]:
        raise Fault("its groups have no lr that a scheduler could set")
    before = walked(running, c.probe.grads[:5])
    for group in running.optimizer.param_groups:
        group[argument] = lr / 3
    path = np.concatenate([before, walked(running, c.probe.grads[5:9])[1:]])
    rule = _scheduled(c, [lr] * 5 + [lr / 3] * 4)
    if rule is not None:
        if c.off(path, rule):
            far = [c.off(path[i : i + 2], rule[i : i + 2]) for i in range(9)]
            step = next((i for i, x in enumerate(far, 1) if x), 6)
            raise Fault(
                "a new lr does not take effect in the next step",
                f"set after step 5, it leaves the rule with that lr in step {step}",
            )
        return None
    unset = c.path(**c.busy)
    if not np.array_equal(path[6], unset[6], equal_nan=True):
        return None
    if np.array_equal(path, unset[:10], equal_nan=True):
        return "a new lr in param_groups has no effect"
    raise Fault(
        "a new lr takes effect one step late", "set after step 5, it changes nothing in step 6"
    )


def _scheduled(c: Context, lrs: list[float]) -> Path | None:
    """The path of the rule that it is, with an lr for each step."""
    trial = c.busy_trial()
    if trial is None or c.coupled or "lr" not in trial.values:
        return None
    return stepped(trial, c.probe.starts, lambda t, i, p: c.probe.grads[t - 1, i], lrs)


@check("torch")
def lr_as_a_tensor(c: Context) -> str | None:
    """A tensor as learning rate acts like the number, or is refused.

    Runs: six steps with lr as a tensor of no dimensions, as torch.compile and CUDA graphs need it.

    Fault: the steps differ from those with the number, for example since lr is stepped like state,
    or rounded.

    Fix: use lr in products only, or refuse it with an error that says so.
    """
    import torch

    lr = c.busy.get("lr")
    if not isinstance(lr, float):
        raise Skip("it has no lr")
    values: dict[str, Any] = {**c.busy, "lr": torch.tensor(lr, dtype=torch.float64)}
    try:
        path = walked(c.fresh(**values), c.probe.grads[:6])
    except CouldNotRun as error:
        return f"refuses lr as a tensor: {refusal(error)}"
    plain = c.path(6, **c.busy)
    if np.isfinite(plain).all() and not np.isfinite(path).all():
        raise Fault("with lr as a tensor parameters become NaN or infinite")
    far = c.off(path, plain)
    if far:
        became = float(values["lr"])
        says = f"with lr as a tensor it takes different steps, by {far:.1e} of a step"
        changed = f"it changes the tensor in place: lr was {lr:g} and became {became:.4g}"
        raise Fault(says, *([changed] if became != lr else []))
    return None


@check("torch", "groups")
def late_parameters(c: Context) -> str | None:
    """Parameters that are added later are stepped as a fresh optimizer would step them.

    Runs: two tensors for three steps; then add_param_group with a third, and four more steps.

    Fault: the new tensor stands still, or is stepped as if it were as old as the optimizer: its
    averages have just begun, and the bias correction takes them for complete. Or the others change.

    Fix: create state in the step, where `self.state[p]` is empty, and count steps there:
    `self.state[p]["step"]`.
    """
    if c.coupled:
        raise Skip("the step of a tensor depends on the other tensors")
    running = c.fresh(None, "float64", lambda ps: ps[:2], **c.busy)
    grads, starts = c.probe.grads[:7], c.probe.starts
    every = [walked(running, [[*g[:2], None] for g in grads[:3]])]
    if not hasattr(running.optimizer, "add_param_group"):
        raise Skip("it has no add_param_group")
    with failing("parameters cannot be added"):
        running.optimizer.add_param_group({"params": running.params[2:]})
    with failing("it cannot be stepped after parameters were added"):
        every.append(walked(running, grads[3:])[1:])
    path, its = np.concatenate(every), starts[0].size
    fresh = Probe(starts[2:], grads[3:, 2:]).follow(c.fresh(list(starts[2:]), **c.busy))
    late = path[3:, 2 * its :]
    if (late == late[0]).all() and (fresh != fresh[0]).any():
        raise Fault("a parameter that is added later is not stepped")
    far = c.off(late, fresh)
    if far:
        raise Fault(
            "a parameter that is added later is not stepped as by a fresh optimizer",
            f"from the {_first(c, late, fresh)} on, by up to {far:.2g} of a step",
        )
    if c.off(path[:, : 2 * its], c.path(7, **c.busy)[:, : 2 * its]):
        raise Fault("adding a parameter changes the steps of the others")
    return None


def _first(c: Context, path: Path, other: Path) -> str:
    """The number of the first step in which two paths part."""
    pairs = range(1, len(path))
    step = next((i for i in pairs if c.off(path[i - 1 : i + 1], other[i - 1 : i + 1])), 1)
    return {1: "first", 2: "second", 3: "third"}.get(step, f"{step}th") + " step"


@check("missing")
def missing_gradients(c: Context) -> str | None:
    """A parameter whose gradient is None stays where it is, and the others are stepped as usual.

    Runs: four steps, of which the first and the third have no gradient for one of three tensors.

    Fault: the step raises, the parameter moves, or the others move otherwise. Layers that a batch
    does not use have no gradients.

    Fix: `if p.grad is None: continue`, before anything else in the loop.
    """
    running = c.fresh(**c.busy)
    grads, its = c.probe.grads[:4], c.probe.starts[0].size
    given = [[g[0], g[1] if t % 2 else None, g[2]] for t, g in enumerate(grads)]
    try:
        path = walked(running, given)
    except CouldNotRun as error:
        return _promised(c, f"it cannot step where a gradient is None: {error.why}")
    middle = path[:, its : 2 * its]
    if not c.coupled and any((middle[t + 1] != middle[t]).any() for t in (0, 2)):
        raise Fault("a parameter whose gradient is None moves")
    if c.coupled:
        return None
    others, usual = np.delete(path, np.s_[its : 2 * its], axis=1), c.path(4, **c.busy)
    if c.off(others, np.delete(usual, np.s_[its : 2 * its], axis=1)):
        raise Fault("where a gradient is None, the other parameters are stepped differently")
    fresh = Probe(c.probe.starts[1:2], grads[1::2, 1:2]).follow(
        c.fresh(list(c.probe.starts[1:2]), **c.busy)
    )
    if c.off(middle[[0, 2, 4]], fresh):
        return "steps in which a parameter has no gradient also count as its steps"
    return None


@check("missing")
def frozen_parameters(c: Context) -> str | None:
    """A frozen parameter may be among the others, and stays where it is.

    Runs: three steps with one tensor whose requires_grad is False.

    Fault: the optimizer cannot be made, cannot be stepped, or moves the frozen parameter, for
    example by weight decay.

    Fix: skip what has no gradient, in the loop and where state is created.
    """

    def frozen(params: list[Any]) -> list[Any]:
        params[1].requires_grad_(False)
        return params

    try:
        running = c.fresh(None, "float64", frozen, **c.busy)
        path = walked(running, [[g[0], None, g[2]] for g in c.probe.grads[:3]])
    except CouldNotRun as error:
        return _promised(c, f"it fails with a frozen parameter: {error}")
    its = c.probe.starts[0].size
    if not c.coupled and (path[:, its : 2 * its] != path[0, its : 2 * its]).any():
        raise Fault("a frozen parameter moves")
    return None


def _promised(c: Context, says: str) -> str:
    """A fault of a class of torch.optim.Optimizer, which takes over what that promises; else a remark."""
    from torch.optim import Optimizer

    if isinstance(c.fresh(**c.busy).optimizer, Optimizer):
        raise Fault(says)
    return says
