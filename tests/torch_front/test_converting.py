"""Checkpoints of other packages: what each saved in the middle of its recorded path goes on with it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from witnesses import problem  # noqa: E402
from witnesses.following import TOLERANCE  # noqa: E402

import ravine.torch  # noqa: E402
from ravine import registry  # noqa: E402
from ravine.torch import convert  # noqa: E402

SAVED = [
    pytest.param(made, witness, id=f"{name}-{witness.name}")
    for name, made in registry.own().items()
    for witness in made.card.known
    if witness.state and problem.read(problem.file_of(made, witness)).groups
]


@pytest.mark.parametrize(("made", "witness"), SAVED)
def test_a_converted_checkpoint_continues_the_path(made, witness):
    path = problem.read(problem.file_of(made, witness))
    shapes = [x.shape for x in problem.starts(witness.shapes)]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    row = np.split(path.loud[problem.HALF - 1], ends[:-1])
    params = [
        torch.tensor(x.reshape(shape), requires_grad=True)
        for x, shape in zip(row, shapes, strict=True)
    ]
    values = path.values["loud"]
    saved = tensors(path)
    groups = [{"params": [params[i] for i in its["params"]]} for its in saved["param_groups"]]
    told = {witness.options[k]: values[witness.options[k]] for k in witness.unsaved if k != "lr"}
    optimizer = ravine.torch.optimizer(made)(groups)
    optimizer.load_state_dict(convert(saved, from_=witness.name, **told))
    grads = problem.gradients(witness.shapes, witness.late)
    given = problem.signals(made, witness.shapes)
    for t in range(problem.HALF + 1, problem.STEPS + 1):
        for p, g in zip(params, grads[t - 1], strict=True):
            p.grad = None if g is None else torch.tensor(g)
        if not witness.constant_lr and "lr" in values:
            for group in optimizer.param_groups:
                group["lr"] = values["lr"] * problem.schedule(t)
        optimizer.step(**{k: list(map(torch.tensor, x)) for k, x in given[t - 1].items()})
        found = np.concatenate([p.detach().numpy().ravel() for p in params])
        way = np.abs(path.loud[:t] - path.loud[0]).max()
        assert np.abs(found - path.loud[t - 1]).max() <= TOLERANCE * way


def tensors(saved):
    """A checkpoint with tensors for its arrays."""
    if isinstance(saved, problem.Path_):
        return tensors(saved.checkpoint())
    if isinstance(saved, dict):
        return {name: tensors(value) for name, value in saved.items()}
    if isinstance(saved, list):
        return [tensors(value) for value in saved]
    return torch.tensor(saved) if isinstance(saved, np.ndarray) else saved


def adam():
    made = registry.get("adam")
    witness = next(w for w in made.card.witnesses if w.name == "torch.optim.Adam")
    return tensors(problem.read(problem.file_of(made, witness)))


def test_slots_that_the_options_leave_dead_need_not_be_there():
    """torch's RMSprop keeps a buffer with momentum only, and a mean when centered; Adafactor by shape."""
    torch.manual_seed(0)
    for name, options, slots in (
        ("RMSprop", {}, "v"),
        ("RMSprop", {"momentum": 0.5}, "vb"),
        ("RMSprop", {"centered": True}, "vm"),
        ("Adafactor", {"foreach": False}, "rc"),
    ):
        params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((3,), (4, 3))]
        theirs = getattr(torch.optim, name)(params, **options)
        for p in params:
            p.grad = torch.randn_like(p)
        theirs.step()
        ours = ravine.torch.optimizer(name.lower())(params)
        ours.load_state_dict(convert(theirs.state_dict(), from_=f"torch.optim.{name}"))
        assert {*ours.state[params[1]]} == {"step", *slots}
    saved = theirs.state_dict()
    del saved["state"][1]["row_var"]  # a matrix needs it
    with pytest.raises(ValueError, match=r"parameter 1 .* has no 'r'"):
        ours.load_state_dict(convert(saved, from_="torch.optim.Adafactor"))


def test_what_is_not_known_is_refused():
    with pytest.raises(LookupError, match=r"from_='timm\.Nothing' is invalid.*torch\.optim\.Adam"):
        convert(adam(), from_="timm.Nothing")
    with pytest.raises(LookupError, match="from_='Adam' is invalid"):
        convert(adam(), from_="Adam")


def test_what_a_package_does_not_save_is_told():
    made = registry.get("came")
    witness = next(w for w in made.card.witnesses if w.unsaved)
    saved = tensors(problem.read(problem.file_of(made, witness)))
    for told, d in (({}, 1.0), ({"d": 2.0}, 2.0)):
        assert convert(saved, from_=witness.name, **told)["param_groups"][0]["d"] == d
    with pytest.raises(TypeError, match=r"'beta1' cannot be given for .*CAME; only d may be"):
        convert(saved, from_=witness.name, beta1=0.5)
    with pytest.raises(
        TypeError, match=r"'lr' cannot be given .* it saves everything that matters"
    ):
        convert(adam(), from_="torch.optim.Adam", lr=0.5)


def test_another_number_of_velocities_is_refused():
    made = registry.get("aggmo")
    saved = tensors(problem.read(problem.file_of(made, made.card.witnesses[0])))
    saved["param_groups"][0]["betas"] = [0.0, 0.9]
    with pytest.raises(ValueError, match=r"betas=\[0.0, 0.9\], and aggmo has 3 of these here"):
        convert(saved, from_="pytorch_optimizer.AggMo")


def test_groups_that_differ_in_what_is_shared_are_refused():
    """dog.DoG has a distance for each group, and the rule one for all tensors."""
    made = registry.get("dog")
    saved = tensors(problem.read(problem.file_of(made, made.card.witnesses[0])))
    (group,) = saved["param_groups"]
    parts = [
        {**group, "params": [i], "init_buffer": {0: group["init_buffer"][i]}} for i in range(4)
    ]
    same = {**saved, "param_groups": parts}
    assert len(convert(same, from_="dog.DoG")["param_groups"]) == 4
    parts[1]["rbar"] = 2 * parts[1]["rbar"]
    with pytest.raises(ValueError, match="its groups differ in 'rbar', and dog has one r_max"):
        convert(same, from_="dog.DoG")


def test_what_is_no_checkpoint_is_refused():
    with pytest.raises(ValueError, match="'state' and 'param_groups'"):
        convert({"model": 1}, from_="torch.optim.Adam")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda c: c["state"][0].pop("exp_avg"), "the state of parameter 0 has no 'exp_avg'"),
        (lambda c: c["state"][0].pop("step"), "the state of parameter 0 has no count of steps"),
        (lambda c: c["param_groups"][0].pop("betas"), "its group 0 does not have 'betas'"),
        (lambda c: c["param_groups"][0].update(maximize=True), "group 0 has maximize=True"),
    ],
)
def test_what_is_missing_or_differs_is_named(break_it, says):
    checkpoint = adam()
    break_it(checkpoint)
    with pytest.raises(ValueError, match=says):
        convert(checkpoint, from_="torch.optim.Adam")
