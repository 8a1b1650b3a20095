"""Memory in common: waves and members alone, against a search through all pairs."""

from itertools import combinations, product

from hypothesis import given
from hypothesis import strategies as st

from ravine.engines.overlap import sharing

spans = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 6)).map(lambda x: (x[0], x[0] + x[1])), max_size=3
)
members = st.lists(st.tuples(spans, spans), max_size=6)


def meet(a, b):
    return any(max(x[0], y[0]) < min(x[1], y[1]) for x, y in product(a, b))


def collide(one, other):
    """Whether one of two members writes what the other reads or writes."""
    (reads, writes), (their_reads, their_writes) = one, other
    return meet(writes, their_reads + their_writes) or meet(reads, their_writes)


@given(members)
def test_members_of_one_wave_can_be_stepped_at_once_and_all_keep_their_order(step):
    waves, _ = sharing([m[0] for m in step], [m[1] for m in step])
    assert len(waves) == len(step)
    for i, j in combinations(range(len(step)), 2):
        if collide(step[i], step[j]):
            assert waves[i] < waves[j]


@given(members)
def test_a_wave_is_as_early_as_it_can_be(step):
    waves, _ = sharing([m[0] for m in step], [m[1] for m in step])
    for j, wave in enumerate(waves):
        before = [waves[i] for i in range(j) if collide(step[i], step[j])]
        assert wave == max(before, default=-1) + 1


@given(members)
def test_alone_are_those_that_write_what_else_they_use(step):
    _, alone = sharing([m[0] for m in step], [m[1] for m in step])
    assert alone == {
        i
        for i, (reads, writes) in enumerate(step)
        if meet(reads, writes) or any(meet([x], [y]) for x, y in combinations(writes, 2))
    }


def test_neighbours_and_empty_arrays_share_nothing():
    assert sharing([[(0, 8)], [(8, 16)]], [[(16, 24)], [(24, 32)]]) == ([0, 0], set())
    assert sharing([[]], [[(4, 4), (0, 8)]]) == ([0], set())
