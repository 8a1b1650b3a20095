from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ravine.checks.options import arguments, options, signature
from ravine.checks.subjects import CouldNotRun, subject
from ravine.rules import adam, lion, momentum_classical, sgd

HERE = str(Path(__file__).with_name("strangers.py"))


def _path(made, steps=3):
    running = made.make([np.ones((2, 3)), np.full((2, 3), 2.0)], **made.needed)
    rows = []
    for t in range(steps):
        running.step([np.full((2, 3), 1.0 + t), np.full((2, 3), -1.0)])
        rows.append(np.stack(running.parameters()))
    return np.stack(rows)


def _rule_path(rule, steps=3, **values):
    rows, state = [], [None, None]
    params = [np.ones((2, 3)), np.full((2, 3), 2.0)]
    for t in range(1, steps + 1):
        grads = [np.full((2, 3), float(t)), np.full((2, 3), -1.0)]
        for i in range(2):
            its = state[i] if state[i] is not None else rule.init(params[i], **values)
            params[i], state[i] = rule.update(params[i], grads[i], its, t, **values)
        rows.append(np.stack(params))
    return np.stack(rows)


FORMS = {
    "PerArray": ("arrays", adam, {}),
    "ByName": ("arrays", momentum_classical, {"lr": 0.01, "momentum": 0.9}),
    "OfParams": ("arrays", sgd, {"lr": 0.1}),
    "course": ("function", momentum_classical, {"lr": 0.01, "momentum": 0.9}),
    "adam_step": ("function", adam, {}),
    "maker": ("function", sgd, {"lr": 0.1}),
}


def test_every_form_takes_the_path_of_its_rule():
    for name, (kind, rule, values) in FORMS.items():
        made = subject(f"{HERE}:{name}")
        assert made.kind == kind, name
        np.testing.assert_allclose(
            _path(made), _rule_path(rule, **values), rtol=1e-13, err_msg=name
        )


def test_a_step_is_counted_from_one():
    made = subject(f"{HERE}:counting")
    expected = 1 - 0.1 * np.cumsum([1.0, 2 / 2**0.5, 3 / 3**0.5])
    np.testing.assert_allclose(_path(made)[:, 0, 0, 0], expected)


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_of_torch():
    import torch

    for made in (
        subject("torch.optim:Adam", {"lr": 1e-3}),
        subject("torch.optim.Adam"),
        subject(torch.optim.Adam),
        subject("adam"),
        subject(adam),
        subject("ravine.torch:Adam"),
        subject("examples/minimal_optimizers.py:Adam"),
        subject(lambda params, lr=1e-3: torch.optim.Adam(params, lr=lr)),
        subject("torch.optim:SparseAdam", {"eps": 1e-30}),
    ):
        assert made.kind == "torch"
        np.testing.assert_allclose(_path(made), _rule_path(adam), rtol=1e-7, err_msg=made.name)
        assert {"torch", "missing", "dtypes"} <= made.has
    made = subject(f"{HERE}:lion")  # a function that is a rule
    np.testing.assert_allclose(_path(made), _rule_path(lion))
    running = subject(torch.optim.AdamW).make([np.ones((3, 4))], "bfloat16")
    running.step([np.ones((3, 4))])
    assert running.params[0].dtype is torch.bfloat16
    assert running.state_bytes() == 2 * 2 * 12
    running.step([None])
    assert running.steps == 2
    kept = running.params[0].clone()
    running.step([None])
    assert torch.equal(running.params[0], kept)


def test_bytes_of_state():
    for name, arrays in {"PerArray": 2, "adam_step": 2, "ByName": 1, "maker": 0}.items():
        running = subject(f"{HERE}:{name}").make([np.ones((2, 3))] * 2)
        running.step([np.ones((2, 3))] * 2)
        assert running.state_bytes() == arrays * 2 * 6 * 8, name


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_hyperparameters_have_one_name_everywhere():
    made = subject("torch.optim:AdamW", {"lr": 0.1, "beta2": 0.99})
    assert made.values["beta1"] == 0.9
    assert made.values["beta2"] == 0.99
    assert made.arguments(beta1=0.5) == {"lr": 0.1, "betas": (0.5, 0.99)}
    assert subject(f"{HERE}:PerArray").arguments(lr=0.2, beta1=0.3) == {
        "learning_rate": 0.2,
        "b1": 0.3,
    }
    assert made.options["beta1"].spelt == "betas[0]"
    with pytest.raises(ValueError, match=r"no argument 'lrr'.*it has lr, betas"):
        subject("torch.optim:AdamW", {"lrr": 1})
    with pytest.raises(ValueError, match="no hyperparameter 'beta3'"):
        made.arguments(beta3=0.1)
    course = subject(f"{HERE}:course", {"learning_rate": 0.5})
    assert _path(course)[0, 0, 0, 0] == 0.5
    assert arguments("lr=1e-3, betas=(0.9, .99), foreach=None") == {
        "lr": 1e-3,
        "betas": (0.9, 0.99),
        "foreach": None,
    }
    for text in ("lr", "lr=x", "3", "**{}", "lr=1)("):
        with pytest.raises(ValueError, match="are invalid; write them as in a call"):
            arguments(text)


def test_options_of_other_forms():
    def makes(learning_rate=None, decay_rate=0.9, nesterov=False, name="it", betas=(0.5, 0.6)):
        return lambda params, grads: None

    made = subject(makes)
    assert {k: o.spelt for k, o in made.options.items()} == {
        "lr": "learning_rate",
        "decay_rate": "decay_rate",
        "nesterov": "nesterov",
        "beta1": "betas[0]",
        "beta2": "betas[1]",
    }
    assert made.missing == ["lr"]
    assert made.needed == {}  # it steps without

    def insists(learning_rate=None):
        return lambda params, grads: [
            p - learning_rate * g for p, g in zip(params, grads, strict=True)
        ]

    assert subject(insists).needed == {"lr": 1e-3}
    known = {"decay_rate": "alpha", "betas": ("nu1", "nu2")}
    assert [*options(signature(makes), {}, known)] == ["lr", "alpha", "nesterov", "nu1", "nu2"]


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_a_class_with_arguments():
    import torch

    made = subject(partial(torch.optim.Adam, lr=0.1))
    assert made.kind == "torch"
    assert made.values["lr"] == 0.1
    assert made.name == "Adam"


def test_what_cannot_run_says_why():
    for spec, phase, why in (
        (f"{HERE}:Exits", "make", r"it calls sys.exit\(3\) \(strangers.py, line"),
        (f"{HERE}:Shrinks", "step", "a step returns parameters of shapes"),
        (f"{HERE}:Missing", "load", "has no 'Missing'"),
        (f"{HERE}:NOTHING", "make", "neither a class nor a function, but of type int"),
        ("no_such_file.py:Adam", "load", "no file"),
    ):
        with pytest.raises(CouldNotRun, match=why) as caught:
            _path(subject(spec))
        assert caught.value.phase == phase
    with pytest.raises(LookupError, match="no rule is called 'adma'"):
        subject("adma")


def test_what_torch_calls_required_has_to_be_given():
    torch = pytest.importorskip("torch")
    required = type("_RequiredParameter", (), {})()  # as torch.optim.optimizer.required is

    class Old(torch.optim.SGD):
        def __init__(self, params, lr=required, momentum=0.0):
            assert lr is not required
            super().__init__(params, lr, momentum)

    its = subject(Old)
    assert its.missing == ["lr"]
    assert its.make([np.ones(2)], lr=0.1).optimizer.param_groups[0]["lr"] == 0.1


def test_what_else_it_does_is_noted_and_put_back(capsys):
    before = np.geterr()
    made = subject(f"{HERE}:Noisy")
    _path(made)
    assert made.heard.printed == "made"
    assert made.heard.changed == {
        "NumPy's handling of errors": "{'over': 'ignore'} became {'over': 'raise'}"
    }
    assert np.geterr() == before
    assert capsys.readouterr().out == ""
