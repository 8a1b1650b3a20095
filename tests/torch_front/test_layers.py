"""Layer-wise learning rates: which layer a parameter is in, and that its lr is what trains it."""

import copy
import pickle
import re
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_roles import GPT, bare, mlp
from torch import nn
from torch.optim import lr_scheduler

import ravine.torch as rt
from ravine.torch.grouping import GroupingWarning, param_groups

MODULES = (rt, torch.optim)


def made(model, layer_decay=0.5, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GroupingWarning)
        return param_groups(model, layer_decay=layer_decay, audit=False, **options)


def layers(model, **options):
    """The modules, or parameters, of each layer, from the input up."""
    lines = str(made(model, **options)).split("\n\n")[1].splitlines()
    return [re.split(r"  +", line)[2] for line in lines]


def lrs(optimizer):
    return {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}


def named(**modules):
    """A model with these modules, registered in this order."""
    model = nn.Module()
    for name, module in modules.items():
        setattr(model, name, module)
    return model


class Block(nn.Module):
    """Contains a Sequential and a list of experts, neither of which is a sequence of layers."""

    def __init__(self, d=4):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.fc1, self.fc2 = nn.Linear(d, d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, d), nn.GELU(), nn.Linear(d, d))
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(d, d), named(up=nn.Linear(d, d))) for _ in range(3)
        )


class Conv(nn.Module):
    def __init__(self, down=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.conv2, self.bn2 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        if down:
            self.downsample = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))


def blocks(n=3):
    return nn.ModuleList(Block() for _ in range(n))


def linear():
    return nn.Linear(4, 4)


def norm():
    return nn.LayerNorm(4)


def table():
    return nn.Embedding(9, 4)


BACKBONES = {  # what people write; and the layers that follow
    "a Sequential": (mlp(), ["0", "2", "4"]),
    "with norms in it": (
        nn.Sequential(norm(), linear(), norm(), nn.ReLU(), linear()),
        ["0, 1, 2", "4"],
    ),
    "Sequentials in it": (
        nn.Sequential(nn.Sequential(linear(), linear()), nn.Sequential(linear(), norm())),
        ["0.0", "0.1", "1"],
    ),
    "BERT": (
        named(
            bert=named(
                embeddings=named(word=table(), LayerNorm=norm()),
                encoder=named(layer=blocks()),
                pooler=linear(),
            ),
            classifier=linear(),
        ),
        [
            "bert.embeddings",
            *(f"bert.encoder.layer.{i}" for i in range(3)),
            "bert.pooler, classifier",
        ],
    ),
    "LLaMA": (
        named(
            model=named(embed_tokens=table(), layers=blocks(2), norm=norm()),
            lm_head=nn.Linear(4, 9),
        ),
        ["model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm, lm_head"],
    ),
    "nanoGPT": (
        named(
            transformer=nn.ModuleDict(
                {"wte": table(), "wpe": table(), "h": blocks(2), "ln_f": norm()}
            ),
            lm_head=nn.Linear(4, 9),
        ),
        [
            "transformer.wte, transformer.wpe",
            "transformer.h.0",
            "transformer.h.1",
            "transformer.ln_f, lm_head",
        ],
    ),
    "tied, its positions registered last": (
        GPT(layers=2),
        ["positions, tokens", "blocks.0", "blocks.1", "norm"],
    ),
    "one block": (
        named(embed=table(), blocks=blocks(1), head=linear()),
        ["embed", "blocks", "head"],
    ),
    "lists of lists": (
        named(layers=nn.ModuleList(nn.ModuleList([Block(), linear()]) for _ in range(2))),
        ["layers.0", "layers.1"],
    ),
    "norms in a list of their own": (
        named(
            convs=nn.ModuleList(linear() for _ in range(3)),
            norms=nn.ModuleList(norm() for _ in range(2)),
            head=linear(),
        ),
        ["convs.0, norms.0", "convs.1, norms.1", "convs.2", "head"],
    ),
    "ResNet": (
        named(
            conv1=nn.Conv2d(3, 3, 3),
            bn1=nn.BatchNorm2d(3),
            layer1=nn.Sequential(Conv(), Conv()),
            layer2=nn.Sequential(Conv(down=True), Conv()),
            fc=nn.Linear(3, 2),
        ),
        ["conv1, bn1", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "fc"],
    ),
    "VGG": (
        named(
            features=nn.Sequential(
                *(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3))
            ),
            classifier=nn.Sequential(linear(), nn.ReLU(), nn.Linear(4, 2)),
        ),
        ["features.0, features.1", "features.3", "classifier"],
    ),
    "stages": (
        named(
            stem=nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
            stages=nn.ModuleList(nn.Sequential(Conv(), Conv()) for _ in range(2)),
            head=nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2)),
        ),
        ["stem", "stages.0.0", "stages.0.1", "stages.1.0", "stages.1.1", "head"],
    ),
    "numbers beyond nine": (
        named(**{f"block{i}": Block() for i in (10, 9, 1)}),
        ["block1", "block9", "block10"],
    ),
    "an encoder in a Sequential": (
        nn.Sequential(
            table(),
            nn.TransformerEncoder(
                nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, norm=norm()
            ),
            nn.Linear(4, 2),
        ),
        ["0", "1.layers.0", "1.layers.1, 1.norm", "2"],
    ),
    "what is between two stages": (
        named(stage1=nn.Sequential(Conv(), Conv()), down=nn.Conv2d(3, 3, 1), stage2=Conv()),
        ["stage1.0", "stage1.1, down", "stage2"],
    ),
    "a scale around them": (
        named(embed=table(), blocks=blocks(2), logit_scale=nn.Parameter(torch.ones(()))),
        ["embed", "blocks.0", "blocks.1", "logit_scale"],
    ),
    "a token around them": (
        named(blocks=blocks(2), cls_token=nn.Parameter(torch.ones(1, 1, 4))),
        ["cls_token", "blocks.0", "blocks.1"],
    ),
    "weights that are computed": (
        nn.Sequential(nn.utils.parametrizations.weight_norm(linear()), linear()),
        ["0", "1"],
    ),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_the_layers_of_models_as_people_write_them(name):
    model, expected = BACKBONES[name]
    assert layers(model) == expected
    assert layers(nn.ModuleDict({"module": model})) == [
        ", ".join(f"module.{x}" for x in line.split(", ")) for line in expected
    ]
    rows = made(model).rows
    assert {row.layer for row in rows} == {*range(len(expected))}


REFUSED = {
    "no sequence": (
        named(emb=table(), rnn=nn.LSTM(4, 4), out=linear()),
        r"Module has no nn\.Sequential, .* layers=\['emb', 'rnn', 'out'\]",
    ),
    "an encoder and a decoder": (
        nn.Transformer(4, 2, 2, 2, 8, batch_first=True),
        r"has the sequences 'encoder\.layers' and 'decoder\.layers', of which none .*"
        r"layers=\['encoder\.layers\.\*', 'decoder\.layers\.\*'\]",
    ),
    "two towers": (
        named(user=nn.Sequential(linear(), linear()), item=nn.Sequential(linear(), linear())),
        r"has the sequences 'user' and 'item'",
    ),
    "two families": (
        named(down1=Conv(), down2=Conv(), up1=Conv(), up2=Conv()),
        r"has the sequences 'down' and 'up', .*\['down\*', 'up\*'\]",
    ),
    "a sequence that is the least of it": (
        named(
            conv1=linear(), conv2=linear(), **{f"mixed_{x}": linear() for x in "abc"}, fc=linear()
        ),
        r"has most of its matrices outside of 'conv', the only sequence in it",
    ),
    "one layer": (
        nn.Sequential(linear(), norm()),
        r"all parameters of Sequential are in one layer",
    ),
    "nothing but norms": (nn.Sequential(norm(), norm()), r"all parameters .* in one layer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_cannot_be_told_apart_are_refused(name):
    model, message = REFUSED[name]
    with pytest.raises(ValueError, match=f"^param_groups: .*{message}") as refused:
        made(model)
    assert "or give a function from a parameter's name to its layer" in str(refused.value)


def test_what_the_message_proposes_is_accepted():
    assert layers(REFUSED["no sequence"][0], layers=["emb", "rnn", "out"]) == ["emb", "rnn", "out"]
    given = ["encoder.layers.*", "decoder.layers.*"]
    assert layers(nn.Transformer(4, 2, 2, 2, 8, batch_first=True), layers=given) == [
        "encoder.layers.0",
        "encoder.layers.1, encoder.norm",
        "decoder.layers.0",
        "decoder.layers.1",
        "decoder.norm",
    ]
    families = REFUSED["two families"][0]
    assert layers(families, layers=["down*", "up*"]) == ["down1", "down2", "up1", "up2"]


# --- layers=


def test_a_list_of_layers():
    model = BACKBONES["BERT"][0]
    assert layers(
        model, layers=["bert.embeddings", "bert.encoder", "bert.pooler", "classifier"]
    ) == [
        "bert.embeddings",
        "bert.encoder",
        "bert.pooler",
        "classifier",
    ]
    # In a tuple is what is in one layer, by its number where it has one; the innermost name counts.
    given = ["bert.encoder.layer.0.norm?", ("bert.encoder.layer.*", "bert.pooler")]
    assert layers(model, layers=given) == [
        "bert.embeddings",
        "bert.encoder.layer.0.norm1, bert.encoder.layer.0.norm2",
        "bert.pooler",
        "bert.encoder.layer.0.fc1, bert.encoder.layer.0.fc2, bert.encoder.layer.0.ml…",
        "bert.encoder.layer.1",
        "bert.encoder.layer.2",
        "classifier",
    ]
    pairs = named(a=nn.ModuleList([linear(), linear()]), b=nn.ModuleList([linear(), linear()]))
    assert layers(pairs, layers=[("a.*", "b.*")]) == ["a.0, b.0", "a.1, b.1"]


def test_a_function_of_names():
    depth = {"0": 0, "2": 1, "4": 3}
    groups = made(mlp(), lr=1.0, layers=lambda name: depth[name[0]])
    assert {row.names[0]: row.layer for row in groups.rows}["4.bias"] == 3
    optimizer = rt.SGD(groups)
    assert {name[0]: lr for name, lr in lrs(optimizer).items()} == {"0": 1 / 8, "2": 1 / 4, "4": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_decay": 0}, r"layer_decay=0 is invalid; it must be a number in \(0, 1\]"),
        ({"layer_decay": 1.5}, r"layer_decay=1\.5 is invalid"),
        ({"layer_decay": float("nan")}, r"layer_decay=nan is invalid"),
        ({"layer_decay": "0.75"}, r"layer_decay='0\.75' is invalid"),
        ({"layer_decay": True}, r"layer_decay=True is invalid"),
        (
            {"layer_decay": None, "layers": ["0"]},
            r"layers=\['0'\] has no meaning without layer_decay",
        ),
        (
            {"layers": ["0", "3"]},
            r"layers has '3', which matches no parameter; .* similar names are '",
        ),
        ({"layers": ["0", 3]}, r"layers has 3, which matches no parameter"),
        ({"layers": "0"}, r"layers='0' is invalid; it must be a list of modules from the input"),
        ({"layers": 3}, r"layers=3 is invalid"),
        (
            {"layers": lambda name: None},
            r"layers\('0\.weight'\) is None; it must be a whole number",
        ),
        (
            {"layers": lambda name: -1},
            r"layers\('0\.weight'\) is -1; it must be a whole number >= 0",
        ),
        (
            {"layers": lambda name: True},
            r"layers\('0\.weight'\) is True; it must be a whole number",
        ),
        ({"lr": -1}, r"lr=-1 is invalid; lr must be a finite number >= 0"),
        ({"hidden": {"lr": "fast"}}, r"lr='fast' is invalid; lr must be a finite number >= 0"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=f"^param_groups: {message}"):
        made(mlp(), **options)


# --- a model that knows its layers


class Vision(nn.Module):
    """As timm's VisionTransformer: its norm counts with the last block."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.patch_embed = nn.Conv2d(3, 4, 4)
        self.blocks = nn.Sequential(*blocks())
        self.norm, self.head = norm(), nn.Linear(4, 2)

    def group_matcher(self, coarse=False):
        return {
            "stem": r"^cls_token|pos_embed|patch_embed",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }


class Shifted(nn.Module):
    """As timm's SwinTransformer: two numbers, and what joins a stage in front of it."""

    def __init__(self):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 4, 4)
        stages = [named(blocks=blocks(2)), named(downsample=linear(), blocks=blocks(2))]
        self.layers = nn.Sequential(*stages)
        self.norm, self.head = norm(), nn.Linear(4, 2)

    def group_matcher(self, coarse=False):
        if coarse:
            return {"stem": r"^patch_embed", "blocks": r"^layers\.(\d+)"}
        inner = [(r"^layers\.(\d+).downsample", (0,)), (r"^layers\.(\d+)\.\w+\.(\d+)", None)]
        return {"stem": r"^patch_embed", "none": None, "blocks": [*inner, (r"^norm", (99999,))]}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (
            Vision(),
            ["cls_token, patch_embed", "blocks.0", "blocks.1", "blocks.2, norm", "head"],
        ),
        (
            Shifted(),
            [
                "patch_embed",
                "layers.0.blocks.0",
                "layers.0.blocks.1",
                "layers.1.downsample, layers.1.blocks.0",
                "layers.1.blocks.1, norm",
                "head",
            ],
        ),
    ],
)
def test_a_model_that_knows_its_groups(model, expected):
    assert layers(model) == expected
    inside = layers(named(module=model))
    assert inside == [", ".join(f"module.{x}" for x in line.split(", ")) for line in expected]
    # A head beside it is above it, where timm's own is; what the user says counts more.
    assert layers(named(backbone=model, extra=linear()))[-1] == "backbone.head, extra"
    assert layers(model, layers=["patch_embed", "norm", "head"])[-2:] == ["norm", "head"]


def test_a_matcher_may_be_a_function():
    model = mlp()
    model.group_matcher = lambda coarse: lambda name: 7 if name.startswith("4") else (1, 2)
    assert layers(model) == ["0, 2", "4"]


# --- the learning rates


def test_each_layer_learns_more_slowly_than_the_next():
    """As BEiT and timm have it: lr * layer_decay ** (layers above)."""
    optimizer = rt.AdamW(made(BACKBONES["BERT"][0], 0.75), lr=1e-3)
    for name, lr in lrs(optimizer).items():
        number = int(name.split(".")[3]) + 1 if "encoder" in name else 0 if "embed" in name else 4
        assert lr == pytest.approx(1e-3 * 0.75 ** (4 - number), rel=1e-15)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0, 1e-2}
    assert not any("lr_scale" in group for group in optimizer.param_groups)


@pytest.mark.parametrize("name", ["AdamW", "SGD", "Adagrad"])
@pytest.mark.parametrize("where", ["here", "in the optimizer", "in rest"])
def test_wherever_lr_is_said_and_whoever_takes_it(name, where):
    said = {"here": {"lr": 0.5}, "in rest": {"rest": {"lr": 0.5}}}.get(where, {})
    more = {} if said else {"lr": 0.5}
    rates = [lrs(getattr(m, name)(made(mlp(), **said), **more)) for m in MODULES]
    assert rates[0] == rates[1]
    assert {x[0]: lr for x, lr in rates[0].items()} == {"0": 0.125, "2": 0.25, "4": 0.5}


def test_the_defaults_of_an_optimizer_are_scaled_too():
    for module in MODULES:
        assert {*lrs(module.AdamW(made(mlp()))).values()} == {1e-3, 5e-4, 2.5e-4}


def train(net, optimizer, schedule, steps=12):
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(16, 4, generator=draw, dtype=torch.float64)
        (net(x) - x[:, :2].square()).square().mean().backward()
        optimizer.step()
        schedule.step()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


SCHEDULES = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
    "warm-up": lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1, t / 5)),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, [g["lr"] for g in o.param_groups], 13),
    "steps": lambda o: lr_scheduler.StepLR(o, 4),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("module", MODULES, ids=["ravine", "torch"])
def test_what_trains_is_right_under_every_schedule(module, schedule):
    torch.manual_seed(0)
    model = mlp().double()
    twin = copy.deepcopy(model)
    ours = module.AdamW(made(model), lr=0.1)
    byhand = [
        {"params": [p], "lr": 0.1 * 0.5 ** (2 - i // 2), "weight_decay": (1e-2, 0)[i % 2]}
        for i, p in enumerate(twin.parameters())
    ]
    theirs = torch.optim.AdamW(byhand)
    expected = train(twin, theirs, SCHEDULES[schedule](theirs))
    found = train(model, ours, SCHEDULES[schedule](ours))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_roles_and_rules_keep_their_own_lr_times_the_share():
    model = BACKBONES["LLaMA"][0]
    groups = made(
        model,
        hidden={"rule": "Muon", "lr": 0.02},
        embedding={"lr": 0.1},
        rest={"rule": "AdamW", "lr": 1e-3},
    )
    rates = lrs(rt.Mixed(groups))
    assert rates["model.embed_tokens.weight"] == 0.1 / 8
    assert rates["model.layers.0.fc1.weight"] == 0.02 / 4
    assert rates["model.layers.1.fc1.bias"] == 1e-3 / 2
    assert rates["lm_head.weight"] == 1e-3
    optimizer = rt.Mixed(made(model, hidden={"rule": "Muon"}))  # their defaults are both 1e-3
    assert lrs(optimizer)["model.layers.1.fc1.weight"] == 1e-3 / 2


def test_an_lr_in_a_tensor():
    lr = torch.tensor(0.5, dtype=torch.float64)
    groups = made(mlp(), lr=lr)
    assert len(groups) == 6  # a layer's tensor is one; decayed and not
    optimizer = rt.AdamW(groups)
    assert [group["lr"].item() for group in optimizer.param_groups] == [
        *(0.125, 0.125, 0.25, 0.25, 0.5, 0.5)
    ]
    later = rt.AdamW(made(mlp()), lr=lr)
    assert {x.item() for x in lrs(later).values()} == {0.125, 0.25, 0.5}
    assert lr == 0.5


def test_a_layer_decay_of_one_changes_nothing():
    groups = made(mlp(), 1.0, lr=0.5)
    assert [len(group["params"]) for group in groups] == [3, 3]
    assert {*lrs(rt.SGD(groups)).values()} == {0.5}


def test_frozen_layers_count():
    model = mlp()
    model[4].requires_grad_(False)
    groups = made(model, lr=1.0)
    assert {*lrs(rt.SGD(groups)).values()} == {0.25, 0.5}
    assert "layer 2  frozen   4\n" in str(groups)


def test_an_optimizer_whose_rule_has_no_lr_refuses():
    Still = rt.optimizer(lambda p, g, *, rate=0.1: p - rate * g, name="Still")
    with pytest.raises(ValueError, match=r"Still: layer_decay gives each layer a share of lr, and"):
        Still(made(mlp(), weight_decay=None))
    assert len(Still(made(mlp(), weight_decay=None, lr=0.1)).param_groups) == 6


def test_the_groups_stay_as_they_are_and_can_be_copied():
    groups = made(mlp())
    before = str(groups)
    for module in MODULES:
        optimizer = module.SGD(groups, lr=0.5)
        assert {*lrs(pickle.loads(pickle.dumps(optimizer))).values()} == {0.125, 0.25, 0.5}
        assert {*lrs(copy.deepcopy(optimizer)).values()} == {0.125, 0.25, 0.5}
        twin = module.SGD(copy.deepcopy(groups), lr=1.0)
        assert {*lrs(twin).values()} == {0.25, 0.5, 1}
        twin.load_state_dict(optimizer.state_dict())
        assert {*lrs(twin).values()} == {0.125, 0.25, 0.5}
        optimizer.add_param_group({"params": [("more", nn.Parameter(torch.ones(1)))]})
        assert lrs(optimizer)["more"] == 0.5
    assert str(groups) == before


@given(st.integers(1, 5), st.floats(0.1, 1), st.booleans())
def test_the_share_falls_from_the_top_down(n, decay, frozen):
    model = named(embed=table(), blocks=blocks(n), head=linear())
    model.blocks[0].requires_grad_(not frozen)
    optimizer = rt.AdamW(made(model, decay, lr=2.0))
    for name, lr in lrs(optimizer).items():
        layer = int(name.split(".")[1]) + 1 if "blocks" in name else (n + 1) * ("head" in name)
        assert lr == pytest.approx(2 * decay ** (n + 1 - layer), rel=1e-12)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {*map(id, held)} == {id(p) for p in model.parameters() if p.requires_grad}


# --- the audit


def test_the_audit_shows_the_layers_and_their_lr():
    model = nn.Sequential(table(), nn.Linear(4, 4, bias=False), nn.Linear(4, 9))
    assert str(made(model, 0.75, lr=1e-3, embedding={"lr": 0.1})) == (
        """\
Sequential: 4 tensors, 97 numbers, in 4 groups

layer 0  lr=0.05625  0
layer 1  lr=0.00075  1
layer 2  lr=0.001    2

group 0: lr=0.05625, weight_decay=0.0 (1 tensor, 36 numbers)
  embedding  0.weight  (9, 4)  Embedding

group 1: lr=0.00075, weight_decay=0.01 (1 tensor, 16 numbers)
  hidden     1.weight  (4, 4)  Linear

group 2: lr=0.001, weight_decay=0.01 (1 tensor, 36 numbers)
  head       2.weight  (9, 4)  Linear, the last layer

group 3: lr=0.001, weight_decay=0.0 (1 tensor, 9 numbers)
  bias       2.bias    (9,)    Linear"""
    )
    without = str(made(model, 0.7))
    assert "layer 0  lr × 0.49  0\n" in without
    assert "group 1: lr × 0.7, weight_decay=0.01 (1 tensor, 16 numbers)" in without
    both = str(made(BACKBONES["BERT"][0], hidden={"lr": 0.1}, lr=1e-3))
    assert "lr=0.0005 and lr=0.05" in both
    assert "layer 0" not in str(param_groups(mlp(), audit=False))


def test_bare_parameters_have_places_too():
    model = nn.Sequential(bare((3, 3), "w"), bare((3, 3), "w"))
    assert layers(model) == ["0", "1"]
