"""Codes found on data, layer by layer: what a layer reads comes from the layers before it as they are stored.

    min ‖W X₀ − Ŵ X‖²       by the layer's solver (`quant/solvers/rounding.py`), with its bias corrected (`biases.py`);
                            X₀ is what the layer reads in the float network, where there are positions enough for that

A layer whose weight another call reads too, or that the data does not reach, is rounded by its weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, fx

from compressor.errors import RecipeError
from compressor.graph.contract import Batch, Context, Setting, Skip
from compressor.graph.edit import argument, set_tensor
from compressor.graph.program import Program
from compressor.passes.quantizing.codes.biases import correct, correction, ready
from compressor.passes.quantizing.codes.rounding import Rounding, plain_solver, rounding_of
from compressor.passes.quantizing.settings import block_of, format_of, is_block, weight_format
from compressor.passes.quantizing.sites import Layer, find_layers
from compressor.passes.quantizing.ties import tied_names
from compressor.passes.reading.inputs import Inputs, walk
from compressor.passes.reading.matrix import from_matrix, rows_of, to_matrix
from compressor.quant.blocks import BLOCK_FORMATS
from compressor.quant.solvers.rounding import Rounded, round_matrix
from compressor.quant.solvers.target import target

__all__ = ["ENOUGH", "Solved", "is_searched", "round_as", "solve"]

WIDEST = 8192  # inputs of a layer that gptq solves: time grows with their cube
ENOUGH = 4  # positions an input, for its weights to be fitted to what the float layer gives
_KINDS = ("conv", "linear", "matmul")


@dataclass
class Solved:
    """Codes by layer, where data found them, the settings as they came out, and where the data did not reach."""

    codes: dict[str, Rounded] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)


@dataclass(frozen=True)
class _Matrix:
    """A layer of the working copy as `walk` wants it."""

    layer: Layer
    groups: int

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def nodes(self) -> tuple[fx.Node, ...]:
        return self.layer.nodes

    def data(self, node: fx.Node) -> fx.Node:
        return self.layer.data(node)

    def inputs(self, program: Program) -> int:
        return int(self.of(program).shape[-1])

    def rows(self, program: Program, node: fx.Node, data: Tensor, limit: int) -> Tensor:
        return rows_of(node, data, program.get(self.layer.weight), self.layer.kind, limit).float()

    def of(self, program: Program) -> Tensor:
        """Groups × outputs × inputs."""
        return to_matrix(program.get(self.layer.weight).detach(), self.layer.kind, self.groups)

    def write(self, program: Program, rounded: Rounded) -> None:
        """Store what the codes stand for, as floats."""
        like: Tensor = program.get(self.layer.weight).detach()
        set_tensor(program, self.layer.weight, from_matrix(rounded.values, like, self.layer.kind))


def solve(
    program: Program,
    layers: Sequence[Layer],
    settings: Mapping[str, Setting],
    batches: Sequence[Batch],
    context: Context,
) -> Solved:
    """What the settings that ask for inputs or for a solver make of a functional program's layers; its biases are
    corrected in place.

    Raises RecipeError where a setting asks for inputs and there is no calibration data of the user's.
    """
    found = Solved(settings=dict(settings))
    wanted = {layer.name: layer for layer in layers if layer.name in settings and _is_rounded(settings[layer.name])}
    asking = [name for name in wanted if rounding_of(settings[name]).asks_for_inputs]
    if asking and (context.synthetic or not batches):
        what = "asks for what the layer reads, and there is no calibration data"
        raise RecipeError(what, where=f"quantize: site {asking[0]!r}", way_out="Give --data, or another solver.")
    shared = tied_names(program, layers)
    refused = {name: reason for name in asking if (reason := _refusal(wanted[name], shared))}
    for name, reason in refused.items():
        asking.remove(name)
        _retreat(found, name, reason)
    if asking:
        _solve_on_data(program, layers, wanted, asking, batches, context, found)
    for name, layer in wanted.items():  # int8 rows by another solver than the writer's; blocks are searched there
        if name in found.codes or not is_searched(found.settings[name]):
            continue
        if name in shared:
            how = {key: value for key, value in found.settings[name].items() if key != "solver"}
            found.settings[name] = how
            found.skipped.append(Skip(name, "rounded to nearest: its weight is shared with another layer"))
        else:
            matrix = _Matrix(layer, _groups(layer))
            found.codes[name] = round_as(matrix.of(program), found.settings[name], None)
    return found


def _solve_on_data(
    program: Program, layers: Sequence[Layer], wanted: Mapping[str, Layer], asking: Sequence[str],
    batches: Sequence[Batch], context: Context, found: Solved,
) -> None:  # fmt: skip
    """The layers that ask for inputs, in the order of their calls, in a working copy."""
    settings, shared = dict(found.settings), tied_names(program, layers)
    scratch, before = program.copy(), program.copy()
    twins = {layer.name: layer for layer in find_layers(scratch)[0] if layer.name in wanted and layer.kind in _KINDS}
    matrices = [_Matrix(layer, _groups(layer)) for layer in twins.values()]
    alone = {matrix.name for matrix in matrices if _refusal(wanted[matrix.name], shared)}

    def write_plain(matrix: _Matrix) -> None:
        matrix.write(scratch, round_as(matrix.of(scratch), found.settings[matrix.name], None))

    def wants_gram(matrix: _Matrix) -> bool:
        asks = matrix.name in asking and rounding_of(settings[matrix.name]).solver == "gptq"
        return asks and matrix.inputs(scratch) <= WIDEST

    for matrix in matrices:
        if matrix.name in alone:
            write_plain(matrix)
        elif matrix.name in asking:
            ready(scratch, matrix.layer, settings[matrix.name])
    solvable = [matrix for matrix in matrices if matrix.name not in alone]
    for matrix, inputs in walk(scratch, solvable, batches, wants_gram, context.progress, "rounding", before):
        if matrix.name in asking:
            _solve(scratch, program, wanted[matrix.name], matrix, inputs, found)
        else:  # in its turn, too: what earlier calls of it gave is then the same when its settings run again
            write_plain(matrix)


def is_searched(setting: Setting) -> bool:
    """Whether int8 weights have scales that are searched, and no data for it."""
    return setting.get("format") == "int8" and rounding_of(setting).solver not in ("nearest", "gptq")


def round_as(matrix: Tensor, setting: Setting, gram: Tensor | None) -> Rounded:
    """Codes for groups × outputs × inputs, in the setting's format and by its solver.

    Where that is gptq and no gram matrix tells of the inputs: by what needs none.
    """
    how: Rounding = rounding_of(setting)
    if how.solver == "gptq" and gram is None:
        how = replace(how, solver=plain_solver(format_of(setting)))
    if is_block(setting):
        format, block = BLOCK_FORMATS[format_of(setting)], block_of(setting)
        return round_matrix(matrix, format, how.solver, gram, block=block, share=how.share, rule=how.rule)
    return round_matrix(matrix, weight_format(setting), how.solver, gram)


def _solve(
    scratch: Program, program: Program, layer: Layer, matrix: _Matrix, inputs: Inputs | None, found: Solved
) -> None:
    """One layer: codes, and then its bias, in the working copy for those after it, and in the program for good."""
    name, weight = layer.name, matrix.of(scratch)
    if inputs is None or not inputs.usable:
        reason = (
            "the calibration data never reaches it" if inputs is None else "what it reads is all zero or not finite"
        )
        _retreat(found, name, reason)
        inputs = None
    elif rounding_of(found.settings[name]).solver == "gptq" and inputs.gram is None:
        _retreat(found, name, f"its {weight.shape[-1]} inputs are more than the {WIDEST} that gptq solves", bias=True)
    setting = found.settings[name]
    rounded = round_as(_target(weight, inputs), setting, inputs.gram if inputs is not None else None)
    found.codes[name] = rounded
    matrix.write(scratch, rounded)
    how = rounding_of(setting)
    if how.bias == "none":
        return
    change, reason = None, ""
    if inputs is not None and inputs.means is not None and inputs.original is not None:
        given = torch.einsum("gnk,hgk->hgn", weight.double(), inputs.original)
        given = given - torch.einsum("gnk,hgk->hgn", rounded.values.view_as(weight).double(), inputs.means)
        change, reason = correction(program, layer, given.flatten(1), setting)
    plain = {key: value for key, value in setting.items() if key != "bias"}
    found.settings[name] = plain if change is None else {**plain, "bias": "correct"}
    if change is not None:
        correct(program, layer, change)
        correct(scratch, matrix.layer, change)
    elif how.bias == "correct" and reason:
        found.skipped.append(Skip(name, f"its bias stays: {reason}"))


def _target(weight: Tensor, inputs: Inputs | None) -> Tensor:
    """What to round: with few positions the weight as it is, for what fits them fits nothing else."""
    if inputs is None or inputs.gram is None or inputs.cross is None:
        return weight
    return target(weight, inputs.gram, inputs.cross) if inputs.positions >= ENOUGH * weight.shape[-1] else weight


def _retreat(found: Solved, name: str, reason: str, *, bias: bool = False) -> None:
    """Round by weights alone, with the bias as it is unless `bias`."""
    setting = dict(found.settings[name])
    gptq = setting.get("solver") == "gptq"
    if gptq:
        found.skipped.append(Skip(name, f"rounded without gptq: {reason}"))
    gone = {"solver" if gptq else "", "" if bias else "bias"}
    found.settings[name] = {key: value for key, value in setting.items() if key not in gone}


def _is_rounded(setting: Setting) -> bool:
    return is_block(setting) or setting.get("format") == "int8"


def _refusal(layer: Layer, shared: set[str]) -> str:
    if layer.kind not in _KINDS:
        return "nothing is summed up over its inputs" if layer.kind == "embedding" else "it is a transposed convolution"
    if layer.name in shared:
        return "its weight is shared with another layer"
    return "" if layer.kind != "conv" or len(set(map(_node_groups, layer.nodes))) == 1 else "its calls differ in groups"


def _groups(layer: Layer) -> int:
    return _node_groups(layer.nodes[0]) if layer.kind == "conv" else 1


def _node_groups(node: fx.Node) -> int:
    return int(argument(node, "groups"))
