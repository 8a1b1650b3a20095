"""Names as people write them: each leads to what it means, and slips to nothing else."""

import contextlib
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ravine import RuleError, get, names, naming, registry
from ravine.registry import resolve

WRITTEN = {
    # torch.optim
    "SGD": "sgd",
    "Adam": "adam",
    "AdamW": "adamw",
    "NAdam": "nadam",
    "RAdam": "radam",
    "Adamax": "adamax",
    "Adagrad": "adagrad",
    "Adadelta": "adadelta",
    "Adafactor": "adafactor",
    "RMSprop": "rmsprop",
    "Rprop": "rprop",
    "ASGD": "asgd",
    "Muon": "muon",
    "SparseAdam": "adam_eps_hat",
    "torch.optim.AdamW": "adamw",
    "torch.optim.SGD(momentum=0.9)": "momentum(momentum=0.9)",
    "SGD(momentum=0.8, nesterov=True)": "nesterov(momentum=0.8)",
    "SGD(nesterov=True, momentum=0.8)": "nesterov(momentum=0.8)",
    "SGD(nesterov=False)": "sgd",
    "SGD(momentum=0)": "sgd",
    "Adam(amsgrad=True)": "amsgrad",
    "AdamW(amsgrad=True)": "decoupled_decay(amsgrad)",
    "ravine.torch.AdamW": "adamw",
    "pytorch Adam": "adam",
    "optim.Adam": "adam",
    "optim.SGD(momentum=0.9)": "momentum(momentum=0.9)",
    "torch.optim.adamw.AdamW": "adamw",
    "torch.optim._muon.Muon": "decoupled_decay(muon, weight_decay=0.1, bfloat16=True)",
    "NAdamW": "decoupled_decay(nadam)",  # so called in torch's documentation
    "RAdamW": "decoupled_decay(radam)",
    "NAdam(decoupled_weight_decay=True, weight_decay=0.1)": "decoupled_decay(nadam, weight_decay=0.1)",
    # the posts
    "SGD_with_momentum": "momentum",
    "SGDOptimizer": "sgd",
    "SGDOptimizer_with_momentum": "momentum",
    "RMSPropOptimizer": "rmsprop",
    "AdamOptimizer": "adam",
    "stochastic_gradient_descent": "sgd",
    "stochastic_gradient_descent_with_momentum": "momentum",
    "sgd_with_momentum": "momentum",
    "rmsprop_optimization": "rmsprop",
    "adam_optimization": "adam",
    "SGD with momentum": "momentum",
    "vanilla gradient descent": "sgd",
    "mini-batch gradient descent": "sgd",
    "classical momentum": "momentum_classical",
    "AMSGrad": "amsgrad",
    "AdaMax": "adamax",
    "Nadam": "nadam",
    # the literature, and how it is typed
    "heavy ball": "momentum_classical",
    "Heavy-Ball": "momentum_classical",
    "Polyak's heavy ball": "momentum_classical",
    "Nesterov": "nesterov",
    "NAG": "nesterov",
    "Nesterov's accelerated gradient": "nesterov",
    "sgd (with momentum)": "momentum",
    "RMS-prop": "rmsprop",
    "adam_w": "adamw",
    "ADAGRAD": "adagrad",
    "ＡＤＡＭ": "adam",
    "deeplearning.ai momentum": "momentum_ema",
    "SGD + momentum": "momentum",
    "SGD+momentum": "momentum",
    "SGD w/ Nesterov": "nesterov",
    "Momentum GD": "momentum",
    "Nesterov Accelerated Gradient (NAG)": "nesterov",
    "Stochastic Gradient Descent (SGD)": "sgd",
    "Adaptive Moment Estimation (Adam)": "adam",
    "the Adam optimizer": "adam",
    "Adam with L2 regularization": "l2(adam)",
    "Adam + L2": "l2(adam)",
    "Adam (AMSGrad)": "amsgrad",
    "RMSProp with momentum": "rmsprop(momentum=0.9)",
    "centered RMSprop": "rmsprop(centered=True)",
    "Nesterov-accelerated Adaptive Moment Estimation": "nadam",
    "clip_by_norm(l2(SGD + momentum), max_norm=0.5)": "clip_by_norm(l2(momentum), max_norm=0.5)",
    # Keras, at its defaults
    "keras.SGD": "sgd(lr=0.01)",
    "keras.optimizers.SGD(momentum=0.9)": "momentum_classical(lr=0.01, momentum=0.9)",
    "keras.SGD(learning_rate=0.1, momentum=0.9)": "momentum_classical(lr=0.1, momentum=0.9)",
    "keras.Adam(beta_1=0.8, epsilon=1e-3)": "adam_eps_hat(eps=0.001, beta1=0.8)",
    "optax.adam(learning_rate=0.1, b2=0.99)": "adam(lr=0.1, beta2=0.99)",
    "keras.Adam": "adam_eps_hat(eps=1e-07)",
    "tf.keras.optimizers.Adam": "adam_eps_hat(eps=1e-07)",
    "Keras Nadam": "nadam_keras",
    "keras.src.optimizers.adam.Adam": "adam_eps_hat(eps=1e-07)",
    "tf.keras.optimizers.legacy.SGD": "sgd(lr=0.01)",
    "optimizers.Adam(lr=0.1)": "adam_eps_hat(eps=1e-07, lr=0.1)",
    "keras.RMSprop": "rmsprop_keras",
    # optax
    "optax.sgd": "sgd",
    "optax.sgd(momentum=0.9, nesterov=True)": "nesterov(momentum=0.9)",
    "optax.adamw": "adamw(weight_decay=0.0001)",
    "optax.adamaxw": "decoupled_decay(adamax, weight_decay=0.0001)",
    "optax.contrib.muon": "muon_optax",
    "adamaxw": "decoupled_decay(adamax)",
    "optax.nadamw": "decoupled_decay(nadam_optax, weight_decay=0.0001)",
}


@pytest.mark.parametrize(("name", "meant"), WRITTEN.items())
def test_names_as_people_write_them(name, meant):
    assert resolve(name).name == meant


TORCH = [
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax"),
    *("Muon", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD", "SparseAdam"),
]


def test_every_class_of_torch_has_a_meaning():
    offered = ((name, getattr(torch.optim, name)) for name in torch.optim.__all__)
    classes = {name for name, made in offered if isinstance(made, type)} - {"LBFGS", "Optimizer"}
    for name in classes | {"Muon"}:  # torch has it since 2.9
        assert get(f"torch.optim.{name}").name == get(name).name or name == "Muon"


@pytest.mark.parametrize("name", [name for name in TORCH if hasattr(torch.optim, name)])
def test_a_name_of_torch_steps_as_torch_does(name):
    rule = get(f"torch.optim.{name}")
    random = np.random.default_rng(0)
    start, path = random.normal(size=(3, 2)), random.normal(size=(12, 3, 2))
    p = torch.nn.Parameter(torch.tensor(start))
    theirs = getattr(torch.optim, name)([p])
    q, state = start, rule.init(start)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # some of torch's state is of this dtype
    try:
        for t, g in enumerate(path, 1):
            p.grad = torch.tensor(g)
            if name == "SparseAdam":
                p.grad = p.grad.to_sparse()
            theirs.step()
            if name == "Muon":  # in bfloat16, which NumPy does not have
                q, state = rule.update(q, g, state, t, bfloat16=False)
            else:
                q, state = rule.update(q, g, state, t)
    finally:
        torch.set_default_dtype(default)
    tolerance = 1e-2 if name == "Muon" else 1e-12
    np.testing.assert_allclose(p.detach().numpy(), q, rtol=tolerance)


# Where each package got to from (0.5, -1, 2, 0.1) by the gradients below, at its defaults, optax at
# learning_rate=0.01: Keras 3.15.1 on JAX, and optax 0.2.8, in float64.
WITNESSES = {
    "keras.SGD": [
        0.49998123738922223,
        -0.9957211716421364,
        2.0015201369007216,
        0.015345841975319047,
    ],
    "keras.SGD(momentum=0.9)": [
        *(0.4999074366338295, -0.9090244602062164, 2.0016844999993775, -0.42497763355934365),
    ],
    "keras.SGD(momentum=0.9, nesterov=True)": [
        *(0.49989793035966873, -0.9138431858277307, 2.0030361869001605, -0.4571340282280904),
    ],
    "keras.Adam": [0.4956338417774183, -0.997033255654736, 2.0019607751256245, 0.09509159162087936],
    "keras.AdamW": [
        0.4955941363339921,
        -0.9969534332828688,
        2.0018006358030282,
        0.09508391832559318,
    ],
    "keras.Adadelta": [
        *(0.49999839602558765, -0.999999492504585, 2.000002506776003, 0.09999680914645089),
    ],
    "keras.Nadam": [0.4977569950788382, -0.998883230184542, 2.001133513546785, 0.09746773757743277],
    "optax.sgd": [
        0.49998123738922223,
        -0.9957211716421364,
        2.0015201369007216,
        0.015345841975319047,
    ],
    "optax.sgd(momentum=0.9)": [
        *(0.4999074366338295, -0.9090244602062164, 2.0016844999993775, -0.4249776335593441),
    ],
    "optax.sgd(momentum=0.9, nesterov=True)": [
        *(0.49989793035966873, -0.9138431858277307, 2.0030361869001605, -0.45713402822809074),
    ],
    "optax.adam": [
        0.45622892013779504,
        -0.9703326718051284,
        2.0196084159528525,
        0.05091588963833663,
    ],
    "optax.adamw": [
        *(0.4562196547412837, -0.970313108471608, 2.019568052804182, 0.050914705678992776),
    ],
    "optax.adamax": [
        *(0.46216174492752665, -0.9820294920963896, 2.0174842792486714, 0.05902959507848388),
    ],
    "optax.adamaxw": [
        *(0.4621523885265985, -0.9820097445838479, 2.017443955005751, 0.059028285178932174),
    ],
    "optax.adadelta": [
        *(0.49998186447086773, -0.9999887315251209, 2.000059737866955, 0.09992803354706215),
    ],
}


@pytest.mark.parametrize(("name", "end"), WITNESSES.items())
def test_a_name_of_keras_or_optax_steps_as_they_do(name, end):
    found = resolve(name)
    p, lr = np.array([0.5, -1.0, 2.0, 0.1]), {"lr": 0.01} if "optax" in name else {}
    state = found.rule.init(p)
    for t in range(20):
        scales = enumerate((1e-3, 1.0, 0.1, 5.0))
        g = np.array([scale * math.sin(1 + 0.7 * t + 2 * i) for i, scale in scales])
        p, state = found.rule.update(p, g, state, t + 1, **lr)
    np.testing.assert_allclose(p, end, rtol=1e-13)


def test_what_no_witness_is_for_says_that_it_differs():
    for package in ("keras", "optax"):
        for name, meant in naming.PACKAGES[package].items():
            head, _, option = name.partition(" with ")
            option = {
                "": "",
                "momentum": "momentum=0.9",
                "Nesterov": "momentum=0.9, nesterov=True",
            }.get(option, "amsgrad=True")
            witness = f"{package}.{head}" + (f"({option})" if option else "")
            expression = meant[0] if isinstance(meant, tuple) else meant
            cards = [get(rule).card for rule in re.findall(r"\w+", expression) if rule in names()]
            recorded = any(package in w.name for card in cards for w in card.witnesses)
            assert isinstance(meant, tuple) or witness in WITNESSES or recorded, witness
            if isinstance(meant, tuple):
                assert (
                    f"{package}.{name} is not here; the nearest is"
                    in resolve(f"{package} {name}").note
                )


def test_every_name_leads_to_a_rule():
    ours = registry.own()
    of_rules = {name: rule.card.names for name, rule in ours.items() if rule.card.names}
    meant = {}
    for rule, others in {**naming.WORDS, **of_rules}.items():
        assert resolve(rule).name == rule
        for other in others.split(", "):
            assert resolve(other).name == rule
            assert naming.plain(other) not in map(naming.plain, ours), (
                f"{other}: a rule has this name itself"
            )
            assert naming.plain(other) not in meant, (
                f"{other}: {meant[naming.plain(other)]} has this name, too"
            )
            meant[naming.plain(other)] = rule
    for table in naming.PACKAGES.values():
        for meant in table.values():
            get(meant if isinstance(meant, str) else meant[0])


@pytest.mark.parametrize(
    ("name", "note"),
    [
        (
            "Nadam",
            "Nadam is nadam here; keras.optimizers.Nadam is nadam_keras",
        ),
        ("l2(Nadam)", "Nadam is nadam here"),
        ("Muon", "torch.optim.Muon is decoupled_decay(muon, weight_decay=0.1, bfloat16=true)"),
        ("keras.AdamW with AMSGrad", "is decoupled_decay(amsgrad_keras, weight_decay=0.004"),
        ("optax.nadamw", "is decoupled_decay(nadam_optax, weight_decay=1e-4)"),
        ("optax.rprop", "optax applies the update of the step before"),
        ("sgd with momentum", "in Keras and the textbooks it is inside (momentum_classical)"),
        ("heavy ball", "in torch.optim and optax it is outside (momentum)"),
        ("Adam(amsgrad=True)", ""),
        ("NAdam", ""),
        ("nadam", ""),
        ("RMSprop", ""),
        ("SGD", ""),
        ("AdamW", ""),
        ("torch.optim.SGD(momentum=0.9)", ""),
        ("optax.sgd(momentum=0.9)", ""),
        ("momentum", ""),
        ("nag", ""),
    ],
)
def test_what_differs_elsewhere_is_said(name, note):
    found = resolve(name).note
    assert note in found
    assert bool(note) == bool(found)


VARIANTS = """
DSGD QSGD NSGD SGDR CAdam CAdamW PAdamW BAdam Madam GAdam AdamR AdamN AdamK MuonW AdagradW
WAdagrad RMSpropW iRprop iRprop+ iRprop- Rprop+ Rprop- Adam- NAGW AMSGradW NAdamP
"""


@pytest.mark.parametrize(
    "name", [*naming.OTHERS.split(), *VARIANTS.split(), "adam2", "SGD3", "zzzz"]
)
def test_no_suggestion_leads_to_another_optimizer(name):
    with pytest.raises(LookupError) as caught:
        get(name)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nn.Adam", "did you mean 'Adam'?"),  # not nadam
        ("mine.NAdam", "did you mean 'NAdam'?"),
        ("Adam with weight decay", "write decoupled_decay(Adam, weight_decay=...) or l2(Adam, "),
        ("SGD with weight_decay", "write decoupled_decay(SGD, weight_decay=...) or l2(SGD, "),
        ("keras.Ftrl", "`ravine list`"),
        ("Adam with momentum", "`ravine list`"),
    ],
)
def test_what_is_none_of_our_names_but_has_one_in_it(name, said):
    with pytest.raises(LookupError) as caught:
        get(name)
    assert f"no rule is called {name!r}; {said}" in str(caught.value)


@pytest.mark.parametrize("name", ["adam(lr=0.1, learning_rate=0.2)", "adam(b1=0.5, beta_1=0.6)"])
def test_an_option_has_one_name_at_a_time(name):
    with pytest.raises(ValueError, match="set the same hyperparameter twice"):
        get(name)


@pytest.mark.parametrize("name", ["Adam(amsgrad=0.5)", "SGD(l2=0.1)", "SGD(nesterov=2)"])
def test_no_number_is_dropped(name):
    with pytest.raises(ValueError, match="has no hyperparameter"):
        get(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("adma", "adam"),
        ("adamm", "adam"),
        ("aadam", "adam"),
        ("sgdd", "sgd"),
        ("adsm", "adam"),
        ("adm", "adam"),
        ("sdg", "sgd"),
        ("nadma", "nadam"),
        ("rmsporp", "rmsprop"),
        ("rmsprob", "rmsprop"),
        ("RMSpop", "rmsprop"),
        ("adagard", "adagrad"),
        ("adadleta", "adadelta"),
        ("momentun", "momentum"),
        ("nestrov", "nesterov"),
        ("hevy ball", "heavy ball"),
    ],
)
def test_slips_of_the_keyboard(name, meant):
    assert (
        naming.typo(name, [*names(), *naming.known(registry.own())]) == f"; did you mean {meant!r}?"
    )


# --- the language of stacks -----------------------------------------------------------------------

BARE = st.sampled_from(["adam", "heavy ball", "dir (1)/mine.py:lion", "a.b:c"])
OPTIONS = st.dictionaries(
    st.sampled_from(["lr", "weight_decay", "max_norm"]),
    st.floats(0, 1e6) | st.booleans(),
    max_size=2,
)


@given(BARE, st.lists(st.tuples(st.sampled_from(["l2", "x.py:cautious"]), OPTIONS), min_size=1))
def test_what_is_written_is_read(inner, layers):
    text = inner
    for head, options in layers:
        arguments = [text, *(f"{k}={v}" for k, v in options.items())]
        text = f"{head}({', '.join(arguments)})"
    for head, options in reversed(layers):
        read = naming.call(text)
        assert (read.head, dict(read.options)) == (head, options)
        text = read.inner
    assert text == inner


@given(st.text(alphabet="ab(),=: 1.", max_size=20))
def test_any_text_is_read_or_refused(text):
    assert ",".join(naming.split(text)) == text
    with contextlib.suppress(ValueError):
        read = naming.call(text)
        assert read is None or text.startswith(read.head)


@given(st.text(max_size=30))
@example("!")
@example("sgd()")
@example("SGDWITHL2")  # a stack
def test_any_name_resolves_or_is_refused(text):
    try:
        name = get(text).name
    except (LookupError, ValueError, RuleError) as error:
        wrong = type(error)
    else:
        wrong = None
        assert get(name).name == name
    assert wrong in (None, LookupError, ValueError, RuleError)  # no IndexError: that is a fault


@given(st.text(), st.text())
def test_the_distance_is_symmetric(a, b):
    assert naming._distance(a, b) == naming._distance(b, a) <= max(len(a), len(b))
    assert naming._distance(a, a) == 0
