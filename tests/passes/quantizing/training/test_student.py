"""The student computes what the integers will: after any training, its outputs are the quantized program's."""

from __future__ import annotations

import pytest
import torch
from boards import board
from recovery import digits_batches, digits_program, vit
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.contract import Context, Setting
from compressor.graph.functional import functional_copy
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.passes.quantizing.settings import is_block
from compressor.passes.quantizing.sites import find_glue, find_layers
from compressor.passes.quantizing.training.lesson import RANGES, Lesson, Ranges
from compressor.passes.quantizing.training.student import Student, make_student
from compressor.passes.quantizing.writing.blocks import apply_blocks
from compressor.passes.quantizing.writing.integer import apply_integer
from compressor.quant.fake import TRAINABLE
from compressor.quant.grids import SHARES

OPS = torch.ops.compressor


class Mixed(nn.Module):
    """A clip, a pool, convolutions, a sum, a tied table, and linears of both layouts of which two read one value."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 40, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.point, self.near = nn.Conv2d(40, 32, 1), nn.Conv2d(32, 8, 3, padding=1)
        self.words = nn.Embedding(32, 128)
        self.left, self.right = nn.Linear(128, 40), nn.Linear(128, 40, bias=False)
        self.product = nn.Parameter(torch.randn(40, 128) / 6)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        h = self.near(self.point(functional.max_pool2d(functional.relu6(self.stem(x)), 2)))
        h = functional.relu(self.inner(h) + h).flatten(1) + self.words(ids)
        h = torch.tanh(self.left(h)) * self.right(h)
        return functional.linear(h @ self.product, self.words.weight)


@pytest.fixture(scope="module")
def mixed() -> tuple[Program, list[dict[str, Tensor]]]:
    torch.manual_seed(0)
    x, ids = torch.randn(16, 3, 8, 8), torch.randint(0, 32, (16,))
    program = functional_copy(capture(Mixed().eval(), (x[:4], ids[:4])).program)[0]
    return edit.finish(program), [{"x": x, "ids": ids}]


def moved(student: Student, share: float = 0.05) -> Program:
    """What training could have made of it: every parameter is another, and the ranges that settle."""
    torch.manual_seed(1)
    copy = edit.begin(student.program)
    seen: dict[int, Tensor] = {}
    for name, tensor in student.program.tensors().items():
        if isinstance(tensor, nn.Parameter) or name.endswith("_bounds"):
            noise = share * torch.randn_like(tensor) * (tensor.std() + 0.1 if tensor.dim() > 1 else 0.1)
            value = tensor * 1.07 if name.endswith("_bounds") else tensor + noise
            edit.set_tensor(copy, name, seen.setdefault(tensor.data_ptr(), value.detach()))
    return edit.finish(copy)


def written(program: Program, settings: dict[str, Setting], student: Student, trained: Program) -> Program:
    """The quantized program of what was trained."""
    copy = edit.begin(program)
    for name in program.tensors():
        if name in trained.tensors():
            edit.set_tensor(copy, name, trained.get(name).detach())
    layers, codes = find_layers(copy)[0], student.codes(trained)
    blocks = {site: s for site, s in settings.items() if is_block(s)}
    integer = {site: s for site, s in settings.items() if s["format"] == "int8"}
    apply_integer(copy, layers, find_glue(copy), integer, codes, student.pairs_of(trained))
    apply_blocks(copy, layers, blocks, codes)
    return edit.finish(copy)


def agree(ours: Program, theirs: Program, batch: dict[str, Tensor], *, ulps: float = 0.0) -> None:
    [expected], [found] = ours.run(batch).values(), theirs.run(batch).values()
    assert float((found - expected).norm() / expected.norm()) <= ulps


@pytest.mark.parametrize("ranges", RANGES)
def test_integers_of_a_convolutional_network(ranges: Ranges) -> None:
    batches = digits_batches()
    context = Context(board(), calibration=batches)
    program = edit.finish(functional_copy(Fold().run(digits_program(), context).program)[0])
    settings = dict(Quantize(max_error=9.0).run(program, context).settings)
    student = make_student(program, settings, Lesson("1steps", ranges=ranges))
    agree(student.program, Quantize(sites=settings).run(program, context).program, batches[0], ulps=1e-5)
    trained = moved(student)
    result = written(program, settings, student, trained)
    agree(trained, result, batches[0], ulps=1e-5)
    [before], [after] = student.program.run(batches[0]).values(), trained.run(batches[0]).values()
    assert float((after - before).norm() / before.norm()) > 0.01, "nothing moved"
    gains = [name for name, t in student.program.tensors().items() if name.endswith("put_gain") and t.requires_grad]
    assert bool(gains) == (ranges == "learned")
    watched = [node for node in student.program.nodes() if node.target is OPS.watch_range.default]
    assert bool(watched) == (ranges == "settle")


@pytest.mark.parametrize("rule", ["fitted", "absmean"])
@pytest.mark.parametrize("scale", SHARES)
def test_blocks_of_every_kind_and_what_stays_float(
    mixed: tuple[Program, list[dict[str, Tensor]]], rule: str, scale: str
) -> None:
    program, batches = mixed
    settings: dict[str, Setting] = {
        "left": {"format": "ternary", "block": 32, "activation": "int8"}, "right": {"format": "int2", "block": 64},
        "product": {"format": "ternary", "block": 32}, "stem": {"format": "fp16"},
        "point": {"format": "ternary", "block": 32, "activation": "int8"},
        "near": {"format": "ternary", "block": 32, "activation": "int8"},
    }  # fmt: skip
    ternary = {name for name, setting in settings.items() if setting["format"] == "ternary"}
    settings |= {name: {**settings[name], "rule": rule, "scale": scale} for name in ternary}
    student = make_student(program, settings, Lesson("1steps"))
    trained = moved(student)
    agree(trained, written(program, settings, student, trained), batches[0], ulps=1e-6)
    kinds = [n.target for n in student.program.nodes() if n.target in TRAINABLE]
    means = 0 if rule == "fitted" else 4
    assert kinds.count(OPS.fake_absmean.default) == means
    assert kinds.count(OPS.fake_weight.default) == 5 - means
    assert kinds.count(OPS.fake_rows.default) == 3


def test_without_training_it_starts_where_rounding_leaves_it(mixed: tuple[Program, list[dict[str, Tensor]]]) -> None:
    program, batches = mixed
    words = [layer.name for layer in find_layers(program)[0] if layer.weight == "words.weight"]
    names = ("left", "right", "product", "point", "near", *words)
    settings: dict[str, Setting] = {name: {"format": "int4", "block": 32} for name in names}
    settings |= {name: {"format": "int8"} for name in ("stem", "inner")}
    student = make_student(program, settings, Lesson("1steps"))
    agree(student.program, Quantize(sites=settings).run(program, Context(board())).program, batches[0], ulps=1e-6)


def test_a_tied_table_shares_its_step_and_clips_keep_their_range(
    mixed: tuple[Program, list[dict[str, Tensor]]],
) -> None:
    program, batches = mixed
    settings = dict(Quantize(max_error=9.0).run(program, Context(board(), calibration=batches)).settings)
    student = make_student(program, settings, Lesson("1steps"))
    assert len([pair for pair in student.pairs if pair.clipped]) == 1
    tied = [layer.name for layer, _ in student.layers if layer.weight == "words.weight"]
    assert len(tied) == 2
    names = list(student.program.tensors())
    assert [name for name in names if name.startswith("words") and name.endswith("weight_gain")] == [
        "words.weight_gain"
    ]
    trained = moved(student)
    agree(trained, written(program, settings, student, trained), batches[0], ulps=1e-5)
    assert trained.get("stem.output_gain").tolist() == [0.0, 0.0]


def test_it_can_be_saved_and_run_like_any_program() -> None:
    program = edit.finish(functional_copy(vit(2))[0])
    settings = dict(Quantize("ternary", block=32).run(program, Context(board())).settings)
    assert not settings, "its layers are narrower than a block"
    student = make_student(program, {"0": {"format": "fp32"}}, Lesson("1steps"))
    assert not student.codes(student.program)
    [expected], [found] = program.run().values(), student.program.run().values()
    assert torch.equal(expected, found)


class Transposed(nn.Module):
    """A matrix tied to its transpose, and a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.last = nn.Linear(8, 12), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(functional.relu(self.up(x)) @ self.up.weight)


def test_a_matrix_that_is_read_transposed_too_is_rounded_after_the_training() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 8)
    program = functional_copy(capture(Transposed().eval(), (x,)).program)[0]
    settings: dict[str, Setting] = {layer.name: {"format": "int8"} for layer in find_layers(program)[0]}
    assert len(settings) == 3
    student = make_student(edit.finish(program), settings, Lesson("10steps"))
    assert [layer.name for layer, _ in student.layers] == ["last"]
    assert torch.isfinite(next(iter(student.program.run().values()))).all()
