"""What each parameter does, in models of every make; each way of deciding is the only one in its test."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from ravine.torch.roles import ROLES, roles_of


def roles(model):
    return {name: row.role for row in roles_of(model).values() for name in row.names}


def whys(model):
    return {row.names[0]: row.why for row in roles_of(model).values()}


class RMSNorm(nn.Module):  # a class of one's own, known by its name
    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))


class Block(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.first = RMSNorm(d)
        self.attention = nn.MultiheadAttention(d, 2)
        self.second = RMSNorm(d)
        self.up = nn.Linear(d, 4 * d)
        self.down = nn.Linear(4 * d, d)


class GPT(nn.Module):
    def __init__(self, vocabulary=50, d=8, layers=2, tied=True, head=True):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, d)
        self.positions = nn.Parameter(torch.zeros(16, d))
        self.blocks = nn.ModuleList(Block(d) for _ in range(layers))
        self.norm = RMSNorm(d)
        if head:
            self.out = nn.Linear(d, vocabulary, bias=False)
        if tied and head:
            self.out.weight = self.tokens.weight


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.GroupNorm(2, 8),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def bare(shape, name="w", module="Plain"):
    """A model with a single parameter, in a class of this name."""
    made = type(module, (nn.Module,), {})()
    made.register_parameter(name, nn.Parameter(torch.zeros(shape)))
    return made


def role_of(model, name="w"):
    return roles(model)[name]


# ---- models ------------------------------------------------------------------------------------


def test_mlp():
    assert roles(mlp()) == {
        "0.weight": "hidden",
        "0.bias": "bias",
        "2.weight": "hidden",
        "2.bias": "bias",
        "4.weight": "head",
        "4.bias": "bias",
    }


def test_cnn():
    made = roles(cnn())
    assert [made[f"{i}.weight"] for i in (0, 1, 3, 4, 6)] == [
        "conv",
        "norm",
        "conv",
        "norm",
        "head",
    ]
    assert [made[f"{i}.bias"] for i in (0, 1, 4, 6)] == ["bias", "norm", "norm", "bias"]


def test_a_tied_head_is_an_embedding_under_both_names():
    rows = roles_of(GPT())
    made = roles(GPT())
    assert made["tokens.weight"] == made["out.weight"] == "embedding"
    row = next(row for row in rows.values() if "out.weight" in row.names)
    assert row.names == ("tokens.weight", "out.weight")
    assert row.tied
    assert row.why == "Embedding, tied to Linear"
    assert "head" not in made.values()


def test_the_tie_counts_whichever_name_comes_first():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(4, 30, bias=False)
            self.tokens = nn.Embedding(30, 4)
            self.tokens.weight = self.out.weight

    assert roles(Reversed()) == {"out.weight": "embedding", "tokens.weight": "embedding"}


def test_gpt():
    made = roles(GPT(tied=False))
    assert made["out.weight"] == "head"
    assert made["positions"] == "embedding"
    assert made["norm.weight"] == made["blocks.1.first.weight"] == "norm"
    for name in (
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "up.weight",
        "down.weight",
    ):
        assert made[f"blocks.0.{name}"] == "hidden"
    for name in ("attention.in_proj_bias", "attention.out_proj.bias", "up.bias"):
        assert made[f"blocks.0.{name}"] == "bias"
    assert whys(GPT())["blocks.0.attention.in_proj_weight"] == "MultiheadAttention, Q, K, V in one"


def test_transformer_encoder_has_no_head():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    made = roles(nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False))
    assert set(made.values()) == {"hidden", "norm", "bias"}
    assert set(roles(layer).values()) == {"hidden", "norm", "bias"}


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent(make):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = make(4, 8, num_layers=2)
            self.out = nn.Linear(8, 3)

    rows = {row.names[0]: row for row in roles_of(Model()).values()}
    for layer in (0, 1):
        assert (
            rows[f"rnn.weight_ih_l{layer}"].role == rows[f"rnn.weight_hh_l{layer}"].role == "hidden"
        )
        assert rows[f"rnn.bias_ih_l{layer}"].role == rows[f"rnn.bias_hh_l{layer}"].role == "bias"
        assert rows[f"rnn.weight_hh_l{layer}"].stacked == (make is not nn.RNN)
    assert rows["out.weight"].role == "head"


def test_norms_of_torch():
    for norm in (
        nn.LayerNorm([3, 4]),  # of two dimensions, and a norm all the same
        nn.RMSNorm([3, 4]),
        nn.GroupNorm(2, 4),
        nn.BatchNorm1d(4),
        nn.BatchNorm3d(4),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm2d(4, affine=True),
    ):
        assert set(roles(norm).values()) == {"norm"}
        assert set(whys(norm).values()) == {type(norm).__name__}


def test_buffers_are_no_parameters():
    assert set(roles(nn.BatchNorm1d(4))) == {"weight", "bias"}


def test_frozen_parameters_have_roles_too():
    model = mlp()
    model[4].requires_grad_(False)
    assert roles(model)["4.weight"] == "head"
    assert roles(model)["2.weight"] == "hidden"


def test_a_shared_module_has_one_row():
    layer = nn.Linear(4, 4)
    rows = list(
        roles_of(nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 2))).values()
    )
    assert [row.names for row in rows[:2]] == [("0.weight", "2.weight"), ("0.bias", "2.bias")]
    assert rows[0].role == "hidden"
    assert rows[0].why == "Linear, in 2 places"


# ---- parametrized ------------------------------------------------------------------------------


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT


def test_a_parametrized_weight_keeps_its_role():
    model = mlp()
    parametrize.register_parametrization(model[2], "weight", Symmetric())
    assert roles(model)["2.parametrizations.weight.original"] == "hidden"
    assert whys(model)["2.parametrizations.weight.original"] == "Linear"
    parametrizations.spectral_norm(model[4])
    assert roles(model)["4.parametrizations.weight.original"] == "head"
    alone = parametrizations.orthogonal(nn.Linear(4, 4))
    assert roles(alone)["parametrizations.weight.original"] == "head"
    table = parametrizations.spectral_norm(nn.Embedding(9, 4))
    assert roles(table)["parametrizations.weight.original"] == "embedding"


def test_weight_norm():
    model = mlp()
    parametrizations.weight_norm(model[2])
    made = roles(model)
    assert made["2.parametrizations.weight.original0"] == "gain"  # of shape (8, 1)
    assert made["2.parametrizations.weight.original1"] == "hidden"


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_the_older_weight_norm():
    model = mlp()
    nn.utils.weight_norm(model[4])
    made = roles(model)
    assert made["4.weight_g"] == "gain"
    assert made["4.weight_v"] == "head"
    assert role_of(bare((4, 1), "weight_g"), "weight_g") == "hidden"  # without its other half


# ---- bare parameters ---------------------------------------------------------------------------


def test_bare_parameters():
    assert role_of(bare((4, 4))) == "hidden"  # an adapter of low rank, say
    assert role_of(bare((2, 4, 4))) == "stack"
    assert role_of(bare((4,))) == "gain"
    assert role_of(bare(())) == "gain"
    assert role_of(bare((1, 4, 4))) == "embedding"  # the same for every example
    assert role_of(bare((1, 4, 1, 1))) == "gain"
    assert role_of(bare((1, 1, 4), "cls_token"), "cls_token") == "embedding"
    assert role_of(bare((9, 4), "pos_embed"), "pos_embed") == "embedding"
    assert role_of(bare((9, 4), "pos_weights"), "pos_weights") == "embedding"
    for name in ("composed", "repos", "posts"):
        assert role_of(bare((9, 4), name), name) == "hidden"
    assert (
        role_of(bare((9, 4), "relative_position_bias_table"), "relative_position_bias_table")
        == "bias"
    )
    assert role_of(bare((9, 4), "debiased"), "debiased") == "hidden"


def test_classes_known_by_their_names():
    for name in (
        "RMSNorm",
        "LlamaRMSNorm",
        "BatchNormAct2d",
        "LayerNorm2d",
        "T5LayerNorm",
        "GlobalResponseNorm",
    ):
        assert role_of(bare((4,), module=name)) == "norm"
    assert role_of(bare((1, 1, 1, 4), module="GlobalResponseNorm")) == "norm"
    assert role_of(bare((4, 4), module="WhiteningNorm")) == "hidden"  # no vector
    assert role_of(bare((4,), module="Normalizer")) == "gain"
    for name in ("VocabParallelEmbedding", "PatchEmbed", "Embeddings"):
        assert role_of(bare((9, 4), module=name)) == "embedding"
    assert role_of(bare((9, 4), module="Embedder")) == "hidden"


def test_a_layer_of_ones_own_can_be_the_head():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 4))

    model = nn.Sequential(nn.Linear(4, 4), Dense())
    assert roles(model)["1.weight"] == "head"
    assert whys(model)["1.weight"] == "Dense, by shape, the last layer"


def test_bilinear_and_bag():
    assert role_of(nn.Bilinear(3, 4, 5), "weight") == "head"
    assert role_of(nn.Sequential(nn.Bilinear(3, 4, 5), nn.Linear(5, 2)), "0.weight") == "stack"
    assert role_of(nn.EmbeddingBag(9, 4), "weight") == "embedding"


# ---- the head ----------------------------------------------------------------------------------


def model(**modules):
    made = nn.Module()
    for name, module in modules.items():
        made.add_module(name, module)
    return made


def heads(made):
    return [name for name, role in roles(made).items() if role == "head"]


def blocks(n=2):
    return nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(n))


def test_the_head_is_the_last_layer_after_the_blocks():
    assert heads(model(blocks=blocks(), out=nn.Linear(4, 2))) == ["out.weight"]
    assert heads(model(stem=nn.Linear(4, 4), blocks=blocks())) == []
    assert heads(model(stem=nn.Linear(4, 4), blocks=blocks(1))) == []
    assert heads(nn.Sequential(*blocks(2))) == []
    assert heads(nn.Sequential(*blocks(1))) == ["0.0.weight"]  # no repetition


def test_two_networks_of_one_make_are_no_blocks():
    def net():
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

    assert heads(model(encoder=net(), decoder=net())) == ["decoder.2.weight"]


def test_a_layer_that_something_follows_is_no_head():
    assert heads(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))) == []
    assert heads(nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.PReLU())) == []
    assert heads(nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Flatten()))) == [
        "0.weight"
    ]
    assert heads(model(stem=nn.Linear(4, 4), rnn=nn.LSTM(4, 4))) == []
    assert heads(model(stem=nn.Linear(4, 4), attention=nn.MultiheadAttention(4, 2))) == []


def test_a_shared_layer_stands_where_it_is_used_last():
    first = nn.Linear(4, 4)
    assert heads(nn.Sequential(first, nn.ReLU(), nn.Linear(4, 4), first)) == [
        "0.weight",
        "3.weight",
    ]


def test_heads_side_by_side():
    made = model(trunk=nn.Linear(4, 4), policy=nn.Linear(4, 3), value=nn.Linear(4, 1))
    assert heads(made) == ["policy.weight", "value.weight"]
    assert whys(made)["policy.weight"] == "Linear, parallel to the last layer"
    chained = model(a=nn.Linear(4, 4), b=nn.Linear(4, 3), c=nn.Linear(3, 2))
    assert heads(chained) == ["c.weight"]


def test_a_head_that_was_registered_first_is_known_by_the_embeddings_shape():
    made = model(out=nn.Linear(4, 30), tokens=nn.Embedding(30, 4), blocks=blocks())
    assert heads(made) == ["out.weight"]
    assert whys(made)["out.weight"] == "Linear, shaped like tokens.weight"
    inside = nn.ModuleList(nn.Sequential(nn.Linear(4, 30), nn.Linear(30, 4)) for _ in range(2))
    assert heads(model(tokens=nn.Embedding(30, 4), blocks=inside)) == []
    narrow = model(
        tokens=nn.Embedding(2, 4), a=nn.Linear(4, 2), b=nn.Linear(2, 2), c=nn.Linear(2, 3)
    )
    assert heads(narrow) == ["c.weight"]


def test_a_lazy_module_has_no_shape():
    with pytest.raises(ValueError, match=r"'1\.weight' has no shape yet"):
        roles_of(nn.Sequential(nn.Linear(2, 3), nn.LazyLinear(4)))


def test_all_roles_are_met_here():
    made = nn.ModuleList([cnn(), GPT(), bare(()), nn.Bilinear(2, 2, 2), nn.Linear(2, 2)])
    assert {*roles(made).values()} == {*ROLES}
