"""Weights in blocks: which layers, why not the others, and what it does to trained networks."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from boards import board
from torch import Tensor, nn
from torch.nn import functional

from compressor.errors import RecipeError
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.program import Program
from compressor.passes.quantize import Quantize
from compressor.targets import load_target

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "benchmarks"))  # where benchmark scripts find it, too
from models import load, text

CONTEXT = Context(board())


class Mixed(nn.Module):
    """Linear layers of every spelling, and what has no blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table, self.words = nn.Conv1d(4, 64, 3, padding=1), nn.Embedding(9, 64), nn.Embedding(64, 64)
        self.wide, self.narrow = nn.Linear(64, 48), nn.Linear(48, 16)
        self.tied = nn.Linear(64, 64, bias=False)
        self.tied.weight = self.words.weight
        self.product, self.added = nn.Parameter(torch.randn(64, 48)), nn.Parameter(torch.randn(64, 48))
        self.offset = nn.Parameter(torch.randn(48))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        x = self.conv(x).mT + self.table(ids) + self.words(ids)
        x = self.tied(x)
        y = self.wide(x) + self.wide(-x).tanh() + x @ self.product
        return self.narrow(y + torch.addmm(self.offset, x.flatten(0, 1), self.added).unflatten(0, x.shape[:2]))


@pytest.fixture(scope="module")
def mixed() -> Program:
    torch.manual_seed(0)
    return capture(Mixed(), (torch.randn(2, 4, 6), torch.randint(0, 9, (2, 6)))).program


def run(program: Program, context: Context = CONTEXT, **options: object) -> PassResult:
    return Quantize(**{"format": "int4", "block": 64, **options}).run(program, context)  # type: ignore[arg-type]


def test_linear_layers_of_every_spelling_and_reasons_for_the_rest(mixed: Program, tmp_path: Path) -> None:
    result = run(mixed)
    assert set(result.settings) == {"wide", "product", "added", "table", "words", "tied", "narrow"}
    assert {skip.site: skip.reason for skip in result.skipped} == {
        "conv": "stays float: blocks are for linear layers, dense convolutions of whole blocks and embeddings; this is "
        "a convolution of 3, and its 4 channels are no whole blocks of 64; int8 takes calibration data, and weights "
        "alone are slower; board runs no fp16",
        "narrow": "int4 in blocks of 32 in place of int4: its 48 inputs are fewer than a block of 64",
    }
    calls = [n for n in result.program.nodes() if n.target is torch.ops.compressor.linear_blocks.default]
    assert len(calls) == 6, "wide is called twice"
    assert result.program.tensors()["wide.weight"].dtype == torch.uint8
    [before], [after] = mixed.run().values(), result.program.run().values()
    assert 0.0 < float((after - before).norm() / before.norm()) < 0.2, "four layers in a row, of random weights"
    to_onnx(result.program, board()).save(tmp_path / "model.onnx")
    assert check(result.program, tmp_path / "model.onnx").error < 1e-5


def test_the_same_again_from_its_settings(mixed: Program) -> None:
    before = mixed.hash()
    first = run(mixed, format="int2")
    again = Quantize(sites=first.settings).run(mixed, CONTEXT)
    assert again.program.hash() == first.program.hash()
    assert (again.settings, again.changed) == (first.settings, first.changed)
    assert mixed.hash() == before


@pytest.mark.parametrize(
    ("options", "products"),
    [
        ({"format": "int3"}, 1),
        ({"format": "ternary", "scale": "row"}, 1),
        ({"format": "ternary", "scale": "tensor", "rule": "absmean"}, 1),
        ({"format": "ternary", "scale": "row", "rule": "minmax"}, 2),
    ],
    ids=str,
)
def test_formats_that_the_runtime_has_no_name_for(
    mixed: Program, options: dict[str, str], products: int, tmp_path: Path
) -> None:
    """They run there as what it has: fields of four bits, a scale in every block, two products."""
    result = run(mixed, **options)
    calls = [n for n in result.program.nodes() if n.target is torch.ops.compressor.linear_blocks.default]
    wide = {str(n.args[1].target) for n in calls if str(n.args[1].target).startswith("wide.weight")}
    assert len(wide) == products, "both calls read the same codes"
    assert (result.notes != ()) == (products == 2)
    scales = result.program.tensors()["wide.weight_scale"]
    assert scales.shape == (48, 1)
    assert len(scales.unique()) == (1 if options.get("scale") == "tensor" else 48)
    to_onnx(result.program, board()).save(tmp_path / "model.onnx")
    assert check(result.program, tmp_path / "model.onnx").error < 1e-5
    again = Quantize(sites=result.settings).run(mixed, CONTEXT)
    assert again.program.hash() == result.program.hash()


def test_the_bytes_of_two_products_are_counted(mixed: Program) -> None:
    quantize = Quantize("ternary", block=64, scale="row", rule="minmax")
    [plain, twice] = [option for option in quantize.options(mixed, CONTEXT) if option.site == "wide"]
    result = Quantize(sites={"wide": twice.setting}).run(mixed, CONTEXT)
    assert mixed.unique_bytes() - result.program.unique_bytes() == plain.bytes - twice.bytes


def test_keep_leaves_layers_alone(mixed: Program) -> None:
    settings = run(mixed, keep=("wide*", "tied*")).settings
    assert set(settings) == {"product", "added", "table", "narrow"}, "words reads the kept weight"


def test_options_count_the_bytes_that_are_stored(mixed: Program) -> None:
    quantize = Quantize("int4", block=32)
    found = [option for option in quantize.options(mixed, CONTEXT) if option.site == "narrow"]
    plain, blocks = found
    assert (plain.bytes, plain.damage) == (4 * 48 * 16, 0.0)
    assert blocks.setting == {"format": "int4", "block": 32, "activation": "int8"}
    result = Quantize(sites={"narrow": blocks.setting}).run(mixed, CONTEXT)
    assert mixed.unique_bytes() - result.program.unique_bytes() == plain.bytes - blocks.bytes
    assert blocks.damage is not None
    assert 0.03 < blocks.damage < 0.12


def test_parameters_are_counted_as_before(mixed: Program) -> None:
    assert run(mixed).program.parameters() == mixed.parameters()


def test_formats_mix_site_by_site(mixed: Program) -> None:
    sites = {
        "wide": {"format": "int4", "block": 32}, "product": {"format": "int8"}, "added": {"format": "fp16"},
        "narrow": {"format": "int2", "block": 32, "activation": "int8"},
    }  # fmt: skip
    program = Quantize(sites=sites).run(mixed, CONTEXT).program
    tensors = program.tensors()
    kinds = [tensors[name].dtype for name in ("wide.weight", "product", "added", "narrow.weight")]
    assert kinds == [torch.uint8, torch.int8, torch.float16, torch.uint8]
    [before], [after] = mixed.run().values(), program.run().values()
    assert float((after - before).norm() / before.norm()) < 0.5


def test_weights_that_are_not_finite_are_declined(mixed: Program) -> None:
    broken = mixed.copy()
    broken.module.wide.weight = nn.Parameter(torch.full((48, 64), math.nan))  # type: ignore[union-attr]
    reasons = {skip.site: skip.reason for skip in run(broken).skipped}
    assert "NaN or infinite" in reasons["wide"]


def test_a_recipe_that_cannot_be_carried_out(mixed: Program) -> None:
    setting = {"format": "int4", "block": 64}
    with pytest.raises(RecipeError, match="48 inputs are fewer than a block of 64") as caught:
        Quantize(sites={"narrow": setting}).run(mixed, CONTEXT)
    assert "narrow" in str(caught.value)
    with pytest.raises(RecipeError, match="TensorrtExecutionProvider has no MatMulNBits"):
        Quantize(sites={"wide": setting}).run(mixed, Context(load_target("jetson")))


def test_a_board_without_such_products_takes_the_next_format(mixed: Program) -> None:
    result = run(mixed, Context(load_target("jetson")))
    assert {str(setting["format"]) for name, setting in result.settings.items() if name == "wide"} == {"fp16"}
    [reason] = [skip.reason for skip in result.skipped if skip.site == "wide"]
    assert reason.startswith("fp16 in place of int4: TensorrtExecutionProvider has no MatMulNBits")
    assert "int8 takes calibration data" in reason


def test_two_bits_on_arm_are_allowed_with_a_warning(mixed: Program) -> None:
    context = Context(load_target("raspberry-pi-5"))
    assert run(mixed, context).notes == ()
    result = run(mixed, context, format="int2")
    assert result.changed
    assert "int2 products cost more time than fp32" in result.notes[0]


def perplexity(program: Program, ids: Tensor) -> float:
    [scores] = program.run([ids]).values()
    return math.exp(float(functional.cross_entropy(scores[:, :-1].flatten(0, 1), ids[:, 1:].flatten())))


@pytest.fixture(scope="module")
def prose() -> Tensor:
    try:
        return text.windows("test", 16, 128, seed=0)
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def gpt() -> Program:
    ids = torch.randint(0, 256, (2, 128), generator=torch.Generator().manual_seed(0))
    return capture(load("gpt"), (ids,)).program


def test_a_trained_gpt_in_four_bits(gpt: Program, prose: Tensor, tmp_path: Path) -> None:
    result = run(gpt, block=32)
    assert len(result.changed) == 38
    before, after = perplexity(gpt, prose), perplexity(result.program, prose)
    assert before < after < 1.02 * before
    sizes = []
    for program in (gpt, result.program):
        to_onnx(program, board()).save(tmp_path / "model.onnx")
        sizes.append((tmp_path / "model.onnx").stat().st_size)
    claimed = gpt.unique_bytes() - result.program.unique_bytes()
    assert abs(sizes[0] - sizes[1] - claimed) < 20_000, "names and attributes of 39 nodes"
    assert check(result.program, tmp_path / "model.onnx", [{gpt.inputs[0].name: prose[:2]}]).error < 2e-2


def test_two_bits_cost_a_trained_gpt_more_and_smaller_blocks_less(gpt: Program, prose: Tensor) -> None:
    found = [perplexity(run(gpt, format="int2", block=block).program, prose) for block in (32, 128)]
    assert 1.05 * perplexity(gpt, prose) < found[0] < found[1]
