"""Which calls work in the runtime's blocked layout (NCHWc), learned from the nodes that ran.

Whether a convolution is blocked is decided by the runtime from its channels alone: a tree over fifteen questions
finds the rule of any runtime from a few hundred of them. What follows a blocked convolution and works point by point,
pools or joins channels stays blocked; a transpose, a reshape or a slice does not.

    gain(question) = G(all) − (n₁ G(yes) + n₀ G(no)) / n,    G = 2 p (1 − p)       (Breiman et al.: CART, 1984)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.devices.latency.laws.geometry import convolution_of
from compressor.devices.latency.laws.numbers import USUAL, Core
from compressor.graph.calls import Call

__all__ = ["Layout", "fit_layout"]

_CARRIES = {"elementwise", "pool", "layout", "resize"}
_BREAKS = {"permute", "transpose", "slice", "select", "roll", "expand", "chunk", "split", "split_with_sizes"}
_JOINS = {"cat", "concat"}
_LEAST, _DEPTH = 2, 8
Tree = bool | tuple[int, Any, Any]  # a question, the tree for no, the tree for yes


@dataclass(frozen=True)
class Layout:
    """A block is as many channels as the core has lanes."""

    tree: Tree = False
    core: Core = USUAL

    @property
    def lanes(self) -> int:
        return self.core.lanes

    def blocked(self, calls: Sequence[Call]) -> dict[str, bool]:
        """Whether each call's result is in the blocked layout, by the call's name."""
        found: dict[str, bool] = {}
        for call in calls:
            if call.kind == "conv2d":
                found[call.name] = _whole(call, self.lanes) and _ask(self.tree, _questions(call))
            else:
                found[call.name] = carries(call, found, self.lanes) or self._taken(call)
        return found

    def _taken(self, call: Call) -> bool:
        """Whether a pool is blocked on its own account, as a convolution with as many filters as channels would be."""
        if call.kind != "pool" or call.format == "int8" or "adaptive" in call.op or len(call.shape) != 4:
            return False
        channels = call.shape[1]
        return channels % self.lanes == 0 and _ask(self.tree, _answers(False, channels, channels, 1))

    def to_json(self) -> Any:
        return {"tree": self.tree, "lanes": self.lanes, "caches": list(self.core.caches)}

    @staticmethod
    def from_json(data: Any) -> Layout:
        """Raises KeyError, TypeError or ValueError for what is none."""
        near, middle, far = map(float, data["caches"])
        return Layout(_tree_of(data["tree"]), Core(int(data["lanes"]), (near, middle, far)))


def carries(call: Call, blocked: Mapping[str, bool], lanes: int = 8) -> bool:
    """Whether a call that is no convolution works in the layout that all its inputs are in.

    Maps are pooled and joined block by block, so each must fill its last block; a map and one number a channel (a
    gate) are multiplied in the plain layout.
    """
    if call.kind == "elementwise" and any(each.shape != call.shape for each in call.inputs):
        return False
    fits = call.kind in _CARRIES and len(call.shape) == 4 and call.op not in _BREAKS and bool(call.inputs)
    filled = all(len(each.shape) == 4 and each.shape[1] % lanes == 0 for each in call.inputs)
    whole = filled or (call.kind != "pool" and call.op not in _JOINS)
    return fits and whole and all(blocked.get(each.source, False) for each in call.inputs)


def fit_layout(seen: Sequence[tuple[Call, bool]], core: Core = USUAL) -> Layout:
    """From two-dimensional convolutions and whether each ran blocked."""
    return Layout(_grown([(_questions(call), blocked) for call, blocked in seen], _DEPTH), core)


def _whole(call: Call, lanes: int) -> bool:
    """Whether its groups could be made of whole blocks: no block holds channels of two."""
    conv = convolution_of(call)
    return conv is None or conv.groups == 1 or conv.depthwise or conv.channels // conv.groups % lanes == 0


def _questions(call: Call) -> tuple[bool, ...]:
    conv = convolution_of(call)
    if conv is None:
        return _answers(call.format == "int8", 1, 1, 1)
    return _answers(call.format == "int8", conv.channels, conv.filters, conv.groups)


def _answers(integer: bool, channels: int, filters: int, groups: int) -> tuple[bool, ...]:
    depthwise = groups > 1 and groups == channels
    numbers = (channels, channels // groups, filters // groups)
    return (
        integer, depthwise, groups > 1, channels < 4, channels < 8, channels < 16,
        *(number % multiple == 0 for number in numbers for multiple in (4, 8, 16)),
    )  # fmt: skip


def _grown(seen: Sequence[tuple[tuple[bool, ...], bool]], depth: int) -> Tree:
    yes = sum(blocked for _, blocked in seen)
    most = 2 * yes > len(seen)
    if not depth or yes in (0, len(seen)):
        return most
    best, best_impurity = -1, _impurity(yes, len(seen)) - 1e-9
    for question in range(len(seen[0][0])):
        true = [blocked for answers, blocked in seen if answers[question]]
        if not _LEAST <= len(true) <= len(seen) - _LEAST:
            continue
        impurity = _impurity(sum(true), len(true)) + _impurity(yes - sum(true), len(seen) - len(true))
        if impurity < best_impurity:
            best, best_impurity = question, impurity
    if best < 0:
        return most
    parts = [[each for each in seen if each[0][best] is answer] for answer in (False, True)]
    return best, _grown(parts[0], depth - 1), _grown(parts[1], depth - 1)


def _impurity(yes: int, count: int) -> float:
    return 2.0 * yes * (count - yes) / count


def _ask(tree: Tree, answers: tuple[bool, ...]) -> bool:
    while not isinstance(tree, bool):
        tree = tree[2] if answers[tree[0]] else tree[1]
    return tree


def _tree_of(data: Any) -> Tree:
    return data if isinstance(data, bool) else (int(data[0]), _tree_of(data[1]), _tree_of(data[2]))
