"""The float program with fake quantization exactly where its integers will be, and what was learned there.

    linear(x, W)  →  linear(fake_rows(x), fake_weight(W))       in blocks; so a pointwise convolution's positions
    conv(x, W)    →  fake_range(conv(fake_range(x), fake_weight(W)))       int8, where `plan_pairs` puts its pairs

Shadow weights keep their names; steps are `NAME_step` times e^`NAME_gain`, ranges `NAME_bounds` times e^`NAME_gain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.contract import Setting
from compressor.graph.edit import add_tensor, begin, finish, insert, read
from compressor.graph.program import Program
from compressor.passes.quantizing.blocks import matrix_of
from compressor.passes.quantizing.integer import Pair, bias_in_integers, insert_pairs, plan_pairs
from compressor.passes.quantizing.learned import Learned
from compressor.passes.quantizing.settings import block_of, format_of, is_block, is_integer, is_static, weight_format
from compressor.passes.quantizing.sites import Layer, find_glue, find_layers, is_transparent, rank
from compressor.passes.quantizing.training.lesson import Lesson
from compressor.passes.quantizing.weights import storage_key, weight_qparams
from compressor.quant import fake
from compressor.quant.blocks import BLOCK_FORMATS, TERNARY, Blocks, pack_blocks, quantize_blocks
from compressor.quant.formats import Format, Granularity, spread

__all__ = ["Student", "make_student"]

aten, ops = torch.ops.aten, torch.ops.compressor
_AXES = {"tensor": -1, "row": 0, "block": 1}


@dataclass(frozen=True)
class _Step:
    """Where a learned step lies: its start and its gain."""

    scale: str
    gain: str

    def value(self, program: Program) -> Tensor:
        return fake.learned(program.get(self.scale).detach(), program.get(self.gain).detach())


@dataclass
class Student:
    """The program that is trained, the number in it that blends floats into integers, and where the learned lies."""

    program: Program
    lesson: Lesson
    blend: str = ""
    layers: list[tuple[Layer, Setting]] = field(default_factory=list)
    steps: dict[tuple[int, ...], _Step] = field(default_factory=dict)
    step_of: dict[str, _Step] = field(default_factory=dict)
    pairs: dict[Pair, _Step] = field(default_factory=dict)
    inputs: dict[fx.Node, Pair] = field(default_factory=dict)  # of calls that compute in integers

    def learned(self, trained: Program) -> Learned:
        """What the trained program says: the very codes and scales that it computed with."""
        blocks = {
            layer.name: self._blocks(trained, layer, setting) for layer, setting in self.layers if is_block(setting)
        }
        steps = {
            layer.weight: self.step_of[layer.weight].value(trained)
            for layer, setting in self.layers
            if not is_block(setting)
        }
        pairs = {}
        for pair, step in self.pairs.items():
            low, high = step.value(trained).tolist()
            pairs[pair] = replace(pair, low=low, high=high)
        return Learned(blocks, steps, pairs)

    def _blocks(self, trained: Program, layer: Layer, setting: Setting) -> Blocks:
        weight, block, format = matrix_of(trained, layer), block_of(setting), BLOCK_FORMATS[format_of(setting)]
        count = -(-weight.shape[1] // block)
        if layer.weight not in self.step_of:
            found = fake.absmean(weight, *_grouping(self.lesson, block))
            scales = found.high.reshape(-1, 1).expand(len(weight), count) if found.high.dim() < 2 else found.high
            codes = found.codes
        else:
            scales = self.step_of[layer.weight].value(trained)
            scales = scales.flatten(1) if layer.axis == 0 else scales.T
            codes = torch.clamp(
                torch.round(weight / spread(scales, weight, Granularity(1, block))), format.low, format.high
            )
        scales = torch.where(scales == 0, torch.ones_like(scales), scales).contiguous()
        return Blocks(pack_blocks(codes.to(torch.int8), format, block), scales, format, block, weight.shape[1])


def make_student(program: Program, settings: Mapping[str, Setting], lesson: Lesson) -> Student:
    """A copy of a functional program that can be trained. What the settings do not name stays float."""
    copy = begin(program)
    every, _ = find_layers(copy)
    chosen = [layer for layer in every if is_integer(settings.get(layer.name, {}))]
    student = Student(copy, lesson, layers=[(layer, settings[layer.name]) for layer in chosen])
    first = next(iter(copy.nodes()))
    student.blend = str(add_tensor(copy, "quantizing_blend", torch.zeros(()), first, buffer=True).target)
    _activations(student, every, settings)
    _rows(student)
    for layer, setting in student.layers:
        _weight(student, layer, setting)
    student.program = finish(copy)
    return student


def _activations(student: Student, every: Sequence[Layer], settings: Mapping[str, Setting]) -> None:
    """The fake pairs of what computes in integers."""
    integer = {site: s for site, s in settings.items() if format_of(s) == "int8"}
    layers = [layer for layer, setting in student.layers if layer.name in integer]
    pairs = plan_pairs(student.program, layers, find_glue(student.program), integer)
    static = [layer for layer in layers if is_static(integer[layer.name])]
    student.inputs = {node: pairs[layer.data(node)] for layer in static for node in layer.nodes}
    floating = {node for layer in every for node in layer.nodes} - set(student.inputs)
    insert_pairs(student.program, pairs, floating, _FakePairs(student))


class _FakePairs:
    """Writes `fake_range` behind a value. What only moves values has its source's range already."""

    def __init__(self, student: Student) -> None:
        self.student, self.program = student, student.program

    def __call__(self, node: fx.Node, pair: Pair, at: fx.Node) -> fx.Node:
        known = self.student.pairs.get(pair)
        if known is not None and is_transparent(node):
            return node
        source = node if node.op != "placeholder" else at
        moves = self.student.lesson.ranges if not pair.clipped else "fixed"
        if known is None:
            start = torch.tensor([pair.low, pair.high], dtype=torch.float64)
            bounds = add_tensor(self.program, f"{pair.name}_bounds", start, at, buffer=True)
            gain = add_tensor(self.program, f"{pair.name}_gain", torch.zeros(2), at, buffer=moves != "learned")
            self.student.pairs[pair] = _Step(str(bounds.target), str(gain.target))
        else:
            bounds, gain = read(self.program, known.scale, at), read(self.program, known.gain, at)
        if moves == "settle":
            blend = read(self.program, self.student.blend, at)
            insert(self.program, ops.watch_range.default, (bounds, node, blend, False), like=source, before=at)
            bounds = insert(self.program, aten.clone.default, (bounds,), like=source, before=at)
        args = (node, bounds, gain, pair.format.name)
        return insert(self.program, ops.fake_range.default, args, like=source, before=at)


def _rows(student: Student) -> None:
    """What layers in blocks read, rounded by row and block where their kernels will."""
    readers: dict[tuple[fx.Node, int, bool], list[tuple[Layer, fx.Node]]] = {}
    for layer, setting in student.layers:
        if is_block(setting) and "activation" in setting:
            for node in layer.nodes:
                key = layer.data(node), block_of(setting), layer.kind == "conv"
                readers.setdefault(key, []).append((layer, node))
    for (source, block, moves), found in readers.items():
        at, channels_last = min(node for _, node in found), [0, *range(2, rank(source)), 1]
        x = insert(student.program, aten.permute.default, (source, channels_last), like=at) if moves else source
        rounded = insert(student.program, ops.fake_rows.default, (x, block), like=at)
        if moves:
            back = [channels_last.index(axis) for axis in range(rank(source))]
            rounded = insert(student.program, aten.permute.default, (rounded, back), like=at)
        for layer, node in found:
            node.update_arg(layer.positions[0], rounded)


def _weight(student: Student, layer: Layer, setting: Setting) -> None:
    """Let every call of a layer read its weight rounded."""
    program, at = student.program, min(layer.nodes)
    source, blend = read(program, layer.weight, at), read(program, student.blend, at)
    block = block_of(setting) if is_block(setting) else 0
    format: Format = BLOCK_FORMATS[format_of(setting)] if block else weight_format(setting)
    if format is TERNARY and student.lesson.steps != "learned":
        rounded = _absmean(student, layer, source, blend, block)
    else:
        scale, gain = _step(student, layer, setting, at)
        axis = 1 - layer.axis if block else layer.axis
        args = (source, scale, gain, blend, int(format.low), int(format.high), axis, block, False)
        rounded = insert(program, ops.fake_weight.default, args, like=at)
    for node in layer.nodes:
        node.update_arg(layer.positions[1], rounded)
        bias = layer.bias(node)
        if bias is not None and bias_in_integers(layer, node) and node in student.inputs:
            _bias(student, layer, node, bias)


def _bias(student: Student, layer: Layer, node: fx.Node, bias: fx.Node) -> None:
    """Let a call read its bias as the accumulator counts it."""
    pair, step = student.inputs[node], student.step_of[layer.weight]
    if bias.meta["val"].shape == student.program.get(step.gain).shape:
        names = (step.scale, step.gain, student.pairs[pair].scale, student.pairs[pair].gain)
        args = (bias, *(read(student.program, name, node) for name in names), pair.format.name)
        node.replace_input_with(bias, insert(student.program, ops.fake_bias.default, args, like=node))


def _absmean(student: Student, layer: Layer, source: fx.Node, blend: fx.Node, block: int) -> fx.Node:
    """The ternary weight by its means, as a matrix (outputs, inputs) and back."""
    at, shape = min(layer.nodes), list(source.meta["val"].shape)

    def call(target: Callable[..., Any], *args: object) -> fx.Node:
        return insert(student.program, target, args, like=at)

    matrix = call(aten.flatten.using_ints, source, 1) if layer.axis == 0 else call(aten.transpose.int, source, 0, 1)
    rounded = call(ops.fake_absmean.default, matrix, blend, *_grouping(student.lesson, block), False)
    return call(aten.reshape.default, rounded, shape) if layer.axis == 0 else call(aten.transpose.int, rounded, 0, 1)


def _step(student: Student, layer: Layer, setting: Setting, at: fx.Node) -> tuple[fx.Node, fx.Node]:
    """The start and the gain of a weight's step; weights that share memory share them."""
    program, key = student.program, storage_key(student.program.get(layer.weight))
    if key not in student.steps:
        start = _first_step(program, layer, setting)
        scale = add_tensor(program, f"{layer.weight}_step", start, at, buffer=True)
        gain = add_tensor(program, f"{layer.weight}_gain", torch.zeros_like(start), at)
        student.steps[key] = _Step(str(scale.target), str(gain.target))
    step = student.step_of[layer.weight] = student.steps[key]
    return read(program, step.scale, at), read(program, step.gain, at)


def _first_step(program: Program, layer: Layer, setting: Setting) -> Tensor:
    """What rounding without training takes."""
    if is_block(setting):
        blocks = quantize_blocks(matrix_of(program, layer), BLOCK_FORMATS[format_of(setting)], block_of(setting))
        if layer.axis != 0:
            return blocks.scales.T.contiguous()
        return blocks.scales.reshape(*blocks.scales.shape, *[1] * (program.get(layer.weight).dim() - 2))
    return weight_qparams(program, layer, weight_format(setting)).scale


def _grouping(lesson: Lesson, block: int) -> tuple[int, int]:
    """The axis and block of BitNet's means."""
    return _AXES[lesson.steps], block if lesson.steps == "block" else 0
