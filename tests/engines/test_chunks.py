"""Chunks cover a tensor, whole rows where there are some, and each thread has its share of them."""

import itertools

import pytest

from ravine.engines.chunks import chunks, ranges


@pytest.mark.parametrize("size", [0, 1, 8192, 8193, 10**7, 2**33])
def test_chunks_follow_one_another(size):
    length, starts = chunks(size)
    assert len(starts) <= 1024
    assert [*starts] == [*range(0, size, length)]


@pytest.mark.parametrize(
    ("many", "rows", "columns"), [(1, 7, 5), (3, 768, 3072), (5000, 3, 3), (2, 9, 10**6)]
)
def test_chunks_of_matrices_have_whole_rows_of_one_or_several_whole_ones(many, rows, columns):
    size, area = many * rows * columns, rows * columns
    length, starts = chunks(size, (rows, columns))
    begins = [*starts, size]
    for begin, end in itertools.pairwise(begins):
        assert end - begin <= length
        assert begin % columns == 0
        assert begin // area == (end - 1) // area or (begin % area == end % area == 0)
    assert begins[0] == 0


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_each_thread_has_as_many_elements(threads):
    sizes = [5, 100, 3, 40, 0, 500, 8]
    spans = [(10, range(0, size, 10)) for size in sizes]
    bounds = ranges(sizes, spans, threads)
    assert len(bounds) == threads + 1
    assert bounds[0] == 0
    assert bounds[-1] == sum(len(starts) for _, starts in spans)
    chunks = [min(10, size - at) for size in sizes for at in range(0, size, 10)]
    for begin, end in itertools.pairwise(bounds):
        assert abs(sum(chunks[begin:end]) - sum(sizes) / threads) <= 10
