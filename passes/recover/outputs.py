"""What a network's outputs are, told by looking at them: that decides the loss which recovers them.

    tokens   [batch, length, V], V the rows of a table that integer inputs look up       KL at T = 1 (Minitron)
    classes  scores straight from a linear or 1×1 convolution whose softmax is peaked     KL at T = 3 (Hinton: 2 to 8)
    values   any other float: embeddings, boxes, images                                   squared error and cosine

A softmax is peaked when its entropy is below 0.8 · log C on average; an embedding's is nearly flat. Outputs of two
networks are matched by name, else by position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx

from compressor.errors import InputError
from compressor.graph.edit import argument, is_call, tensor_of
from compressor.graph.kv_cache import answers, is_past, with_past, without_past
from compressor.graph.program import Program
from compressor.passes.recover.adapters import features_last
from compressor.passes.recover.stream import counts_samples

__all__ = ["Kind", "Output", "check_fit", "fed", "kind_of", "match_inputs", "match_outputs"]

Kind = Literal["tokens", "classes", "values"]
PEAKED = 0.8
TEMPERATURE = {"tokens": 1.0, "classes": 3.0, "values": 1.0}
aten = torch.ops.aten
_SCORING = (aten.linear.default, aten.addmm.default, aten.conv2d.default, aten.matmul.default, aten.mm.default)
_THROUGH = (
    aten.view.default, aten.reshape.default, aten.to.dtype, aten._to_copy.default, aten.squeeze.dim, aten.alias.default,
    aten.flatten.using_ints, aten.clone.default, aten.contiguous.default, aten.slice.Tensor, aten.add.Tensor,
    aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default, aten.dropout.default, aten.unsqueeze.default,
)  # fmt: skip


@dataclass(frozen=True)
class Output:
    """One output of the student with the teacher's: positions, what they hold, and where the features lie.

    `scale` is the teacher's mean square, `temperature` what its scores are softened with, `classes` their number.
    `samples` is the dimension that counts samples (not the first of a state [length, batch, width]), `axis` that of the
    features once samples are first.
    """

    name: str
    ours: int
    theirs: int
    kind: Kind
    axis: int
    scale: float
    temperature: float
    classes: int = 0
    samples: int = 0

    def arranged(self, value: Tensor) -> Tensor:
        """[samples, ..., features] of this output's value."""
        return features_last(value.movedim(self.samples, 0), self.axis) if value.dim() else value


def match_outputs(
    student: Program, teacher: Program, results: Sequence[Tensor], temperature: float | None = None
) -> list[Output]:
    """The float outputs that both networks have, a key–value cache aside. `results` are the teacher's on some batch.

    Raises InputError where none is shared, or where one differs in shape.
    """
    found, judged = [], answers(student.outputs)
    positions = {spec.name: index for index, spec in enumerate(teacher.outputs)}
    by_name = all(spec.name in positions for spec in student.outputs)
    for ours, spec in enumerate(student.outputs):
        theirs = positions[spec.name] if by_name else ours
        floating = spec.dtype.is_floating_point and spec in judged
        if not floating or theirs >= len(results) or not results[theirs].dtype.is_floating_point:
            continue
        _check(spec.name, spec.shape, teacher.outputs[theirs].shape)
        samples = _samples(spec.shape)
        result = results[theirs].movedim(samples, 0) if spec.shape else results[theirs]
        kind, axis = kind_of(teacher, theirs, result)
        scale = float(result.float().square().mean()) or 1.0
        soft, classes = temperature or TEMPERATURE[kind], result.shape[axis] if result.dim() else 1
        found.append(Output(spec.name, ours, theirs, kind, axis, scale, soft, classes, samples))
    if not found:
        raise InputError(
            f"the outputs of student ({_listed(student)}) and teacher ({_listed(teacher)}) have no float in common",
            where="--teacher",
        )
    return found


def check_fit(student: Program, teacher: Program) -> None:
    """Raises InputError when the teacher cannot teach this student: other inputs, or no outputs in common."""
    example = dict(zip((spec.name for spec in student.inputs), student.example, strict=True))
    feeds = with_past(student.inputs, without_past(student.inputs, example))  # a teacher may have no cache
    results = teacher.run(fed(student, teacher, feeds))
    match_outputs(student, teacher, list(results.values()))


def fed(student: Program, teacher: Program, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A student's batch under the names of the teacher's inputs; a cache that neither has is left out."""
    pairs = zip(teacher.inputs, match_inputs(student, teacher), strict=True)
    return {spec.name: batch[name] for spec, name in pairs if name in batch or not is_past(spec)}


def match_inputs(student: Program, teacher: Program) -> tuple[str, ...]:
    """For each of the teacher's inputs, the student's that feeds it: by name, else by position.

    What the teacher has of a cache and the student has not keeps its name.

    Raises InputError where the teacher takes something that the student does not.
    """
    ours = {spec.name: spec for spec in student.inputs}
    own = [spec for spec in student.inputs if not is_past(spec)]  # a teacher without a cache is fed the rest
    by_name = all(spec.name in ours or is_past(spec) for spec in teacher.inputs)  # a student may have less of a cache
    if not by_name and len(teacher.inputs) != len(own):
        raise InputError(
            f"takes {', '.join(s.name for s in teacher.inputs)}; the student takes {', '.join(ours)}",
            where="--teacher",
            way_out="Both are fed the same data: export the teacher with the student's inputs.",
        )
    names = tuple(t.name if by_name else s.name for s, t in zip(own, teacher.inputs, strict=not by_name))
    names = tuple(spec.name for spec in teacher.inputs) if by_name else names
    for name, spec in zip(names, teacher.inputs, strict=True):
        if name not in ours:
            continue
        if not _may_agree(ours[name].shape, spec.shape) or ours[name].dtype != spec.dtype:
            raise InputError(
                f"input {spec.name!r} is {spec.dtype} {list(spec.shape)}, the student's {name!r} "
                f"is {ours[name].dtype} {list(ours[name].shape)}",
                where="--teacher",
            )
    return names


def _samples(shape: Sequence[int | str]) -> int:
    """The dimension called batch, or the first."""
    return next((axis for axis, size in enumerate(shape) if counts_samples(size)), 0)


def kind_of(program: Program, index: int, result: Tensor) -> tuple[Kind, int]:
    """What an output [samples, ...] holds, and the axis of its classes or features."""
    last = max(0, result.dim() - 1)
    if result.dim() == 3 and result.shape[-1] in _tables(program):
        return "tokens", last
    axis = 1 if result.dim() >= 4 else last
    if result.dim() >= 2 and result.shape[axis] > 1 and _is_scored(program, index) and _is_peaked(result, axis):
        return "classes", axis
    return "values", axis


def _is_peaked(scores: Tensor, axis: int) -> bool:
    logs = torch.log_softmax(scores.float(), axis)
    entropy = -(logs.exp() * logs.clamp_min(-1e4)).sum(axis).mean()
    return bool(entropy < PEAKED * torch.log(torch.tensor(float(scores.shape[axis]))))


def _is_scored(program: Program, index: int) -> bool:
    """Whether the output comes straight from a layer that could score classes."""
    node = program.graph.output_node().args[0][index]  # type: ignore[index]
    while is_call(node, *_THROUGH) and isinstance(node, fx.Node):
        node = node.all_input_nodes[0]
    return is_call(node, *_SCORING)


def _tables(program: Program) -> set[int]:
    """The rows of every table that integers look up."""
    tables = [argument(node, "weight") for node in program.nodes() if is_call(node, aten.embedding.default)]
    return {t.shape[0] for table in tables if (t := tensor_of(program, table)) is not None}


def _check(name: str, ours: Sequence[int | str], theirs: Sequence[int | str]) -> None:
    if not _may_agree(ours, theirs):
        raise InputError(
            f"output {name!r} is {list(ours)}, the teacher's {list(theirs)}",
            where="--teacher",
            way_out="A student learns the teacher's outputs: they need the same classes or width.",
        )


def _may_agree(ours: Sequence[int | str], theirs: Sequence[int | str]) -> bool:
    same = len(ours) == len(theirs)
    return same and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in zip(ours, theirs, strict=True))


def _listed(program: Program) -> str:
    return ", ".join(f"{spec.name} {list(spec.shape)}" for spec in program.outputs)
