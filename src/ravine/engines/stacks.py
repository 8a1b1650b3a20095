"""Stacks of matrices of one shape, and the operations that a library computes on them between kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from ravine import ops
from ravine.arguments import enter
from ravine.arithmetic import drawn_of, typed_like
from ravine.arrays import ALONG, KEPT, REDUCED
from ravine.draws import DRAWN, Draw
from ravine.engines.cutting import Cut, Fused, Turn
from ravine.engines.graph import STEP, Node
from ravine.rule import RuleError

__all__ = ["Calls", "Kind", "Library", "Pool", "Stack", "valued"]


class Library(Protocol):
    """Creates a front's arrays, and computes with them."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """An array of zeros of a dtype by name ("bfloat16")."""

    def address(self, x: Any) -> int:
        """The address of an array."""

    def view(self, address: int, shape: tuple[int, ...], dtype: str) -> Any:
        """The row-major array at an address."""

    def dtype(self, x: Any) -> str:
        """An array's dtype by name."""

    def joined(self, arrays: list[Any]) -> Any:
        """Stacks concatenated."""

    def stacked(self, each: list[Any]) -> Any:
        """Matrices as one array."""

    def filled(self, x: Any, shape: tuple[int, ...], dtype: str) -> Any:
        """An array of this shape and dtype, row by row: x itself if it is one, or with x repeated."""

    def copy(self, to: list[Any], of: list[Any]) -> None:
        """Copy arrays into others."""

    def multiply(self, a: Stack, b: Stack, to: Stack) -> None:
        """The products of the matrices of two stacks."""

    def multiply_add(
        self, base: Stack, beta: float, a: Stack, b: Stack, alpha: float, to: Stack
    ) -> None:
        """The same times alpha, plus a stack times beta."""

    def multiply_in_place(
        self, base: list[Any], beta: float, a: Stack, b: Stack, alpha: float
    ) -> None:
        """The same in place of the stack that is added."""

    def taken(self, x: list[Any], orders: list[Any], axis: int) -> list[Any]:
        """The rows (axis 0) or columns (axis 1) of matrices, each in its own order."""

    def orthonormal(self, x: Any) -> Any:
        """The first part of the QR decompositions of a stack."""

    def newton_schulz(self, x: Any, *numbers: Any) -> Any:
        """The operation on a stack, which may be overwritten. The result is kept until the next call with
        the same stack; its elements stand row by row.
        """

    def calling(self) -> AbstractContextManager[Any]:
        """The context of its calls."""


class Stack:
    """Matrices of one shape: as one array of three axes, as an array for each, or both."""

    __slots__ = ("_each", "_gather", "_whole")

    def __init__(
        self,
        whole: Any = None,
        each: list[Any] | None = None,
        gather: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self._whole, self._each, self._gather = whole, each, gather

    @property
    def whole(self) -> Any:
        """One array."""
        if self._whole is None:
            assert self._gather is not None
            self._whole = self._gather(self._each or [])
        return self._whole

    @property
    def each(self) -> list[Any]:
        """The matrices."""
        if self._each is None:
            self._each = [*self._whole]
        return self._each

    @property
    def shape(self) -> tuple[int, int, int]:
        """The number of matrices, and their rows and columns."""
        if self._whole is not None:
            return tuple(self._whole.shape)  # type: ignore[return-value]
        return (len(self.each), *self.each[0].shape)  # type: ignore[return-value]

    def transposed(self) -> Stack:
        """Their transposes, in the same memory."""
        whole, each, gather = self._whole, self._each, self._gather
        return Stack(
            None if whole is None else ops.apply("transpose", whole),
            None if each is None else [ops.apply("transpose", x) for x in each],
            None if gather is None else lambda _: ops.apply("transpose", self.whole),
        )


class Pool:
    """Memory for stacks, reused from step to step."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._free: dict[tuple[Any, ...], list[Stack]] = {}

    def take(self, shape: tuple[int, ...], dtype: str) -> Stack:
        """A stack with arbitrary contents."""
        free = self._free.get((*shape, dtype))
        return free.pop() if free else Stack(self._library.empty(shape, dtype))

    def give(self, stack: Stack, dtype: str) -> None:
        """Release a stack for another use."""
        self._free.setdefault((*stack.shape, dtype), []).append(stack)


@dataclass(frozen=True)
class Kind:
    """The matrices of one shape of the tensors of one group, which share a stack.

    members: the tensors. many: the number of matrices of each. dtype: of the computation.
    """

    group: int
    members: Sequence[int]
    many: Sequence[int]
    shape: tuple[int, int]
    dtype: str

    def only(self, here: Sequence[bool]) -> Kind:
        """The same for some of the tensors; here: whether each tensor is one of them."""
        pairs = [(i, n) for i, n in zip(self.members, self.many, strict=True) if here[i]]
        members, many = [i for i, _ in pairs], [n for _, n in pairs]
        return Kind(self.group, members, many, self.shape, self.dtype)

    @property
    def places(self) -> Iterator[tuple[int, int, int]]:
        """Each tensor, with the range of its matrices in the stack."""
        begin = 0
        for i, n in zip(self.members, self.many, strict=True):
            yield i, begin, begin + n
            begin += n


class Calls:
    """The computation of one step for a stack.

    slots: a slot of these tensors that is not a column of a kernel. leaves: the values that numbers depend
    on: one for all tensors, or one for each. draws: the source of each tensor's random numbers.
    """

    def __init__(
        self,
        cut: Cut,
        kind: Kind,
        library: Library,
        pool: Pool,
        slots: Callable[[str], list[Any]],
        leaves: Sequence[Mapping[str, Any]],
        draws: Sequence[Draw],
    ) -> None:
        self.cut, self.kind, self.library, self.pool = cut, kind, library, pool
        self.slots, self.leaves, self.draws = slots, leaves, draws
        self.values: dict[int, Any] = {}
        self._numbers: dict[int, Any] = {}
        self._taken: dict[int, list[tuple[Stack, str]]] = {}

    def given(self, node: Node, dtype: str) -> Stack:
        """The stack in which a kernel leaves a node."""
        stack = self.take((sum(self.kind.many), *self.kind.shape), dtype, node.index)
        self.values[node.index] = stack
        return stack

    def take(self, shape: tuple[int, ...], dtype: str, node: int) -> Stack:
        """Memory for the value of a node, until it is no longer needed."""
        stack = self.pool.take(shape, dtype)
        self._taken.setdefault(node, []).append((stack, dtype))
        return stack

    def release(self) -> None:
        """Release all memory."""
        for node in [*self._taken]:
            self._release(node)

    def _release(self, node: int) -> None:
        for stack, dtype in self._taken.pop(node, ()):
            self.pool.give(stack, dtype)

    def run(self, turn: Turn) -> None:
        """Compute the calls of a turn."""
        for node in turn.calls:
            try:
                self.values[node.index] = self._computed(node)
            except (ValueError, RuntimeError, IndexError) as error:
                rows, columns = self.kind.shape
                raise RuleError(
                    f"rule {node.graph.rule.name!r}: {node.op}: {error} (a parameter seen as {rows} by "
                    f"{columns})"
                ) from error
            for old in self.cut.over.get(node.index, ()):
                self._release(old)

    def column(self, node: Node, dtype: str) -> Any:
        """The input of a kernel: a stack in the shape of p."""
        shape = (sum(self.kind.many), *self.kind.shape)
        value = self._value(node)
        whole = value.whole if isinstance(value, Stack) else value
        return self.library.filled(whole, shape, dtype)

    def stored(self, node: Node) -> list[Any]:
        """The new value of a slot, one matrix for each tensor, in separate memory."""
        value, its = self._value(node), node
        while its.op in ("transpose", "item") and its.args:
            its = its.args[0]
        if its.args:
            return value.each
        return Stack(self._gathered(its)(value.each)).each

    def number(self, node: Node) -> Any:
        """A number that is known before the step; one for each matrix if tensors differ in it."""
        if node.op == "constant":
            return node.value
        if node.index not in self._numbers:
            found = [valued(node, leaves) for leaves in self.leaves]
            first = found[0]
            if any(x != first for x in found[1:]):
                each = zip(found, self.kind.many, strict=True)
                first = self._each([float(x) for x, n in each for _ in range(n)])
            self._numbers[node.index] = first
        return self._numbers[node.index]

    def _each(self, numbers: Sequence[float]) -> Any:
        """One number for each matrix, as an array that broadcasts against them."""
        whole = self.library.empty((len(numbers), 1, 1), self.kind.dtype)
        for place, number in zip(whole, numbers, strict=True):
            place[...] = number
        return whole

    def _value(self, node: Node) -> Any:
        """A number or a stack; for a decomposition, a pair of arrays."""
        if node.index in self.values:
            return self.values[node.index]
        if node.level == STEP:
            return self.number(node)
        its = self.slots(node.value)  # a slot
        dtype, gather = self.kind.dtype, self._gathered(node)
        if self.library.dtype(its[0]) != dtype:
            stack = Stack(gather(its))
        elif len(its) == 1:
            stack = Stack(its[0][None], its)
        else:
            stack = Stack(None, its, gather)
        self.values[node.index] = stack
        return stack

    def _gathered(self, node: Node) -> Callable[[list[Any]], Any]:
        def gather(each: list[Any]) -> Any:
            stack = self.take((len(each), *each[0].shape), self.kind.dtype, node.index)
            self.library.copy(stack.each, each)
            return stack.whole

        return gather

    def _computed(self, node: Node) -> Any:
        op = node.op
        if node.index in self.cut.fused:
            return self._added(self.cut.fused[node.index], node.index)
        args = [self._value(x) for x in node.args]
        if node.index in self.cut.without_r:
            return (self.library.orthonormal(args[0].whole),)
        if op == "matmul":
            a, b = args
            to = self.take((*a.shape[:2], b.shape[2]), self.kind.dtype, node.index)
            self.library.multiply(a, b, to)
            return to
        if op == "transpose":
            return args[0].transposed()
        if op == "item":
            x = args[0][int(args[1])]  # eigenvalues are a row here
            return Stack(x[:, None, :] if x.ndim == 2 else x)
        if op == "newton_schulz":
            return self._newton_schulz(node, args[0], args[1:])
        if op in REDUCED:
            return self._reduced(op, args[0])
        if op == "size":
            return float(args[0].shape[1:][int(args[1]) % 2])
        if op == "numel":
            return self._each([float(n) for n in self._many(args[0])])
        if op in DRAWN:
            return self._drawn(op, args[0], int(args[1]))
        if op in KEPT:
            op, args[1] = f"{KEPT[op]}_along", -2 if args[1] % 2 else -1
        elif op in ALONG or op in ("argsort", "take"):
            i = 2 if op == "take" else 1
            args[i] = int(args[i]) % 2 - 2
            if op == "take" and args[1].shape[-3 - args[i]] == 1:  # whole rows or columns
                return self._taken_whole(*args)
        return self._applied(op, args)

    def _taken_whole(self, x: Stack, order: Stack, axis: int) -> Stack:
        each = self.library.taken(x.each, order.each, axis % 2)
        return Stack(None, each, self.library.stacked)

    def _applied(self, op: str, args: Sequence[Any]) -> Any:
        plain = [x.whole if isinstance(x, Stack) else x for x in args]
        like = next((x for x in plain if hasattr(x, "shape")), None)
        with typed_like(like):
            found = ops.apply(op, *plain)
        return Stack(found) if hasattr(found, "shape") else found

    def _added(self, fused: Fused, node: int) -> Stack:
        base, (a, b) = self._value(fused.base), map(self._value, fused.product.args)
        beta, alpha = self._product(fused.beta), self._product(fused.alpha)
        alpha = -alpha if fused.minus else alpha
        to = self.take((*a.shape[:2], b.shape[2]), self.kind.dtype, node)
        if hasattr(alpha, "shape") or hasattr(beta, "shape"):
            self.library.multiply(a, b, to)
            return Stack(beta * base.whole + alpha * to.whole)
        self.library.multiply_add(base, float(beta), a, b, float(alpha), to)
        return to

    def store_late(self, slot: str, fused: Fused) -> None:
        """Compute a slot in place."""
        base, (a, b) = self.slots(slot), map(self._value, fused.product.args)
        beta, alpha = self._product(fused.beta), self._product(fused.alpha)
        alpha = -alpha if fused.minus else alpha
        if (
            hasattr(alpha, "shape")
            or hasattr(beta, "shape")
            or self.library.dtype(base[0]) != self.kind.dtype
        ):
            self.library.copy(base, self._added(fused, fused.base.index).each)
        else:
            self.library.multiply_in_place(base, float(beta), a, b, float(alpha))

    def _product(self, numbers: Sequence[Node]) -> Any:
        product: Any = 1.0
        for number in numbers:
            product = product * self.number(number)
        return product

    def _newton_schulz(self, node: Node, x: Stack, numbers: Sequence[Any]) -> Stack:
        whole, dtype = x.whole, "bfloat16" if numbers[2] else self.kind.dtype
        if node.index not in self.cut.mine or self.library.dtype(whole) != dtype:
            copy = self.take(x.shape, dtype, node.index)
            self.library.copy([copy.whole], [whole])
            whole = copy.whole
        plain = [float(n) if isinstance(n, float) else n for n in numbers]
        return Stack(self.library.newton_schulz(whole, *plain))

    def _many(self, x: Any) -> Iterator[int]:
        """The number of elements in each matrix's tensor."""
        _, rows, columns = x.shape
        for n in self.kind.many:
            yield from [n * rows * columns] * n

    def _reduced(self, op: str, x: Any) -> Any:
        """Reduce over all of a tensor, to one number for each of its matrices."""
        found = x.whole if isinstance(x, Stack) else x
        for axis in (-1, -2):
            found = ops.apply(f"{op}_along", found, axis)
        if max(self.kind.many) > 1:
            parts = [found[begin:end] for _, begin, end in self.kind.places]
            whole = [ops.apply(f"{op}_along", part, -3) for part in parts]
            pairs = zip(whole, self.kind.many, strict=True)
            found = self.library.joined([x for x, n in pairs for _ in range(n)])
        return Stack(found)

    def _drawn(self, op: str, like: Any, stream: int) -> Stack:
        parts = []
        for (_, begin, end), draw in zip(self.kind.places, self.draws, strict=True):
            with drawn_of(draw):
                parts.append(ops.apply(op, like.whole[begin:end], stream))
        return Stack(self.library.joined(parts))


def valued(node: Node, leaves: Mapping[str, Any]) -> Any:
    """A number that depends only on leaves, which are given by name."""
    known: dict[int, Any] = {}
    for x in node.graph.needed([node]):
        if x.op == "constant":
            known[x.index] = x.value
        elif not x.args:
            known[x.index] = enter(leaves[x.value])
        else:
            known[x.index] = ops.apply(x.op, *(known[a.index] for a in x.args))
    return known[node.index]
