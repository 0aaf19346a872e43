"""What a kernel knows of a processor: how long a register is, how codes come out of bytes, how products add up.

    total[l] ← total[l] + Σ_j w[l, j] · x[j],        j = 0 … J − 1, int32, exact for any bytes

Weights are one operand of a dot product or several (halves that were widened), made once for all rows; so are
activations, once for all outputs. Where an instruction multiplies several rows at once, these are a band: their sums
lie side by side in as many registers as the band has rows, and only the instruction set knows how.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script import tirx as T  # noqa: N812  as TVM calls it

from compressor.export.kernels.packing import Layout

__all__ = ["Isa", "Operand"]

Operand = tuple[Any, ...]


@dataclass(frozen=True)
class Isa(ABC):
    """`features` are LLVM's names of what the processor must have; `lanes` of 32 bits make one of its `registers`.

    `rows` (a power of two) × `vectors` are the sums that a kernel for many rows holds in registers. `together` groups
    of activations come with one load, or so many `floats` of them. A lane takes `group` inputs of its output at once. A
    `band` of rows meets weights at once, and its sums take as many registers, of fewer rows, too; `by_row` finds them
    there.
    """

    name: str
    features: frozenset[str]
    lanes: int
    registers: int
    rows: int
    vectors: int
    together: int = 1
    floats: int = 1
    group: int = 4
    band: int = 1

    @property
    def at_once(self) -> int:
        """Bytes that an instruction multiplies at once."""
        return 4 * self.lanes

    def layout(
        self, outputs: int, inputs: int, bits: int, block: int | None = None, *, lowest: int | None = None
    ) -> Layout:
        """How weights of which the least is `lowest` (−2^(bits−1) if not said) lie for this instruction set.

        Raises InputError as `Layout` does.
        """
        lowest = -(2 ** (bits - 1)) if lowest is None else lowest
        zero = self.zero(bits, lowest)
        narrow = bits == 8 and zero == 0 and lowest > -128
        return Layout(outputs, inputs, bits, zero, self.lanes, self.vectors, block, self.group, narrow=narrow)

    def zero(self, bits: int, lowest: int) -> int:
        """What is added to weights to make codes; nothing where bytes are multiplied as signed ones."""
        return -lowest if bits < 8 else 0

    def shift(self, layout: Layout, field: int) -> int:
        """Bits by which a code comes out too large: masked where it lies."""
        return 0 if self.shifted(layout, field) else layout.bits * field

    @abstractmethod
    def shifted(self, layout: Layout, field: int) -> bool:
        """Whether the field is moved down, because where it lies it would be too large for `dot`."""

    def weights(self, packed: Any, layout: Layout, field: int) -> Operand:
        """The codes of one field of a register of bytes (uint8), as `dot` takes them."""
        if layout.fields > 1:
            down = self.shifted(layout, field)
            packed = self.moved(packed, layout.bits * field) if down else packed
            if not down or field < layout.fields - 1:
                mask = (2**layout.bits - 1) << (0 if down else layout.bits * field)
                packed = packed & T.broadcast(T.uint8(mask), self.at_once)
        return (T.bind(packed),)

    def moved(self, packed: Any, bits: int) -> Any:
        """Bytes shifted to the right."""
        return T.shift_right(packed, T.broadcast(T.uint8(bits), self.at_once))

    def activations(self, loads: Sequence[Any], run: int, layout: Layout) -> list[Operand]:
        """For each of `run` groups of bytes, loaded at once for each row of a band, the operand of `dot`: of one row in
        every lane."""
        return [self.operand(each, layout) for each in self._spread(loads, run, "int8")]

    def _spread(self, loads: Sequence[Any], run: int, kind: str) -> list[Any]:
        [load], group = loads, f"int{8 * self.group}"
        if run == 1:
            groups = [T.reinterpret(group, load)]
        else:
            loaded = T.bind(T.reinterpret(f"{group}x{run}", load))
            groups = [tirx.Shuffle([loaded], [tirx.IntImm("int32", i)]) for i in range(run)]
        return [T.reinterpret(f"{kind}x{self.at_once}", T.broadcast(each, self.lanes)) for each in groups]

    def operand(self, activations: Any, layout: Layout) -> Operand:
        """Activations in all lanes as `dot` takes them."""
        return (T.bind(activations),)

    @abstractmethod
    def dot(self, total: Any, weights: Operand, activations: Operand) -> Any:
        """`total` (int32) and in each lane the sum of four products."""

    def for_codes(self, channels: int = 0) -> Isa:
        """What products of bytes are made of: itself, or one that is better at them, or, where what lies behind so many
        channels a group is not to be read, whose groups fit them."""
        return self

    @property
    def unsigned_inputs(self) -> bool:
        """Whether `dot_bytes` takes activations as unsigned bytes."""
        return False

    def bytes_of(self, packed: Any) -> Operand:
        """A register of signed bytes, weights, as `dot_bytes` takes them."""
        return (T.bind(packed),)

    def input_bytes(self, loads: Sequence[Any], run: int = 1) -> list[Operand]:
        """The same as `dot_bytes` takes them."""
        return [self.bytes_of(each) for each in self._spread(loads, run, "uint8" if self.unsigned_inputs else "int8")]

    def dot_bytes(self, total: Any, weights: Operand, activations: Operand) -> Any:
        """`total` (int32) and in each lane the sum of four products of bytes."""
        return self.dot(total, weights, activations)

    def byte_dots(self, total: Any, weights: Sequence[Operand], activations: Sequence[Operand], *, narrow: bool) -> Any:
        """The same for groups that come together; `narrow`: no weight is −128."""
        for left, right in zip(weights, activations, strict=True):
            total = self.dot_bytes(total, left, right)
        return total

    def dots(self, total: Any, weights: Sequence[Operand], activations: Sequence[Operand]) -> Any:
        """`dot` for groups that come together."""
        for left, right in zip(weights, activations, strict=True):
            total = self.dot(total, left, right)
        return total

    def bands(self, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Rows by bands; the last one may have fewer."""
        return [tuple(rows[start : start + self.band]) for start in range(0, len(rows), self.band)]

    def band_dots(
        self, sums: Sequence[Any], weights: Sequence[Operand], activations: Sequence[Operand], rows: int
    ) -> list[Any]:
        """`dots` to the sums of a band that has so many rows."""
        [total] = sums
        return [self.dots(total, weights, activations)]

    def band_bytes(
        self, sums: Sequence[Any], weights: Sequence[Operand], activations: Sequence[Operand], rows: int, *,
        narrow: bool = False,
    ) -> list[Any]:  # fmt: skip
        """`byte_dots` to the sums of a band that has so many rows."""
        [total] = sums
        return [self.byte_dots(total, weights, activations, narrow=narrow)]

    def by_row(self, sums: Sequence[Any], rows: int) -> list[Any]:
        """A register of outputs for each row of a band."""
        return list(sums)

    def begun(self, outputs: Any, rows: int) -> list[Any]:
        """Sums of a band that begin with a register of outputs in each row."""
        return [outputs]
