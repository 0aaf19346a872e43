"""Which of the target's execution providers runs each node of a lowered model, and which nodes none of them can run.

A node goes to the first provider, in the target's order of preference, that lists its operator. A provider that
lists "*" runs every operator that its runtime knows: those of the runtime's opset and of ONNX Runtime's own domains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import onnx_ir as ir
import onnxruntime

from compressor.errors import UnsupportedError
from compressor.export.custom_op.nodes import DOMAIN
from compressor.targets.target import Provider, Target

__all__ = ["Placement", "place"]


@dataclass(frozen=True)
class Placement:
    """Nodes by provider, in order of preference, and by operator those that the first provider leaves to others."""

    counts: Mapping[str, int]
    fallbacks: Mapping[str, int] = field(default_factory=dict)

    @property
    def fallen(self) -> int:
        """Number of nodes that fall back from the preferred provider."""
        return sum(self.fallbacks.values())

    def to_json(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "fallbacks": dict(self.fallbacks)}


def place(model: ir.Model, target: Target) -> Placement:
    """Assign every node, those of subgraphs included.

    Raises UnsupportedError naming the operators that no provider has, and the layers where they are.
    """
    counts: Counter[str] = Counter({provider.name: 0 for provider in target.providers})
    fallbacks: Counter[str] = Counter()
    homeless: dict[str, list[str]] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        provider = _provider_of(node, target)
        if provider is None:
            homeless.setdefault(_shown(node), []).append(str(node.name))
        else:
            counts[provider.name] += 1
            if provider is not target.providers[0]:
                fallbacks[_shown(node)] += 1
    if homeless:
        raise UnsupportedError(
            f"no execution provider of {target.name!r} runs " + ", ".join(homeless),
            where=", ".join(place for places in homeless.values() for place in places),
            way_out=f"Providers: {', '.join(provider.name for provider in target.providers)}. "
            "Write those layers with other operators, or choose another target.",
        )
    return Placement(dict(counts), dict(fallbacks))


def _provider_of(node: ir.Node, target: Target) -> Provider | None:
    for provider in target.providers:
        everything = "*" in provider.operators
        if _known(node, target.runtime.opset) if everything else not node.domain and provider.runs(node.op_type):
            return provider
    return None


def _known(node: ir.Node, opset: int) -> bool:
    """Whether the runtime has this operator, or is given it by the model's own library. Those of other domains than
    ONNX's are not tied to its opset."""
    if node.domain == DOMAIN:
        return True
    since = _operators().get((node.domain, node.op_type))
    return since is not None and (bool(node.domain) or since <= opset)


@cache
def _operators() -> Mapping[tuple[str, str], int]:
    """(domain, operator) → the opset in which it appeared, as the ONNX Runtime installed here knows them."""
    found: dict[tuple[str, str], int] = {}
    for schema in onnxruntime.capi.onnxruntime_pybind11_state.get_all_operator_schema():
        key = (schema.domain, schema.name)
        found[key] = min(found.get(key, schema.since_version), schema.since_version)
    return found


def _shown(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type
