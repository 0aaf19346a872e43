"""What a program does, as plain data without weights: all that a latency model may know of it, for any board.

    predict(program, board) = price(outline(program), board)

An outline is drawn once and priced for as many boards as one likes, also when the program is long gone. Runtimes fuse
differently, so it holds the kernels as each kind of runtime groups them, and the calls as they are in the graph. A
program's own outline draws what is asked for when it is asked for; one that was kept holds everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor

from compressor.graph.calls import Call, calls_of
from compressor.graph.concrete import Values
from compressor.graph.kernels import Kernel, Schedule, layer_of, schedule
from compressor.graph.memory import peak_activation_bytes
from compressor.graph.program import Program
from compressor.graph.sparsity import GROUPS, Zeros, zeros_of

__all__ = ["FUSIONS", "Fusion", "Kernels", "Outline", "Work", "outline"]

Fusion = Literal["onnxruntime", "tensorrt", "tvm"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)


@dataclass(frozen=True)
class Work:
    """One fused kernel: what it computes and moves. `layer` names it after its parameters, `nodes` are the calls it
    covers, `arithmetic` is the format of its multiply–accumulates, `blocks` says that its weight is stored in blocks
    of few bits and read as such. `zeros` are those of its weight, where it has some in a pattern."""

    layer: str
    kind: str
    shape: tuple[int, ...]
    format: str
    arithmetic: str
    blocks: bool
    macs: int
    weight_bytes: int
    activation_bytes: int
    nodes: tuple[str, ...]
    zeros: Zeros | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Work:
        """Raises KeyError or TypeError for what is none."""
        tuples = {name: tuple(said[name]) for name in ("shape", "nodes")}
        zeros = None if said["zeros"] is None else Zeros.from_json(said["zeros"])
        return cls(**{**said, **tuples, "zeros": zeros})


@dataclass(frozen=True)
class Kernels:
    """In order of execution, with the most bytes of activations that live at once."""

    works: tuple[Work, ...]
    peak_activation_bytes: int


@dataclass
class Outline:
    """`known` holds the kernels by how a runtime fuses, `listed` the calls; what is missing is drawn from `source`.
    `groups` are the patterns' lengths that zeros are sought in."""

    known: dict[Fusion, Kernels] = field(default_factory=dict)
    listed: tuple[Call, ...] | None = None
    source: tuple[Program, Values] | None = None
    groups: Collection[int] = ()
    _schedules: dict[Fusion, Schedule] = field(default_factory=dict, repr=False)

    def kernels(self, fusion: Fusion) -> Kernels:
        """As this kind of runtime groups the calls."""
        if fusion not in self.known:
            plan = self._schedule(fusion)
            works = tuple(self._drawn(kernel, plan) for kernel in plan.kernels)
            self.known[fusion] = Kernels(works, peak_activation_bytes(plan))
        return self.known[fusion]

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call that depends on an input."""
        if self.listed is None:
            program, values = self._program()
            self.listed = calls_of(program, values, self._schedule("onnxruntime"))
        return self.listed

    def _program(self) -> tuple[Program, Values]:
        if self.source is None:
            raise ValueError("an outline that was kept does not hold this")
        return self.source

    def _schedule(self, fusion: Fusion) -> Schedule:
        if fusion not in self._schedules:
            program, values = self._program()
            own = fusion == "tvm"
            self._schedules[fusion] = schedule(program, values, requantized=fusion != "tensorrt", own=own)
        return self._schedules[fusion]

    def _drawn(self, kernel: Kernel, plan: Schedule) -> Work:
        return Work(
            layer=layer_of(kernel.anchor), kind=kernel.kind, shape=_shape(kernel, plan), format=kernel.format,
            arithmetic=kernel.arithmetic, blocks=kernel.blocks, macs=kernel.macs,
            weight_bytes=sum(kernel.weights.values()), activation_bytes=kernel.activation_bytes,
            nodes=tuple(node.name for node in kernel.nodes),
            zeros=zeros_of(self._program()[0], kernel, self.groups) if self.groups else None,
        )  # fmt: skip


def outline(program: Program, values: Values, groups: Collection[int] = GROUPS) -> Outline:
    """Of a program with these shapes; without `groups` no weight is looked at."""
    return Outline(source=(program, values), groups=tuple(groups))


def _shape(kernel: Kernel, plan: Schedule) -> tuple[int, ...]:
    shapes = [plan.values[node] for node in kernel.outputs or kernel.nodes[-1:]]
    return tuple(shapes[-1].shape) if shapes and isinstance(shapes[-1], Tensor) else ()
