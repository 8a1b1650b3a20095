"""Param groups: who gets which options, what the audit says, and that optimizers take them."""

import copy
import doctest
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from installed import reference
from test_roles import GPT, bare, blocks, cnn, mlp
from torch import nn

import ravine
import ravine.torch as rt
from ravine.torch import GroupingWarning, grouping
from ravine.torch.grouping import NO_DECAY, param_groups

MUON = {"rule": "Muon", "lr": 0.02, "momentum": 0.9}


def made(model, **options):
    return param_groups(model, **{"audit": False, **options})


def made_quietly(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GroupingWarning)
        return made(model, **options)


def by_name(groups):
    """Each parameter's options."""
    return {
        name: {k: v for k, v in group.items() if k != "params"}
        for group in groups
        for name, _ in group["params"]
    }


def values(groups, key):
    return {name: options.get(key) for name, options in by_name(groups).items()}


# ---- who gets which options --------------------------------------------------------------------


def test_decayed_and_not():
    groups = made(mlp(), weight_decay=0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert [[name for name, _ in group["params"]] for group in groups] == [
        ["0.weight", "2.weight", "4.weight"],
        ["0.bias", "2.bias", "4.bias"],
    ]
    assert all({*group} == {"params", "weight_decay"} for group in groups)


def test_what_is_not_decayed():
    groups = made(nn.ModuleList([GPT(), cnn(), bare((4,))]))
    for name, decay in values(groups, "weight_decay").items():
        row = next(row for row in groups.rows if name in row.names)
        assert (decay == 0.0) == (row.role in NO_DECAY), name
    assert {row.role for row in groups.rows} >= {*NO_DECAY}


def test_no_decay_can_be_chosen_by_role_and_by_name():
    decays = values(made(GPT(), no_decay=["bias", "blocks.1.*.weight"]), "weight_decay")
    assert (
        decays["tokens.weight"] == decays["norm.weight"] == decays["blocks.0.first.weight"] == 0.01
    )
    assert decays["blocks.1.first.weight"] == decays["blocks.1.attention.out_proj.weight"] == 0.0
    assert decays["blocks.0.up.bias"] == 0.0
    assert values(made(mlp(), no_decay=()), "weight_decay")["0.bias"] == 0.01
    assert values(made(mlp(), no_decay="hidden"), "weight_decay")["0.weight"] == 0.0
    # A name says more than a role's options, and these more than a role.
    named = made(mlp(), no_decay=["0.weight", "bias"], hidden={"weight_decay": 0.3})
    assert values(named, "weight_decay")["0.weight"] == 0.0
    assert values(made(mlp(), bias={"weight_decay": 0.3}), "weight_decay")["0.bias"] == 0.3


def test_the_shared_name_counts_too():
    assert values(made(GPT(), no_decay=["out.*"]), "weight_decay")["tokens.weight"] == 0.0


def test_decay_left_to_the_optimizer():
    groups = made(mlp(), weight_decay=None)
    assert "weight_decay" not in by_name(groups)["0.weight"]
    optimizer = rt.AdamW(groups, weight_decay=0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


def test_what_a_model_says_is_not_decayed():
    class Told(nn.Sequential):
        def no_weight_decay(self):
            return {"2.weight"}

    groups = made(nn.ModuleDict({"module": Told(*mlp())}))  # in a wrapper, as DDP is
    decays = values(groups, "weight_decay")
    assert decays["module.2.weight"] == 0.0
    assert decays["module.0.weight"] == 0.01
    assert "no_weight_decay" in groups.rows[2].why
    model = mlp()
    model[0].weight._no_weight_decay = True
    assert values(made(model), "weight_decay")["0.weight"] == 0.0


def test_each_role_has_options_of_its_own():
    model = nn.ModuleList(
        [bare((2, 3, 3)), cnn(), GPT(tied=False), bare(()), nn.Linear(3, 4), nn.Linear(4, 2)]
    )
    options = {role: {"lr": 0.1 * i} for i, role in enumerate(grouping.ROLES, 1)}
    groups = made(model, **options)
    lrs = values(groups, "lr")
    for row in groups.rows:
        assert lrs[row.names[0]] == options[row.role]["lr"]
    assert {row.role for row in groups.rows} == {*options}


def test_roles_stand_before_the_rest_and_other_rules_without_it():
    rest = {"rule": "AdamW", "lr": 3e-4, "betas": (0.9, 0.95)}
    options = by_name(made(GPT(tied=False), hidden=MUON, head={"lr": 1e-3}, rest=rest))
    assert options["blocks.0.up.weight"] == {**MUON, "weight_decay": 0.01}
    assert options["out.weight"] == {**rest, "lr": 1e-3, "weight_decay": 0.01}
    assert options["norm.weight"] == {**rest, "weight_decay": 0.0}


def test_the_rest_has_adamw_if_any_rule_is_named():
    assert {*values(made(GPT(), hidden=MUON), "rule").values()} == {"AdamW", "Muon"}
    assert {*values(made(GPT(), hidden=MUON, rest={"rule": "Adam"}), "rule").values()} == {
        "Adam",
        "Muon",
    }
    assert "rule" not in by_name(made(GPT()))["tokens.weight"]


def test_a_rule_without_weight_decay_is_given_none():
    groups = made(mlp(), head={"rule": "momentum", "lr": 0.1}, rest={"rule": "adam"})
    assert all("weight_decay" not in group for group in groups)
    assert groups.notes == ["adam has no weight decay", "momentum has no weight decay"]
    assert str(groups).splitlines()[2] == "group 0: adam (5 tensors, 114 numbers)"
    rt.Mixed(groups).step()
    with pytest.raises(ValueError, match="'adam' has no option 'weight_decay'"):
        rt.Mixed(made(mlp(), rest={"rule": "adam", "weight_decay": 0.1}))


def test_equal_options_share_a_group_and_tensors_are_equal_if_they_are_one():
    lr = torch.tensor(0.1)
    for other, groups in ((0.1, 3), (lr, 2), (lr.clone(), 3)):
        assert len(made(mlp(), hidden={"lr": lr}, head={"lr": other})) == groups
    assert len(made(mlp(), hidden={"lr": 0.1}, head={"lr": 0.1})) == 2


def test_roles_can_be_overridden():
    model = mlp()
    groups = made(model, hidden={"lr": 0.1}, roles={"*.weight": "hidden", "2.*": "gain"})
    lrs, decays = values(groups, "lr"), values(groups, "weight_decay")
    assert lrs["0.weight"] == lrs["4.weight"] == 0.1
    assert lrs["2.weight"] is None
    assert decays["2.weight"] == 0.0
    assert groups.rows[2].why == "roles['2.*']"


def test_frozen_parameters_are_left_out_and_listed():
    model = GPT(tied=False)
    model.blocks[0].requires_grad_(False)
    groups = made(model)
    assert not any(name.startswith("blocks.0") for name in by_name(groups))
    assert "left out: requires_grad is False (10 tensors, 856 numbers)" in str(groups)
    assert all((row.group < 0) == row.names[0].startswith("blocks.0") for row in groups.rows)


# ---- every parameter, once ---------------------------------------------------------------------


LEAVES = st.sampled_from(
    [
        lambda: nn.Linear(3, 4),
        lambda: nn.Linear(4, 3, bias=False),
        lambda: nn.Embedding(9, 3),
        lambda: nn.Conv1d(2, 3, 3),
        lambda: nn.LayerNorm(3),
        lambda: nn.BatchNorm1d(3),
        lambda: nn.LSTM(2, 3),
        lambda: nn.MultiheadAttention(4, 2),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)),
        lambda: nn.PReLU(),
        lambda: nn.ReLU(),
        lambda: bare((3, 4)),
        lambda: bare((1, 3, 4), "pos"),
        lambda: bare(()),
    ]
)
MODELS = st.recursive(
    LEAVES.map(lambda make: make()),
    lambda inner: st.tuples(
        st.sampled_from([nn.ModuleList, lambda x: nn.Sequential(*x)]), st.lists(inner, max_size=4)
    ).map(lambda drawn: drawn[0](drawn[1])),
    max_leaves=8,
)


@given(MODELS, st.data())
def test_every_trainable_parameter_is_in_one_group(inner, data):
    shared = [inner, inner] if data.draw(st.booleans(), "shared") else [inner]
    model = nn.ModuleList([*shared, nn.Linear(2, 2)])
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    if tables and data.draw(st.booleans(), "tied"):
        model.append(nn.Linear(3, 9))
        model[-1].weight = tables[0].weight
    for p in [*model.parameters()][:-2]:
        p.requires_grad_(data.draw(st.booleans()))
    asked = data.draw(
        st.dictionaries(st.sampled_from(["hidden", "conv", "gain"]), st.just({"lr": 0.5}))
    )
    groups = made_quietly(model, **asked)
    given = [p for group in groups for _, p in group["params"]]
    assert len(given) == len({*given})
    assert {*given} == {p for p in model.parameters() if p.requires_grad}
    names = dict(model.named_parameters(remove_duplicate=False))
    assert all(names[name] is p for group in groups for name, p in group["params"])
    rows = [name for row in groups.rows for name in row.names]
    assert sorted(rows) == sorted(names)
    assert all(len(line) <= 100 for line in str(groups).splitlines())
    torch.optim.AdamW(groups, lr=0.1)


# ---- optimizers take them ----------------------------------------------------------------------


def train(model, optimizer, steps=20):
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(16, 4, generator=draw, dtype=torch.float64)
        (model(x) - x[:, :2].square()).square().mean().backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_with_torch_and_with_ravine_the_same_comes_out():
    torch.manual_seed(0)
    model = mlp().double()
    twin = copy.deepcopy(model)
    options = {"weight_decay": 0.2, "head": {"lr": 0.05}}
    theirs = torch.optim.AdamW(made(model, **options), lr=0.01)
    ours = rt.AdamW(made(twin, **options), lr=0.01)
    torch.testing.assert_close(train(twin, ours), train(model, theirs), rtol=1e-12, atol=1e-14)
    assert [group["param_names"] for group in ours.param_groups] == [
        group["param_names"] for group in theirs.param_groups
    ]
    assert ours.param_groups[0]["param_names"] == ["0.weight", "2.weight"]
    saved = ours.state_dict()["param_groups"]
    assert [group["weight_decay"] for group in saved] == [0.2, 0.0, 0.2]


def test_an_optimizer_does_not_change_the_groups():
    groups = made(mlp())
    before = str(groups)
    torch.optim.AdamW(groups, lr=0.5).param_groups[0]["lr"] = 3.0
    assert str(groups) == before
    assert [group["lr"] for group in torch.optim.SGD(groups, lr=0.1).param_groups] == [0.1, 0.1]


def test_groups_can_be_copied_and_added_to():
    groups = made(mlp())
    assert str(copy.deepcopy(groups)) == str(groups)
    extra = nn.Parameter(torch.zeros(2))
    optimizer = rt.AdamW([*groups, {"params": [("extra", extra)], "lr": 0.5}])
    assert len(optimizer.param_groups) == 3


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.norm = nn.LayerNorm(d)
        # No bias: a key's has no gradient but rounding errors, which Adam would blow up.
        self.attention = nn.MultiheadAttention(d, 2, batch_first=True, bias=False)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.down(self.up(x).relu())


class Language(nn.Module):
    def __init__(self, vocabulary=20, d=8):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, d)
        self.positions = nn.Parameter(torch.randn(12, d))
        self.blocks = nn.ModuleList(Attention(d) for _ in range(2))
        self.norm = nn.LayerNorm(d)
        self.out = nn.Linear(d, vocabulary, bias=False)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


@pytest.mark.parametrize("tied", [True, False])
def test_mixed_equals_muon_and_adamw_of_torch(tied):
    torch.manual_seed(0)
    model = Language().double()
    if tied:
        model.out.weight = model.tokens.weight
    twin = copy.deepcopy(model)
    groups = made_quietly(
        model,
        weight_decay=0.1,
        hidden={"rule": "Muon", "lr": 0.02, "momentum": 0.9},
        rest={"rule": "AdamW", "lr": 3e-3, "betas": (0.9, 0.95)},
    )
    # The split by hand.
    matrices = ("attention.in_proj_weight", "attention.out_proj.weight", "up.weight", "down.weight")
    named = dict(twin.named_parameters())
    muon = [named.pop(f"blocks.{i}.{name}") for i in (0, 1) for name in matrices]
    head = [] if tied else [{"params": [named.pop("out.weight")], "weight_decay": 0.1}]
    others = [{"params": [*named.values()], "weight_decay": 0.0}, *head]
    theirs = [
        reference("Muon")(muon, lr=0.02, momentum=0.9, weight_decay=0.1),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95)),
    ]
    ours = [rt.Mixed(groups)]
    draw = torch.Generator().manual_seed(1)
    for _ in range(30):
        tokens = torch.randint(20, (8, 13), generator=draw)
        for net, optimizers in ((model, ours), (twin, theirs)):
            net.zero_grad()
            logits = net(tokens[:, :-1])
            nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
            for optimizer in optimizers:
                optimizer.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


# ---- the audit ---------------------------------------------------------------------------------


def test_the_audit_is_printed_or_given_away(capsys):
    groups = param_groups(mlp())
    assert capsys.readouterr().out == f"{groups}\n"
    said = []
    param_groups(mlp(), audit=said.append)
    assert said == [str(groups)]
    param_groups(mlp(), audit=False)
    assert capsys.readouterr().out == ""
    assert repr(groups) == str(groups) == groups.table()


def test_the_audit():
    model = GPT(layers=12)
    model.positions.requires_grad_(False)
    assert str(made(model, hidden=MUON, rest={"lr": 3e-4})) == (
        """\
GPT: 122 tensors, 10,680 numbers, in 2 groups

group 0: AdamW, lr=0.0003, weight_decay=0.0 (74 tensors, 1,464 numbers)
  embedding  tokens.weight = out.weight                 (50, 8)  Embedding, tied to Linear
  norm       blocks.0-11.first.weight ×12               (8,)     RMSNorm, by name
  bias       blocks.0-11.attention.in_proj_bias ×12     (24,)    MultiheadAttention
  bias       blocks.0-11.attention.out_proj.bias ×12    (8,)     Linear
  norm       blocks.0-11.second.weight ×12              (8,)     RMSNorm, by name
  bias       blocks.0-11.up.bias ×12                    (32,)    Linear
  bias       blocks.0-11.down.bias ×12                  (8,)     Linear
  norm       norm.weight                                (8,)     RMSNorm, by name

group 1: Muon, lr=0.02, momentum=0.9, weight_decay=0.01 (48 tensors, 9,216 numbers)
  hidden     blocks.0-11.attention.in_proj_weight ×12   (24, 8)  MultiheadAttention, Q, K, V in one
  hidden     blocks.0-11.attention.out_proj.weight ×12  (8, 8)   Linear
  hidden     blocks.0-11.up.weight ×12                  (32, 8)  Linear
  hidden     blocks.0-11.down.weight ×12                (8, 32)  Linear

left out: requires_grad is False (1 tensor, 128 numbers)
  embedding  positions                                  (16, 8)  bare, by name

note: several matrices in one, and Muon takes them for one: 'blocks.0-11.attention.in_proj_weight
  ×12'"""
    )


def test_only_what_is_alike_is_one_line():
    layers = [nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)]
    model = nn.ModuleList(layers)
    model[0].bias.requires_grad_(False)
    lines = str(made(model, roles={"4.weight": "hidden"})).splitlines()
    assert [" ".join(line.split()) for line in lines if line.startswith("  ")] == [
        "hidden 0-1.weight ×2 (3, 3) Linear",
        "hidden 2.weight (4, 3) Linear",
        "hidden 4.weight (3, 4) roles['4.weight']",
        "bias *.bias ×2 (3,) Linear",
        "bias 2.bias (4,) Linear",
        "bias 0.bias (3,) Linear",
    ]


def test_numbers_in_two_places():
    def grid(n, m):
        return nn.ModuleList(nn.ModuleList(nn.LayerNorm(3) for _ in range(m)) for _ in range(n))

    assert "  0-1.0-2.weight ×6 " in str(made(grid(2, 3)))
    uneven = grid(2, 3)
    uneven[1].pop(2)
    assert "  *.*.weight ×5 " in str(made(uneven))


def test_long_names_keep_their_ends():
    model = mlp()
    for name in ("attention" * 9, "transformer" * 9):
        model = nn.ModuleDict({name: model})
    groups = made(model, hidden={"a": "b" * 99})
    lines = str(groups).splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert any("…" in line and ".0.weight " in line for line in lines)
    assert any(line.endswith("… (2 tensors, 96 numbers)") for line in lines)
    assert all(len(line) <= 60 for line in groups.table(60).splitlines())


# ---- what looks wrong --------------------------------------------------------------------------


def warned(match, model, **options):
    with pytest.warns(GroupingWarning, match=match) as caught:
        groups = made(model, **options)
    assert [str(w.message) for w in caught] == [f"param_groups: {x}" for x in groups.warnings]
    assert len(groups.warnings) == 1
    assert "warning: " + groups.warnings[0][:50] in str(groups)
    assert caught[0].filename == __file__
    return groups


def test_options_that_nothing_takes():
    warned(
        r"no parameter takes embedding={'lr': 1.0} \(embedding: a table",
        mlp(),
        embedding={"lr": 1.0},
    )
    model = mlp()
    model[4].requires_grad_(False)
    warned("head: all of them are frozen", model, head={"lr": 1.0})


def test_no_head_where_it_matters():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    warned(
        r"no head was found; if one of '0\.weight'.*roles=\{'0.weight': 'head'\}",
        model,
        hidden=MUON,
    )
    assert made(model).warnings == []
    assert made(nn.Sequential(*blocks()), hidden=MUON).warnings == []  # all are in blocks


def test_a_hidden_matrix_as_large_as_a_vocabulary():
    def large(*shape):
        return nn.Sequential(bare(shape, "out"), nn.Linear(2, 2))

    for shape in [(8192, 64), (64, 8192), (50304, 768)]:
        warned("is as large as a vocabulary", large(*shape))
    for shape in [(8192, 63), (8191, 64), (8192, 1025)]:
        assert made(large(*shape)).warnings == []
    assert made(large(8192, 64), roles={"0.out": "head"}).warnings == []


def test_a_vector_that_was_put_among_the_decayed():
    warned(
        r"'4\.bias', of shape \(2,\), is decayed, since roles\['4\.\*'\]",
        mlp(),
        roles={"4.*": "head"},
    )
    assert made(mlp(), no_decay=()).warnings == []  # asked for in so many words


class Unregistered(nn.Module):
    def __init__(self, held):
        super().__init__()
        self.registered = nn.Linear(3, 3)
        self.held = held


@pytest.mark.parametrize(
    "held",
    [[nn.Linear(3, 3)], {"a": nn.Linear(3, 3)}, (nn.Parameter(torch.zeros(2)),)],
    ids=["list", "dict", "tuple"],
)
def test_modules_that_torch_cannot_see(held):
    kind = type(held).__name__
    warned(rf"'0\.held' is a plain {kind}", nn.Sequential(Unregistered(held)))


def test_what_is_held_on_purpose():
    model = Unregistered(None)
    for held in (
        [model.registered],
        [nn.Linear(2, 2).requires_grad_(False)],
        [1, "a", torch.zeros(2)],
        [],
    ):
        model.held = held
        assert made(model).warnings == []
    assert made(nn.ModuleList([nn.LSTM(2, 2)])).warnings == []  # keeps a list of its own weights


# ---- notes for rules of matrices ---------------------------------------------------------------


def test_notes():
    def notes(model, **options):
        return "\n".join(made_quietly(model, **options).notes)

    assert notes(cnn()) == notes(GPT()) == notes(mlp()) == ""
    assert "not Muon's, which takes matrices, since of more dimensions: '0.weight'" in notes(
        cnn(), hidden=MUON
    )
    assert "several matrices in one" in notes(GPT(), hidden=MUON)
    assert "several matrices in one" not in notes(nn.Sequential(*blocks()), hidden=MUON)
    assert "'0.weight' is the first layer" in notes(mlp(), hidden=MUON)
    assert "'1.weight' is the first" in notes(nn.Sequential(nn.LayerNorm(4), *mlp()), hidden=MUON)
    assert "first" not in notes(nn.Sequential(*cnn(), *mlp()), hidden=MUON)
    assert notes(mlp(), hidden=MUON, roles={"0.weight": "embedding"}) == ""
    model = nn.Sequential(
        nn.Embedding(9, 3), bare((3, 3), "A_log"), bare((3, 3), "A_log"), nn.Linear(3, 3)
    )
    assert "Muon's by shape alone: '1-2.A_log ×2'" in notes(model, hidden=MUON)
    assert "roles={'*.A_log': 'gain'}" in notes(model, hidden=MUON)


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"roles": {"2.wieght": "head"}},
            r"roles has '2\.wieght', which matches no parameter; .* '2\.weight'",
        ),
        (
            {"roles": {"2.weight": "haed"}},
            r"roles\['2\.weight'\]='haed' is invalid; it must be hidden, .* gain",
        ),
        (
            {"no_decay": ["biases"]},
            r"no_decay has 'biases', which matches no parameter; it must be hidden, ",
        ),
        ({"hidden": 0.1}, r"hidden is 0\.1; it must be a dict of options"),
        ({"head": {"rule": 3}}, r"head has rule 3; it must be a name, such as 'Muon'"),
        ({"rest": {"params": []}}, r"rest has params; it must be a dict of options without params"),
        (
            {"bias": MUON},
            r"bias has rule 'Muon', and '0\.bias' has shape \(8,\); Muon takes matrices",
        ),
        ({"rest": {"rule": "muon"}}, r"bias has rule 'muon', and '0\.bias'"),
        ({"hidden": MUON, "roles": {"0.bias": "hidden"}}, r"hidden has rule 'Muon', and '0\.bias'"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=f"^param_groups: {message}"):
        made(mlp(), **options)


def test_kernels_are_not_muons():
    with pytest.raises(
        ValueError, match=r"conv has rule 'Muon', and '0\.weight' has shape \(8, 3, 3, 3\)"
    ):
        made(cnn(), conv=MUON)
    assert values(made_quietly(cnn(), hidden=MUON), "rule")["0.weight"] == "AdamW"


def test_a_tied_head_takes_one_step():
    with pytest.raises(ValueError, match=r"tied to an embedding \(tokens\.weight = out\.weight\)"):
        made(GPT(), head={"lr": 0.1})
    with pytest.raises(ValueError, match="one tensor takes one step"):
        made(GPT(), head={"lr": 0.1}, embedding={"lr": 0.2})
    same = made(GPT(), head={"lr": 0.1}, embedding={"lr": 0.1})
    assert values(same, "lr")["tokens.weight"] == 0.1
    assert same.warnings == []
    assert values(made(GPT(), embedding={"lr": 0.1}), "lr")["tokens.weight"] == 0.1
    with pytest.raises(ValueError, match="roles gives one shared tensor several roles"):
        made(GPT(), roles={"tokens.weight": "embedding", "out.weight": "head"})
    named = made(GPT(), head={"lr": 0.1}, roles={"out.weight": "embedding", "out.*": "head"})
    assert values(named, "lr")["tokens.weight"] == 0.1


def test_a_tied_head_can_be_made_another_role():
    roles = {"tokens.weight": "hidden"}
    warned("no parameter takes head", GPT(), head={"lr": 0.1}, roles=roles)


def test_nothing_to_train():
    with pytest.raises(ValueError, match="model has no trainable parameter"):
        made(mlp().requires_grad_(False))
    with pytest.raises(ValueError, match="model has no trainable parameter"):
        made(nn.ReLU())
    with pytest.raises(TypeError, match=r"model is a generator; it must be an nn\.Module"):
        param_groups(mlp().parameters())


def test_the_examples():
    failed, attempted = doctest.testmod(grouping)
    assert attempted > 0
    assert failed == 0


@pytest.mark.parametrize(
    ("name", "rule"),
    [("heavy ball", "momentum_classical"), ("Nesterov", "nesterov"), ("l2(sgd)", "l2(sgd)")],
)
def test_a_group_names_its_rule_as_people_write_it(name, rule):
    p = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    q = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    mixed = rt.Mixed([{"params": [p], "rule": name, "lr": 0.1}])
    alone = rt.optimizer(ravine.get(rule))([q], lr=0.1)
    for _ in range(3):
        p.grad, q.grad = torch.full_like(p, 0.5), torch.full_like(q, 0.5)
        mixed.step()
        alone.step()
    assert p.tolist() == q.tolist() != [1.0, 1.0]
    with pytest.raises(
        ValueError, match=r"Mixed: rule='AdaBound' is invalid.*no rule is called 'AdaBound'"
    ):
        rt.Mixed([{"params": [p], "rule": "AdaBound"}])


def test_a_file_that_has_been_edited_is_run_again_for_new_groups_only(tmp_path):
    file = tmp_path / "mine.py"
    text = (
        "from ravine import rule\n@rule\ndef plain(p, g, *, lr=0.1):\n    return p - {} * lr * g\n"
    )

    def mixed():
        p = torch.nn.Parameter(torch.zeros(2))
        p.grad = torch.ones(2)
        return p, rt.Mixed([{"params": [p], "rule": f"{file}:plain"}])

    file.write_text(text.format(1))
    before, old = mixed()
    old.step()
    file.write_text(text.format(30))
    after, new = mixed()
    for optimizer in (old, new):
        optimizer.param_groups[0]["lr"] = 0.2
        optimizer.step()
    torch.testing.assert_close(before.detach(), torch.full((2,), -0.3))
    torch.testing.assert_close(after.detach(), torch.full((2,), -6.0))
