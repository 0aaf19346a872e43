"""The float program with fake quantization exactly where its integers will be, and what was learned there.

    linear(x, W)  →  linear(fake_rows(x), fake_weight(W))       in blocks; so a convolution's positions
    conv(x, W)    →  fake_range(conv(fake_range(x), fake_weight(W)))       int8, where `plan_pairs` puts its pairs

Shadow weights keep their names; steps are `NAME_step` times e^`NAME_gain`, ranges `NAME_bounds` times e^`NAME_gain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx

from compressor.graph.contract import Setting
from compressor.graph.edit import add_tensor, begin, finish, insert, read
from compressor.graph.program import Program
from compressor.passes.quantizing.codes.rounding import rounding_of
from compressor.passes.quantizing.codes.weights import matrix_of
from compressor.passes.quantizing.settings import block_of, format_of, is_block, is_integer, is_static
from compressor.passes.quantizing.sites import Layer, find_glue, find_layers, is_transparent, rank
from compressor.passes.quantizing.ties import storage_key, turned_names
from compressor.passes.quantizing.training.lesson import Lesson
from compressor.passes.quantizing.training.steps import (
    Step,
    codes_by,
    first_step,
    format_in,
    grid_of,
    grouping,
    insert_rounding,
)
from compressor.passes.quantizing.writing.integer import Pair, bias_in_integers, insert_pairs, plan_pairs
from compressor.quant import fake
from compressor.quant.blocks import TERNARY
from compressor.quant.solvers.rounding import Rounded

__all__ = ["Student", "make_student"]

aten, ops = torch.ops.aten, torch.ops.compressor


@dataclass
class Student:
    """The program that is trained, the number in it that blends floats into integers, and where the learned lies."""

    program: Program
    lesson: Lesson
    blend: str = ""
    layers: list[tuple[Layer, Setting]] = field(default_factory=list)
    steps: dict[tuple[int, ...], Step] = field(default_factory=dict)
    step_of: dict[str, Step] = field(default_factory=dict)
    pairs: dict[Pair, Step] = field(default_factory=dict)
    inputs: dict[fx.Node, Pair] = field(default_factory=dict)  # of calls that compute in integers

    def codes(self, trained: Program) -> dict[str, Rounded]:
        """The very codes and scales that the trained program computed with, by layer."""
        return {layer.name: self._rounded(trained, layer, setting) for layer, setting in self.layers}

    def pairs_of(self, trained: Program) -> dict[Pair, Pair]:
        """Each pair of activations as it became."""
        found = {}
        for pair, step in self.pairs.items():
            low, high = step.value(trained).tolist()
            found[pair] = replace(pair, low=low, high=high)
        return found

    def _rounded(self, trained: Program, layer: Layer, setting: Setting) -> Rounded:
        if layer.weight in self.step_of:
            return codes_by(trained, layer, setting, self.step_of[layer.weight].value(trained))
        matrix = matrix_of(trained, layer)
        found = fake.absmean(matrix, *grouping(setting))
        return Rounded(found.codes, grid_of(found.high, matrix, format_in(setting), block_of(setting)))


def make_student(program: Program, settings: Mapping[str, Setting], lesson: Lesson) -> Student:
    """A copy of a functional program that can be trained.

    What the settings do not name stays float, and so does a matrix that other layers read transposed: its one scale is
    not learned, it is rounded afterwards.
    """
    copy = begin(program)
    every, _ = find_layers(copy)
    rounded = [layer for layer in every if is_integer(settings.get(layer.name, {}))]
    turned = turned_names(copy, rounded)
    chosen = [layer for layer in rounded if layer.name not in turned]
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
            self.student.pairs[pair] = Step(str(bounds.target), str(gain.target))
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
    if format_in(setting) is TERNARY and rounding_of(setting).rule == "absmean":
        rounded = _absmean(student, layer, source, blend, setting)
    else:
        rounded = insert_rounding(program, source, _step(student, layer, setting, at), blend, layer, setting)
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


def _absmean(student: Student, layer: Layer, source: fx.Node, blend: fx.Node, setting: Setting) -> fx.Node:
    """The ternary weight by its means, as a matrix (outputs, inputs) and back."""
    at, shape = min(layer.nodes), list(source.meta["val"].shape)

    def call(target: Callable[..., Any], *args: object) -> fx.Node:
        return insert(student.program, target, args, like=at)

    if layer.axis:
        turned = call(aten.transpose.int, source, 0, 1)
        rounded = call(ops.fake_absmean.default, turned, blend, *grouping(setting), False)
        return call(aten.transpose.int, rounded, 0, 1)
    last, first = [0, *range(2, len(shape)), 1], [0, len(shape) - 1, *range(1, len(shape) - 1)]
    channels_last = call(aten.permute.default, source, last)  # blocks are runs of channels
    matrix = call(aten.flatten.using_ints, channels_last, 1)
    rounded = call(ops.fake_absmean.default, matrix, blend, *grouping(setting), False)
    return call(aten.permute.default, call(aten.reshape.default, rounded, [shape[axis] for axis in last]), first)


def _step(student: Student, layer: Layer, setting: Setting, at: fx.Node) -> tuple[fx.Node, fx.Node]:
    """The start and the gain of a weight's step; weights that share memory share them."""
    program, key = student.program, storage_key(student.program.get(layer.weight))
    if key not in student.steps:
        start = first_step(program, layer, setting)
        scale = add_tensor(program, f"{layer.weight}_step", start, at, buffer=True)
        gain = add_tensor(program, f"{layer.weight}_gain", torch.zeros_like(start), at)
        student.steps[key] = Step(str(scale.target), str(gain.target))
    step = student.step_of[layer.weight] = student.steps[key]
    return read(program, step.scale, at), read(program, step.gain, at)
