"""A convolution as its kernel sees it, and its weights in the order in which the kernel reads them.

    number l of register v of step k of tile t of group g   ←   w of output (t · V + v) · L + l and of the k-th number
                                                                 that a window meets; of codes, of a group of them

L lanes make a register, V registers a tile. Rows of a matrix are places of one line.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.export.kernels.epilogue import PLAIN, Ending
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.patches import Window
from compressor.export.kernels.tiling import Tiling, tiling

__all__ = ["ROWS", "Convolution", "pack_columns"]

ROWS = 128  # of one unit of parallel work, about


@dataclass(frozen=True)
class Convolution:
    """What is computed: `outputs` channels in `groups`, of `samples` (None: known when it runs).

    With a window of one place, samples are the rows of a matrix. `codes`: inputs and weights are bytes, sums whole
    numbers, of weights without a −128 where they are `narrow`; what a window meets in a line is read in the instruction
    set's groups, so that up to a group less one byte behind it must be there. `stored`: weights alone are bytes, of one
    scale an output.
    """

    isa: Isa
    window: Window
    outputs: int
    samples: int | None = None
    groups: int = 1
    codes: bool = False
    stored: bool = False
    narrow: bool = False
    bias: bool = False
    ending: Ending = PLAIN
    parallel: bool = True

    @property
    def of_matrix(self) -> bool:
        """Whether samples are rows of a matrix."""
        return self.window.places == (1, 1)

    @property
    def across(self) -> int | None:
        """Places in a line."""
        return self.samples if self.of_matrix else self.window.places[1]

    @property
    def step(self) -> int:
        """Numbers from a place to the next."""
        return self.window.size if self.of_matrix else self.window.channels * self.window.stride[1]

    @property
    def inputs(self) -> int:
        """Channels of a group."""
        return self.window.channels // self.groups

    @property
    def wide(self) -> int:
        """Output channels of a group."""
        return self.outputs // self.groups

    @property
    def columns(self) -> int:
        """Registers of a group's output channels."""
        return -(-self.wide // self.isa.lanes)

    @property
    def kind(self) -> str:
        """Of what is summed."""
        return "int32" if self.codes else "float32"

    @property
    def together(self) -> int:
        """Numbers of a step of the sum."""
        return self.isa.group if self.codes else 1

    @property
    def band(self) -> int:
        """Places that meet weights at once."""
        return self.isa.band if self.codes else 1

    def bands(self, places: int) -> list[tuple[int, ...]]:
        """So many neighbouring places by bands."""
        return self.isa.bands(range(places)) if self.codes else [(place,) for place in range(places)]

    @property
    def pieces(self) -> int:
        """In how many pieces what a window meets in a line lies: neighbours are in one."""
        return 1 if self.groups == 1 and self.window.dilation[1] == 1 else self.window.kernel[1]

    @property
    def run_steps(self) -> int:
        """Steps of a piece."""
        return -(-self.inputs * (self.window.kernel[1] // self.pieces) // self.together)

    @property
    def run(self) -> int:
        """Steps whose inputs come with one load."""
        most = self.isa.together if self.codes else self.isa.floats
        return most if self.run_steps % most == 0 else 1

    @property
    def steps(self) -> int:
        """Of a whole sum."""
        return self.window.kernel[0] * self.pieces * self.run_steps

    @property
    def tiling(self) -> Tiling:
        return tiling(self.isa, min(self.across or ROWS, ROWS), self.columns, self.steps, self.run, self.band)

    @property
    def last(self) -> int:
        """Registers of the last tile."""
        return self.columns % self.tiling.vectors or self.tiling.vectors


def pack_columns(weight: Tensor, spec: Convolution) -> Tensor:
    """Weights (outputs, Ky, Kx, C / groups) in the order in which the kernel reads them, flat: by group, tile, step,
    register and lane; of codes, the group of a step together."""
    size = spec.run_steps * spec.together
    runs = weight.reshape(spec.groups, spec.wide, spec.window.kernel[0] * spec.pieces, -1)
    runs = functional.pad(runs, (0, size - runs.shape[-1]))
    matrix = runs.reshape(spec.groups, spec.wide, spec.steps, spec.together).transpose(1, 2)
    matrix = functional.pad(matrix, (0, 0, 0, spec.columns * spec.isa.lanes - spec.wide))
    tiles = torch.split(matrix, spec.tiling.vectors * spec.isa.lanes, dim=2)
    return torch.cat([tile.reshape(spec.groups, -1) for tile in tiles], 1).flatten().contiguous()
