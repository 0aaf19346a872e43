"""What converters of TVM's importer have in common: the network's stored tensors, and data as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx
from torch.export import ExportedProgram

from compressor.errors import ExportError
from compressor.export.kernels.epilogue import Ending, Step
from compressor.export.kernels.isa import Isa
from compressor.export.kernels.module import End, sized

__all__ = ["Reading", "arguments_of", "data_of", "end_of", "pair", "stored_in"]


@dataclass
class Reading:
    """`stored` by the name of the node that reads it; `kernels` None: the processor has none."""

    stored: Mapping[str, Tensor]
    kernels: Isa | None

    @property
    def isa(self) -> Isa:
        """Raises ExportError where there are no kernels."""
        if self.kernels is None:
            raise ExportError("there are no kernels for this processor", way_out="Leave --runtime out.")
        return self.kernels

    def tensor(self, node: Any) -> Tensor:
        """A stored tensor. Raises ExportError for one that is computed."""
        if not isinstance(node, fx.Node) or node.name not in self.stored:
            raise ExportError(f"TVM takes stored scales, weights and biases alone; {node} is computed")
        return self.stored[node.name].detach()

    def optional(self, node: Any) -> Tensor | None:
        return None if node is None else self.tensor(node)


def stored_in(exported: ExportedProgram) -> dict[str, Tensor]:
    """Parameters, buffers and constants by the name of the node that reads them."""
    known = {**exported.constants, **exported.state_dict}
    specs = exported.graph_signature.input_specs
    return {spec.arg.name: known[spec.target] for spec in specs if spec.target in known}


def arguments_of(node: fx.Node) -> tuple[Any, ...]:
    """What a call is given, in order."""
    return node.args


def data_of(importer: Any, node: fx.Node) -> Any:
    """The relax variable of a node, its shape told."""
    return sized(importer.block_builder, importer.env[node], node.meta["val"].shape)


def end_of(importer: Any, residual: Any, low: float | None, high: float | None, codes: Sequence[float] | None) -> End:
    """What follows a product, of a node's arguments."""
    added = None if residual is None else data_of(importer, residual)
    if codes is None:
        return End(added, Ending(added is not None, low, high))
    step, zero, least, most, unsigned = codes
    rounded = Step(step, int(zero), int(least), int(most), bool(unsigned))
    return End(added, Ending(added is not None, low, high, rounded))


def pair(sizes: Sequence[int]) -> tuple[int, int]:
    """Of both axes of an image."""
    first, second = sizes
    return int(first), int(second)
