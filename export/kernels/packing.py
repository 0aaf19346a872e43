"""Weights in the order in which a kernel reads them: every byte once, one after another, in whole vector registers.

    byte j of lane l of vector v of group g of chunk c of tile t holds, in field f,
    the code of output n = (t·V + v)·L + l and input k = ((c·F + f)·G + g)·J + j

L lanes of J = 4 bytes make a register, V registers a tile (the outputs that one pass computes), F = 8/bits fields a
byte, G groups of J inputs a run. Where an instruction takes J = 8 inputs of an output, a register here is two of the
processor's; where one takes 2, its sums are. Lanes are outputs, so that no sum is ever taken across a register; a field
holds a run of neighbouring inputs, so that activations stay in their own order. A field is read by a mask alone: the
code comes out 4^f (16^f) times too large, and the sum is divided once. That four bytes of a lane are multiplied and
added by one instruction is VNNI's and sdot's idea; interleaving rows and masking instead of shifting are bitnet.cpp's
and T-MAC's relatives (arXiv:2410.16144, arXiv:2407.00088).

Codes are unsigned, weight plus `zero`, or (`zero` 0) bytes in two's complement. What pads outputs and inputs stands for
zero, and its scale is zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from compressor.errors import InputError

__all__ = ["Layout", "Packed", "pack_outputs", "pack_weights", "unpack_weights"]

_LINE, _ALIAS = 64, 1024  # bytes
_RUN = 16  # inputs whose groups lie one after another in a field: a load of activations


@dataclass(frozen=True)
class Layout:
    """How a matrix (`outputs`, `inputs`) of `bits` (2, 4 or 8) lies in registers of `lanes`, `vectors` a tile.

    `zero` is added to signed weights to make codes. `block` inputs share a scale; None: all of a row do. `group` inputs
    are what a lane's dot product takes. `narrow`: no byte is −128. Raises InputError for what no kernel reads.
    """

    outputs: int
    inputs: int
    bits: int
    zero: int
    lanes: int
    vectors: int
    block: int | None = None
    group: int = 4
    narrow: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.bits not in (2, 4, 8):
            raise InputError(f"kernels read weights of 2, 4 or 8 bits, not {self.bits}")
        if min(self.outputs, self.inputs, self.lanes, self.vectors) < 1:
            raise InputError(f"a matrix of {self.outputs} × {self.inputs} has nothing to multiply")
        if self.block is not None and (self.block < 1 or self.block % self.chunk):
            raise InputError(
                f"a block of {self.block} inputs is not whole bytes of {self.bits} bits", way_out="32, 64 or 128"
            )

    @property
    def fields(self) -> int:
        """Codes in a byte."""
        return 8 // self.bits

    @property
    def highest(self) -> int:
        """The largest code, where codes are unsigned: of weights from −zero on, ternary ones (zero 1) end at 2."""
        return 2 if (self.bits, self.zero) == (2, 1) else 2**self.bits - 1

    @property
    def run(self) -> int:
        """Groups of inputs that lie one after another in a field."""
        most = _RUN // self.group
        return most if self.block is None else max(1, min(most, self.block // (self.group * self.fields)))

    @property
    def chunk(self) -> int:
        """Inputs in a run of whole bytes."""
        return self.fields * self.run * self.group

    @property
    def chunks(self) -> int:
        """Runs in a row, padding included."""
        unit = self.block or self.chunk
        return math.ceil(self.inputs / unit) * unit // self.chunk

    @property
    def width(self) -> int:
        """Inputs in a row, padding included."""
        return self.chunks * self.chunk

    @property
    def stride(self) -> int:
        """Bytes from one row of activations to the next: no power of two, or rows would share a cache's sets."""
        padded = -(-self.width // _LINE) * _LINE
        return padded + (_LINE if padded % _ALIAS == 0 else 0)

    @property
    def blocks(self) -> int:
        """Scales in a row."""
        return 1 if self.block is None else self.width // self.block

    @property
    def columns(self) -> int:
        """Registers that hold one number of every output."""
        return math.ceil(self.outputs / self.lanes)

    @property
    def register(self) -> int:
        """Bytes in a register."""
        return self.lanes * self.group

    @property
    def step(self) -> int:
        """Bytes that one register's outputs take in a chunk."""
        return self.run * self.register

    @property
    def last(self) -> int:
        """Registers of the last tile where it is narrower or ends within a register; else 0."""
        rest = self.columns % self.vectors
        return rest or (self.vectors if self.outputs % self.lanes else 0)

    @property
    def tiles(self) -> int:
        """Tiles of whole `vectors`, the last one of `last` not among them."""
        return (self.columns - self.last) // self.vectors


@dataclass(frozen=True)
class Packed:
    """A matrix as kernels read it: `codes` flat uint8; `scales` flat float32, by tile, block and output."""

    codes: Tensor
    scales: Tensor
    layout: Layout


def pack_weights(codes: Tensor, scales: Tensor, layout: Layout) -> Packed:
    """Signed codes (N, K) and their scales, (N,) or (N, ⌈K/block⌉), for a kernel.

    Raises InputError where shapes do not belong together or a weight plus `zero` does not fit its bits.
    """
    if codes.shape != (layout.outputs, layout.inputs) or scales.numel() != layout.outputs * layout.blocks:
        raise InputError(
            f"codes {tuple(codes.shape)} and scales {tuple(scales.shape)} are not those of a matrix "
            f"{layout.outputs} × {layout.inputs} with {layout.blocks} scales a row"
        )
    low, high = (0, layout.highest) if layout.zero else (-127 if layout.narrow else -128, 127)
    shifted = codes.to(torch.int32) + layout.zero
    if bool((shifted < low).any() or (shifted > high).any()):
        raise InputError(f"codes from {int(codes.min())} to {int(codes.max())} do not fit {layout.bits} bits")
    padding = (0, layout.width - layout.inputs, 0, layout.columns * layout.lanes - layout.outputs)
    fields = functional.pad(shifted & 0xFF, padding, value=layout.zero)
    fields = fields.view(layout.columns, layout.lanes, layout.chunks, layout.fields, layout.run, layout.group)
    places = torch.arange(layout.fields).mul(layout.bits).view(-1, 1, 1)
    bytes_ = (fields << places).sum(3).to(torch.uint8).permute(0, 2, 3, 1, 4)  # column, chunk, run, lane, input
    by_output = functional.pad(scales.detach().float().view(layout.outputs, -1), (0, 0, 0, padding[3]))
    by_column = by_output.view(layout.columns, layout.lanes, -1)
    return Packed(
        torch.cat([bytes_[tile].permute(1, 2, 0, 3, 4).flatten() for tile in _tiles(layout)]),
        torch.cat([by_column[tile].permute(2, 0, 1).flatten() for tile in _tiles(layout)]),
        layout,
    )


def pack_outputs(values: Tensor, layout: Layout) -> Tensor:
    """A number for each output, a bias (N) for one, as long as registers are: int32 of integers, else float32.

    Raises InputError for another length.
    """
    if values.shape != (layout.outputs,):
        raise InputError(f"a vector {tuple(values.shape)} is not one of {layout.outputs} outputs")
    values = values.detach().float() if values.is_floating_point() else values.to(torch.int32)
    return functional.pad(values, (0, layout.columns * layout.lanes - layout.outputs))


def unpack_weights(packed: Packed) -> tuple[Tensor, Tensor]:
    """The signed codes (N, K) int8 and scales (N, blocks) that `pack_weights` was given."""
    layout = packed.layout
    columns, scales, at, at_scale = [], [], 0, 0
    for tile in _tiles(layout):
        vectors = tile.stop - tile.start
        size, count = vectors * layout.chunks * layout.step, vectors * layout.lanes * layout.blocks
        part = packed.codes[at : at + size].view(layout.chunks, layout.run, vectors, layout.lanes, layout.group)
        columns.append(part.permute(2, 3, 0, 1, 4))  # column, lane, chunk, run, input
        scales.append(packed.scales[at_scale : at_scale + count].view(layout.blocks, -1).T)
        at, at_scale = at + size, at_scale + count
    places = torch.arange(layout.fields).mul(layout.bits).view(-1, 1, 1)
    fields = (torch.cat(columns).to(torch.int32).unsqueeze(3) >> places) & (2**layout.bits - 1)
    codes = fields.reshape(layout.columns * layout.lanes, layout.width)[: layout.outputs, : layout.inputs]
    signed = codes - layout.zero if layout.zero else codes - 256 * (codes > 127)
    return signed.to(torch.int8), torch.cat(scales)[: layout.outputs]


def _tiles(layout: Layout) -> Iterator[slice]:
    """The registers of each tile."""
    for start in range(0, layout.columns, layout.vectors):
        yield slice(start, min(start + layout.vectors, layout.columns))
