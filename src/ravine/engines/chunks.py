"""How the elements of tensors are distributed among threads: in chunks, runs of chunks, and ranges."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["chunks", "longest_run", "ranges"]

# Chunks are small enough to balance many cores, and few enough that their table is.
_SHORTEST_CHUNK, _MOST_CHUNKS = 8192, 1024
# Threads claim runs of neighbouring chunks, because each jump in memory loses the hardware's prefetching
# (a fifth of Adam's time on ResNet-18).
_LONGEST_RUN, _FEWEST_RUNS = 8, 64
# Chunks of matrices are longer by this factor, since each leaves a number for every column.
_ROWS = 4
# Those of wide matrices have so many rows, where that leaves so many pieces: putting together what they leave
# is one thread's work.
_MOST_ROWS, _FEWEST_PIECES = 32, 8


def chunks(
    size: int, matrix: tuple[int, int] | None = None, shortest: int = _SHORTEST_CHUNK
) -> tuple[int, Sequence[int]]:
    """The number of elements in a chunk of a tensor, and where each chunk begins.

    matrix: the rows and columns of each of its matrices, if it is seen as such; a chunk then has whole rows
    of one, or several whole ones. shortest: the least length of a chunk, a power of two.
    """
    length = shortest
    while size > length * _MOST_CHUNKS:
        length *= 2
    if matrix is None or not size:
        return length, range(0, size, length)
    length *= _ROWS
    rows, columns = matrix
    area = rows * columns
    if area < size and area <= length:
        length = area * (length // area)
        return length, range(0, size, length)
    length = columns * max(1, length // columns, min(_MOST_ROWS, rows // _FEWEST_PIECES))
    begun = range(0, size, area)
    return length, [first + start for first in begun for start in range(0, area, length)]


def longest_run(count: int) -> int:
    """The number of chunks that a thread claims at once."""
    return max(1, min(_LONGEST_RUN, count // _FEWEST_RUNS))


def ranges(
    sizes: Sequence[int], spans: Sequence[tuple[int, Sequence[int]]], threads: int
) -> list[int]:
    """The first chunk of each thread's range, and the end of the last one; ranges have equal lengths.

    sizes: of the tensors. spans: the results of `chunks` for them.
    """
    before = accumulate([0, *sizes])
    begins = [n + at for n, (_, starts) in zip(before, spans, strict=False) for at in starts]
    shares = (sum(sizes) * i / threads for i in range(threads))
    return [*(bisect_left(begins, share) for share in shares), len(begins)]
