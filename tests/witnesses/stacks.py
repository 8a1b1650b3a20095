"""Witnesses of stacks of modifiers, which have no card."""

from collections.abc import Iterator

from ravine import Rule, registry
from ravine.cards import Witness

_ADAM = "lr=lr, betas=(beta1, beta2), eps=eps"
_KOZISTR = "pytorch_optimizer 4.1.0"
STACKS = {
    "lookahead(sgd)": Witness(
        _KOZISTR,
        "pytorch_optimizer.Lookahead(torch.optim.SGD(params, lr=lr), k=lookahead_k, "
        "alpha=lookahead_alpha)",
        loud={"lookahead_k": 7},
    ),
    "lookahead(adam)": Witness(
        _KOZISTR,
        f"pytorch_optimizer.Lookahead(torch.optim.Adam(params, {_ADAM}), k=lookahead_k, "
        "alpha=lookahead_alpha)",
        loud={"lookahead_k": 7},
    ),
    "orthograd(sgd)": Witness(
        _KOZISTR, "pytorch_optimizer.OrthoGrad(torch.optim.SGD(params, lr=lr))"
    ),
    "scheduled_decay(adam)": Witness(
        "torch-optimi 0.3.3",
        f"optimi.AdamW({_ADAM}, weight_decay=weight_decay, decouple_lr=True, max_lr=lr_max)",
        loud={"lr_max": 0.2},
    ),
    "decoupled_decay(cautious_clamped(adam))": Witness(
        "timm 1.0.31",
        f"timm.optim.adamw.AdamWLegacy({_ADAM}, weight_decay=weight_decay, caution=True)",
    ),
    "centralize(sgd)": Witness("optax 0.2.8", "optax.chain(optax.centralize(), optax.sgd(lr))"),
    "clip_by_global_norm(adam)": Witness(
        "optax 0.2.8",
        "optax.chain(optax.clip_by_global_norm(max_norm), optax.adam(lr, b1=beta1, b2=beta2, eps=eps))",
    ),
    "clip_by_value(sgd)": Witness(
        "optax 0.2.8", "optax.chain(optax.clip(clip_value), optax.sgd(lr))"
    ),
    "l2(adam)": Witness(
        "torch 2.13.0",
        f"torch.optim.Adam({_ADAM}, weight_decay=weight_decay)",
        late=True,
    ),
    "mechanic(sgd)": Witness(
        "mechanic-pytorch 0.0.1",
        "mechanic_pytorch.mechanize(torch.optim.SGD, s_init=s_init, s_decay=s_decay, eps=s_eps, "
        "betas=(s_beta1, s_beta2, s_beta3, s_beta4, s_beta5, s_beta6))(params, lr=lr)",
        loud={"lr": 1.0, "s_init": 1.0, "s_eps": 1e-6},
        late=True,
    ),
    "mechanic_clipped(sgd)": Witness(
        "optax 0.2.8",
        "optax.contrib.mechanize(optax.sgd(lr), s_init=s_init, weight_decay=s_decay, eps=s_eps)",
        loud={"lr": 1.0, "s_init": 1.0, "s_eps": 1e-6},
    ),
}


def witnesses() -> Iterator[tuple[Rule, Witness]]:
    """Every witness, of a registered rule or of a stack, with its rule."""
    for rule in registry.own().values():
        for witness in rule.card.known:
            yield rule, witness
    for stack, witness in STACKS.items():
        yield registry.get(stack), witness
