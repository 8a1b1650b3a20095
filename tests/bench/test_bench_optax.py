"""The benchmark of the optax front."""

import pytest

pytest.importorskip("jax", reason="jax is not installed; the extra optax brings it")
pytest.importorskip("optax", reason="optax is not installed; the extra optax brings it")


def test_both_step_and_the_ratio_is_of_their_times():
    from ravine.bench import optax

    (row,) = optax.run(["sgd"], ["mlp"], seconds=0.0)
    assert row["rule"] == "sgd"
    assert row["against_optax"] == pytest.approx(row["optax_us"] / row["us"])


def test_what_optax_lacks_and_unknown_shapes_are_refused():
    from ravine.bench import optax

    with pytest.raises(ValueError, match="known to match 'soap'"):
        next(optax.run(["soap"]))
    with pytest.raises(ValueError, match="shapes='gpt5' is invalid; it must be one of mlp, blocks"):
        next(optax.run(["sgd"], ["gpt5"]))
