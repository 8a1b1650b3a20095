"""What there is to say of a rule."""

import pytest

import ravine
from ravine import like_p, registry, scalar
from ravine.reading.about import about, source
from ravine.rules import adam, adamw, rmsprop, sgd


@pytest.mark.parametrize("name", registry.names())
def test_every_rule_is_documented(name):
    rule = registry.get(name)
    facts = about(rule)
    assert rule.paper
    assert rule.at
    assert facts.elsewhere, f"{name}: say how other packages differ"
    assert all(package and what for package, what in facts.elsewhere)
    assert 0 < len(facts.summary) <= 60, f"{name}: the summary is one line of `ravine list`"
    for h in rule.hyperparameters.values():
        assert h.meaning != "hyperparameter of this rule", f"{name}: what does {h.name} mean?"


def test_state_bytes():
    assert about(sgd).state_bytes(4) == 0
    assert about(adam).state == ("m", "v")
    assert about(adam).state_bytes(8) == 16
    assert about(rmsprop).state == ("v",)
    assert about(rmsprop, centered=True, momentum=0.9).state == ("v", "m", "b")


def counted(p, g, n, *, lr=1.0):
    """Count."""
    n = n + 1
    return p - lr * g / n, n


def test_scalar_state_is_told_apart():
    facts = about(ravine.rule(n=scalar(0.0))(counted))
    assert facts.state == ()
    assert facts.scalars == ("n",)


def test_state_in_words():
    assert about(sgd).kept() == "none: 0 bytes per parameter"
    assert about(adam).kept("`") == "`m`, `v`: 8 bytes per float32 parameter, 16 per float64"
    assert about(registry.get("adafactor")).kept() == (
        "r, c: one number per row or column; v: only where ndim(p) is 0 or 1"
    )
    assert about(registry.get("adafactor")).state_bytes(4) == 0
    assert about(registry.get("asgd")).kept("`") == (
        "`ax`: 4 bytes per float32 parameter, 8 per float64; `eta`, `mu`: one number per tensor; "
        "`eta` starts at lr; `mu` starts at 1"
    )
    assert "start starts at p" in about(ravine.rule(start=like_p)(pulled)).kept()


def pulled(p, g, start, *, lr=1.0):
    """Pull."""
    return p - lr * (g + p - start), start


def test_elsewhere_is_read_entry_by_entry():
    packages = [package for package, _ in about(adam).elsewhere]
    assert "TensorFlow, Keras" in packages
    assert all("\n" not in what and "  " not in what for _, what in about(adamw).elsewhere)


def test_source_is_the_function_without_decorator_and_docstring():
    text = source(adam.function)
    assert text.startswith("def adam(p, g, m, v, t, *,")
    assert '"""' not in text
    assert "# biased first moment" in text
    assert text.endswith("return p - lr * m_hat / (sqrt(v_hat) + eps), m, v\n")


def test_source_that_cannot_be_found_is_named():
    space: dict = {}
    exec("def typed(p, g, *, lr=1.0):\n    return p - lr * g", space)
    with pytest.raises(ValueError, match="source of typed cannot be found"):
        source(space["typed"])
