"""Which layers a format makes slower, as the latency model predicts: t(in the format) > 1.01 · t(as it was).

Both programs are predicted whole, the second with empty codes of the right sizes, and each layer's kernels compared:
its product, and the changes of layout that a convolution takes to be one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

import compressor.quant.ops  # noqa: F401  registers the custom ops
from compressor.graph.contract import Context, Setting
from compressor.graph.cost import SLACK
from compressor.graph.edit import finish, is_call
from compressor.graph.program import Program
from compressor.passes.quantizing.settings import format_of, is_block, is_static
from compressor.passes.quantizing.sites import Layer, find_glue, find_layers
from compressor.passes.quantizing.ties import tied_groups, tied_names
from compressor.passes.quantizing.writing.blocks import apply_blocks
from compressor.passes.quantizing.writing.integer import apply_integer

__all__ = ["Times", "predict_saved", "predict_times", "slow_integers"]

_PRODUCT = "compressor::linear_blocks"
_UNPACK = torch.ops.compressor.dequantize.default


@dataclass(frozen=True)
class Times:
    """Milliseconds by layer without and with the format, and of the program in `all`; `calibrated` where they rest on
    measurements."""

    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    all: tuple[float, float] = (0.0, 0.0)
    calibrated: bool = False

    def slower(self, *names: str) -> bool:
        """Whether layers are predicted to lose more than one percent together; not where nothing is known of one."""
        if not names or not self.after.keys() >= set(names) <= self.before.keys():
            return False
        return sum(self.after[name] for name in names) > SLACK * sum(self.before[name] for name in names)

    @property
    def slower_in_all(self) -> bool:
        return self.all[1] > SLACK * self.all[0]

    def told(self, name: str, other: str) -> str:
        """Both numbers in words."""
        return f"{self.after[name]:.3g} ms, {other} {self.before[name]:.3g} ms{self.origin}"

    @property
    def origin(self) -> str:
        return "" if self.calibrated else " (uncalibrated)"


def predict_times(
    program: Program, context: Context, settings: Mapping[str, Setting], instead: Mapping[str, Setting]
) -> Times:
    """Times of the layers that `settings` puts in blocks, beside the program with the settings `instead`.

    Nothing is known without a latency model, and where its profile has not measured such products.
    """
    blocks = {name: setting for name, setting in settings.items() if is_block(setting)}
    if context.latency is None or not blocks:
        return Times()
    plain, unchanged = _with(program, instead)
    changed, made = _with(program, {**instead, **blocks})
    before, after = (context.latency.predict(each, context.target) for each in (plain, changed))
    if _PRODUCT in after.unknown:
        return Times()
    totals = before.latency_ms, after.latency_ms
    return Times(before.times(_of(blocks, unchanged)), after.times(_of(blocks, made)), totals, after.calibrated)


def slow_integers(
    program: Program, context: Context, settings: Mapping[str, Setting], *, measured: bool = True
) -> dict[str, str]:
    """Why static layers had better stay float, by layer: both times, as a profile of the target's kernels predicts;
    or, unless `measured`, the roofline where there is none.

    All of them where integers make the whole program slower, else those that are slower themselves, where the program
    gains by leaving them: between two integer layers each change of format costs, too. Nothing where the target's
    objective is size, and of layers that share a weight.
    """
    static = {name for name, setting in settings.items() if is_static(setting)}
    if context.latency is None or context.target.objective != "latency" or not static:
        return {}
    before = context.latency.predict(program, context.target)
    if measured and not before.calibrated:
        return {}
    changed, names = _with(program, settings)
    after = context.latency.predict(changed, context.target)
    tied = tied_names(program, find_layers(program)[0])
    layers = {name: settings[name] for name in static & names.keys() - tied}
    times = Times(before.times(_of(layers, names)), after.times(_of(layers, names)), calibrated=after.calibrated)
    if after.latency_ms > SLACK * before.latency_ms:
        whole = f"{after.latency_ms:.3g} ms, fp32 {before.latency_ms:.3g} ms{times.origin}"
        return dict.fromkeys(layers, f"int8 is predicted to make the whole slower: {whole}")
    slow = {name for name in layers if times.slower(name)}
    left, _ = _with(program, {name: setting for name, setting in settings.items() if name not in slow})
    if not slow or context.latency.predict(left, context.target).latency_ms * SLACK > after.latency_ms:
        return {}
    return {name: f"int8 is predicted to be slower: {times.told(name, 'fp32')}" for name in slow}


def predict_saved(program: Program, context: Context, settings: Mapping[str, Setting]) -> dict[str, float]:
    """Milliseconds that each of these layers saves against fp32 where all have their settings, int8 or blocks.

    Layers of which nothing is known are left out.
    """
    if context.latency is None:
        return {}
    (plain, unchanged), (changed, made) = _with(program, {}), _with(program, settings)
    before, after = (context.latency.predict(each, context.target) for each in (plain, changed))
    if _PRODUCT in after.unknown:
        return {}
    old, new = before.times(_of(settings, unchanged)), after.times(_of(settings, made))
    return {name: old[name] - new[name] for name in settings if name in old and name in new}


def _with(program: Program, settings: Mapping[str, Setting]) -> tuple[Program, dict[str, set[str]]]:
    """A copy with those settings, blocks without their values, and the names of each layer's nodes."""
    copy = program.copy()
    layers, _ = find_layers(copy)
    integer = {name: setting for name, setting in settings.items() if format_of(setting) == "int8"}
    if integer:
        apply_integer(copy, layers, find_glue(copy), integer, {})
    names = {layer.name: _called(layer) for layer in layers}
    blocks = [layer for layer in layers if is_block(settings.get(layer.name, {}))]
    for group in tied_groups(copy, blocks):
        known = {node.name for node in copy.graph.nodes}
        apply_blocks(copy, group, settings, blank=True)
        names |= dict.fromkeys((layer.name for layer in group), {node.name for node in copy.graph.nodes} - known)
    return finish(copy), names


def _called(layer: Layer) -> set[str]:
    """The names of a layer's calls, and of what unpacks their weights in every run."""
    unpacked = [source for node in layer.nodes for source in node.all_input_nodes if is_call(source, _UNPACK)]
    return {node.name for node in (*layer.nodes, *unpacked)}


def _of(layers: Iterable[str], nodes: Mapping[str, set[str]]) -> dict[str, set[str]]:
    return {name: nodes[name] for name in layers if name in nodes}
