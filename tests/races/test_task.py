"""Tasks: files in plain PyTorch, objects, and a clear message for everything that cannot be raced."""

import math
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ravine.races.task import TaskError, from_file, from_objects

GOOD = '''
"""Two classes of points, a small MLP."""
import numpy as np
from torch import nn

def data():
    r = np.random.default_rng(0)
    x = r.normal(size=(90, 3))
    y = (x[:, 0] > 0).astype(int)
    return (x[:50], y[:50]), (x[50:70], y[50:70]), (x[70:], y[70:])

def model():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

loss = nn.functional.cross_entropy
steps, batch_size = 20, 8
'''


@pytest.fixture
def write(tmp_path):
    def write(text, name="mytask.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


def test_a_file_in_plain_pytorch_is_a_task(write):
    task = from_file(write(GOOD))
    task.check()
    assert (task.name, task.about) == ("mytask", "Two classes of points, a small MLP.")
    assert (task.steps, task.batch_size) == (20, 8)
    assert [len(x) for x in (task.train, task.validation, task.test)] == [50, 20, 20]
    x, y = task.train.batch(torch.tensor([0, 3]))
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    assert (task.score_name, task.lower, task.remarks) == ("accuracy", False, ())


def test_weights_and_batches_follow_from_the_seed(write):
    task = from_file(write(GOOD))
    before = torch.random.get_rng_state()

    def weights(seed):
        return torch.cat([p.flatten() for p in task.model(seed).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))
    assert torch.equal(torch.random.get_rng_state(), before)
    batches = [[next(order) for _ in range(7)] for order in (task.order(1), task.order(1))]
    assert all(map(torch.equal, *batches))
    # 56 numbers in batches of 8: an epoch of 50, each of them once, and six of the next
    assert sorted(torch.cat(batches[0])[:50].tolist()) == list(range(50))


def test_the_digest_is_of_what_the_code_does(write):
    def digest(old="", new=""):
        text = GOOD.replace(old, new) if old else GOOD
        assert not old or text != GOOD
        return from_file(write(text)).digest

    base = digest()
    assert digest("Two classes", "2 classes") == base
    assert digest("def model():", "\n# the network\ndef model():") == base
    assert digest("steps, batch_size = 20, 8", "steps, batch_size = 20, 8\ntarget = 0.9") != base
    assert digest("nn.ReLU", "nn.Tanh") != base
    assert digest("default_rng(0)", "default_rng(1)") != base
    assert digest("cross_entropy", "multi_margin_loss") != base


def test_a_task_is_loaded_again_in_another_process(write):
    path = write(GOOD)
    task = from_file(path).within(7)
    code = (
        "import pickle, sys; task = pickle.load(sys.stdin.buffer); print(task.digest, task.steps)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(task), capture_output=True, check=True
    )
    assert done.stdout.decode().split() == [task.digest, "7"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import numpy", "import numpyy", r"mytask\.py, line 3: ModuleNotFoundError"),
        ("steps, batch_size = 20, 8", "", "steps and batch_size are missing"),
        ("steps, batch_size = 20, 8", "steps, batch_size = 0, 8", "steps=0 is invalid"),
        ("steps, batch_size = 20, 8", "steps, batch_size = 2, 99", "there are 50 examples"),
        ("steps, batch_size = 20, 8", "steps = batch_size = 8\ntarget = '1'", "target='1'"),
        ("steps, batch_size = 20, 8", "steps = batch_size = 8\nschedule = 'x'", "linear, cosine"),
        ("def model()", "model = 3\ndef make()", "model is 3; it must be a function"),
        ("return nn.Sequential(", "return (", r"model\(\) returns \("),
        (
            "    return nn.Seq",
            "    1 / 0\n    return nn.Seq",
            r"model\(\) raises ZeroDivisionError",
        ),
        ("return (x[:50]", "1 / 0\n    return (x[:50]", r"data\(\) raises ZeroDivisionError"),
        ("return (x[:50], y[:50]),", "return x[:9], y[:9], x[9:],", "returns 5"),
        ("(x[:50], y[:50])", "(x[:50], y[:49])", r"\[50, 49\] examples; they must be equally long"),
        ("(x[70:], y[70:])", "(x[90:], y[90:])", "a part of the data has no example"),
        ("(x[70:], y[70:])", "'abc'", "a part of the data is of type str"),
        (
            "return (x[:50], y[:50]), (x[50:70], y[50:70]), (x[70:], y[70:])",
            "return x, y",
            "one array",
        ),
        ("nn.Linear(3, 4)", "nn.Linear(5, 4)", r"do not fit.*\(8, 3\) float32, \(8,\) int64"),
        ("nn.functional.cross_entropy", "lambda out, y: out[:, 0]", r"one number.*shape \(8,\)"),
        ("nn.functional.cross_entropy", "lambda out, y: 3.0", "one number, a tensor; got 3.0"),
        ("= nn.functional.cross_entropy", "= lambda o, y: y.float().mean()", "does not depend"),
        ("loss = nn", "lower_is_better = 1\nscore = lambda out, y: 1 / 0\nloss = nn", "validation"),
        ("nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)", "nn.ReLU()", "no parameter"),
    ],
)
def test_what_cannot_be_raced_is_said(write, old, new, message):
    assert old in GOOD
    with pytest.raises(TaskError, match=f"(?s){message}"):
        from_file(write(GOOD.replace(old, new))).check()


def test_numbers_that_are_not_finite_are_counted(write):
    text = GOOD.replace("    y =", "    x[:, 1] = np.inf\n    y =")
    with pytest.raises(TaskError, match="50 numbers in the data are not finite"):
        from_file(write(text)).check()


def test_a_file_that_is_not_there_is_said(write):
    with pytest.raises(TaskError, match="does not exist; name a file that has data, model"):
        from_file("no/such/task.py")
    with pytest.raises(TaskError, match="is not a Python file"):
        from_file(write("", "task.txt"))


def test_one_held_out_part_is_remarked(write):
    text = GOOD.replace("(x[50:70], y[50:70]), (x[70:], y[70:])", "(x[50:], y[50:])")
    task = from_file(write(text))
    assert task.validation is task.test
    assert "a little too good; give three parts" in task.remarks[0]


# ---- scores and losses ---------------------------------------------------------------------------


def points(n=40):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]])


def linear():
    return nn.Linear(3, 1)


def test_without_a_score_the_held_out_loss_counts():
    x, y = points()
    task = from_objects(linear, (x[:30], y[:30]), nn.functional.mse_loss, held_out=(x[30:], y[30:]))
    task.check()
    model = task.model(0)
    assert (task.score_name, task.lower) == ("loss", True)
    expected = nn.functional.mse_loss(model(x[30:]), y[30:]).item()
    assert task.evaluate(model, task.test) == pytest.approx(expected)


def test_a_score_is_a_mean_over_examples(monkeypatch):
    from ravine.races import task as module

    monkeypatch.setattr(module, "_EVALUATED", 7)  # 40 examples: five batches and a smaller one
    x, y = points()

    def worst(output, target):
        return (output - target).abs().mean()

    task = from_objects(linear, (x, y), nn.functional.mse_loss, held_out=(x, y), score=worst)
    model = task.model(0)
    assert (task.score_name, task.lower) == ("worst", False)
    assert task.evaluate(model, task.test) == pytest.approx((model(x) - y).abs().mean().item())


def test_evaluation_is_in_eval_mode_and_leaves_the_mode():
    x, y = points()

    def make():
        return nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 1))

    task = from_objects(make, (x, y), nn.functional.mse_loss, held_out=(x, y))
    model = task.model(0)
    model[1].eval()  # as people freeze a normalisation
    first = task.evaluate(model, task.test)
    assert first == task.evaluate(model, task.test)
    assert [m.training for m in model] == [True, False, True]


def test_a_loss_of_the_model_and_the_batch():
    x, y = points()

    def loss(model, x, y):
        return (model(x) - y).square().mean() + model.weight.square().sum()

    task = from_objects(linear, (x, y), loss, held_out=(x, y))
    model = task.model(0)
    assert task.losses(model, (x, y)).item() == pytest.approx(loss(model, x, y).item())


class WithLoss(nn.Module):
    """As the models of Hugging Face."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)

    def forward(self, inputs, labels):
        from types import SimpleNamespace

        return SimpleNamespace(loss=(self.inner(inputs) - labels).square().mean())


def test_a_model_whose_output_has_the_loss():
    x, y = points()
    part = {"inputs": x, "labels": y}
    task = from_objects(WithLoss, part, held_out=part)
    task.check()
    model = task.model(0)
    expected = (model.inner(x) - y).square().mean().item()
    assert task.losses(model, part).item() == pytest.approx(expected)
    assert task.evaluate(model, task.test) == pytest.approx(expected)


class Stepped(nn.Module):
    """As the modules of Lightning."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)

    def training_step(self, batch, number):
        x, y = batch
        return {"loss": (self.inner(x) - y).square().mean()}


def test_a_model_with_a_training_step():
    x, y = points()
    task = from_objects(Stepped, (x, y), held_out=(x, y))
    task.check()
    model = task.model(0)
    expected = (model.inner(x) - y).square().mean().item()
    assert task.losses(model, (x, y)).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("returned", "message"), [("None", "got None"), ("self.trainer", "do not fit together")]
)
def test_a_training_step_that_needs_its_trainer_is_told(returned, message):
    class Steps(Stepped):
        def training_step(self, batch, number):
            return eval(returned, {"self": self})

    task = from_objects(Steps, points(), held_out=points())
    with pytest.raises(TaskError, match=f"{message}.* without a Trainer, and it must return the"):
        task.check()


# ---- data as people have it ----------------------------------------------------------------------


class Pairs(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def doubled(items):
    x, y = zip(*items, strict=True)
    return torch.stack(x) * 2, torch.stack(y)


@pytest.mark.parametrize(
    ("make", "factor"),
    [
        (lambda x, y: (x, y), 1),
        (lambda x, y: [x.numpy(), y.tolist()], 1),
        (TensorDataset, 1),
        (Pairs, 1),
        (lambda x, y: DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True), 1),
        (lambda x, y: DataLoader(Pairs(x, y), batch_size=16, collate_fn=doubled), 2),
    ],
)
def test_data_as_people_have_it(make, factor):
    x, y = points()
    data = make(x, y)
    task = from_objects(linear, data, nn.functional.mse_loss, held_out=(x, y))
    task.check()
    assert task.batch_size == (16 if isinstance(data, DataLoader) else 32)
    index = torch.tensor([5, 0, 11])
    got = task.train.batch(index)
    assert torch.equal(got[0], factor * x[index])
    assert torch.equal(got[1], y[index])
    other = from_objects(linear, make(x + 1, y), nn.functional.mse_loss, held_out=(x, y))
    assert other.digest != task.digest


def test_without_a_held_out_part_a_fifth_is_held_out():
    x, y = points()
    task = from_objects(linear, (x, y), nn.functional.mse_loss)
    assert (len(task.train), len(task.validation)) == (32, 8)
    every = torch.cat([task.train.batch(torch.arange(32))[0], task.test.batch(torch.arange(8))[0]])
    assert torch.equal(every.sort(0).values, x.sort(0).values)
    assert "a fifth of the data is held out" in task.remarks[0]


def test_a_model_that_is_there_keeps_its_weights():
    x, y = points()
    model = linear()
    task = from_objects(model, (x, y), nn.functional.mse_loss, held_out=(x, y))
    assert all(torch.equal(task.model(s).weight, model.weight) for s in (0, 1))
    assert task.model(0) is not model
    assert "every seed begins with the model's own weights" in task.remarks


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"model": 3}, TaskError, "model is 3; it must be an nn.Module or a function"),
        ({"data": 3}, TaskError, "a part of the data is of type int"),
        (
            {"data": [{"x": 1}, {"x": 2}]},
            TaskError,
            "of type list, yields single examples; give a D",
        ),
        ({"colour": 3}, TypeError, "'colour' is not part of a task"),
        ({"batch_size": 1000}, TaskError, "batch_size=1000 is invalid"),
        ({"steps": True}, TaskError, "steps=True is invalid"),
    ],
)
def test_objects_that_are_no_task(changed, kind, message):
    x, y = points()
    given = {"model": linear, "data": (x, y), "loss": nn.functional.mse_loss, **changed}
    with pytest.raises(kind, match=message):
        from_objects(given.pop("model"), given.pop("data"), held_out=(x, y), **given)


def test_a_stream_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([])

    for data in (Stream(), DataLoader(Stream())):
        with pytest.raises(TaskError, match="cannot be shuffled by seed"):
            from_objects(linear, data, nn.functional.mse_loss)


def test_a_target_is_reached_from_its_side():
    x, y = points()
    for lower, reached in ((True, [True, True, False]), (False, [False, True, True])):
        task = from_objects(
            linear, (x, y), nn.functional.mse_loss, target=0.5, lower_is_better=lower
        )
        assert [task.reached(score) for score in (0.4, 0.5, 0.6)] == reached
        assert not task.reached(math.nan)
