import numpy as np

from ravine.engines.batch import Batch
from ravine.engines.patterns import corrections, denominators, running_means
from ravine.engines.python import equations
from ravine.engines.rewriting import kept, leaf_of, rewritten, users
from ravine.engines.tracing import trace
from ravine.rules import adagrad, adam, amsgrad, lion, momentum, rmsprop


def test_a_version_differs_in_one_place_and_shares_the_rest():
    graph = trace(adam)
    (first, second) = corrections(graph)
    before = {n.index for n in graph.needed(graph.outputs.values())}
    version = rewritten(graph, nodes={first.node.index: first.of})
    assert equations(version) == [
        x.replace("m_hat", "m") for x in equations(graph) if not x.startswith("m_hat")
    ]
    new = {n.index for n in version.needed(version.outputs.values())} - before
    assert len(new) == 3  # lr * m, the quotient, p - quotient
    assert graph.outputs["p"] is not version.outputs["p"]
    assert graph.outputs["v"] is version.outputs["v"]
    both = rewritten(version, nodes={second.node.index: second.of})
    assert equations(both)[-1] == "p = p - lr * m / (sqrt(v) + eps)"
    assert equations(graph)[-1] == "p = p - lr * m_hat / (sqrt(v_hat) + eps)"


def test_uses_and_outputs():
    graph = trace(momentum)
    b, lr = graph.outputs["b"], leaf_of(graph, "lr")
    ((user, place),) = users(graph)[b.index]
    old = rewritten(graph, uses={(user.index, place): leaf_of(graph, "b")})
    assert equations(old)[-1] == "p = p - lr * b_old"
    twice = rewritten(graph, outputs={"p": lambda new: new - lr * b})
    values = {k: h.default for k, h in momentum.hyperparameters.items()}
    starts, grads = np.ones((1, 2, 2)), np.ones((3, 1, 2, 2))
    once, two = (Batch(g).path(starts, grads, values) - 1 for g in (graph, twice))
    np.testing.assert_allclose(two, 2 * once)


def test_what_is_kept_follows_from_the_outputs():
    graph = trace(adam)
    assert kept(graph) == ("m", "v")
    p = leaf_of(graph, "p") - leaf_of(graph, "lr") * graph.outputs["m"]
    assert rewritten(graph, outputs={"p": lambda _: p}).live == ("m",)


def test_patterns():
    graph = trace(adam)
    assert [(c.beta.value, c.rooted, c.node.op) for c in corrections(graph)] == [
        ("beta1", False, "div"),
        ("beta2", False, "div"),
    ]
    means = {m.slot: m for m in running_means(graph)}
    assert [*means] == ["m", "v"]
    assert means["m"].value.value == "g"
    assert means["v"].value.op == "pow"
    assert all(m.weight is not None for m in means.values())
    (d,) = denominators(graph)
    assert d.eps.value == "eps"
    assert d.square is means["v"].node or d.square.args[0] is means["v"].node
    (b,) = running_means(trace(momentum))
    assert b.weight is None
    assert [m.slot for m in running_means(trace(lion))] == ["m"]
    assert [m.slot for m in running_means(trace(amsgrad))] == ["m", "v"]
    assert [m.slot for m in running_means(trace(rmsprop))] == ["v"]
    assert not [*running_means(trace(adagrad))]
    assert not [*corrections(trace(momentum))]
