"""A shared weight is one tensor everywhere: through folding, formats, saving, recovery, and in every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from boards import board
from compiled import needs_tvm
from sharing_nets import context, copied, deep_gpt, residual_cnn
from tiny import text_batches
from torch import fx

from compressor.export.onnx import to_onnx
from compressor.export.ort import to_ort
from compressor.export.pack import pack_model
from compressor.graph import storage
from compressor.graph.contract import Context, Progress
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.passes.reading.inputs import walk
from compressor.passes.reading.samples import visit
from compressor.passes.recover.engine import recover
from compressor.passes.share import Share
from compressor.passes.sparsifying.layers import find_layers

SHARED = "blocks.0.q.weight"


@pytest.fixture(scope="module")
def data() -> Context:
    return context(calibration=text_batches(1, 8))


@pytest.fixture(scope="module")
def shared() -> Program:
    """All four blocks with one set of weights."""
    return Share("all", weights="central").run(deep_gpt(), context(calibration=())).program


@pytest.fixture(scope="module")
def shared_cnn() -> Program:
    return Share("all", weights="central").run(residual_cnn(), Context(board())).program


def written(program: Program, folder: Path, name: str) -> tuple[Path, int, int]:
    path = folder / f"{name}.onnx"
    to_onnx(program, board()).save(path)
    to_ort(path, board())
    return path, path.stat().st_size, path.with_suffix(".ort").stat().st_size


def test_saving_keeps_one_tensor(shared: Program, tmp_path: Path) -> None:
    storage.save(shared, tmp_path / "shared.pt2")
    again = storage.load(tmp_path / "shared.pt2")
    assert again.hash() == shared.hash()
    assert again.unique_bytes() == shared.unique_bytes()
    storage.save(deep_gpt(), tmp_path / "dense.pt2")
    sizes = [(tmp_path / name).stat().st_size for name in ("shared.pt2", "dense.pt2")]
    assert sizes[1] - sizes[0] > 0.9 * (deep_gpt().unique_bytes() - shared.unique_bytes())


@pytest.mark.parametrize("format", ["float", "int8", "ternary"])
def test_every_format_stores_it_once(format: str, shared: Program, data: Context, tmp_path: Path) -> None:
    sizes, saved = {}, 0
    for name, program in (("dense", deep_gpt()), ("shared", shared)):
        done = program if format == "float" else Quantize(format).run(program, data).program
        sizes[name] = written(done, tmp_path, name)
        saved = done.unique_bytes() - saved if name == "dense" else saved - done.unique_bytes()
        if format == "ternary":
            packed = pack_model(sizes[name][0])
            assert packed is None or packed.stat().st_size < sizes[name][1]
    for dense, ours in zip(sizes["dense"][1:], sizes["shared"][1:], strict=True):
        assert dense - ours > 0.9 * saved
    initializers = onnx.load(sizes["shared"][0]).graph.initializer
    large = [
        tensor for tensor in initializers if tensor.name.startswith("blocks.") and max(tensor.dims, default=0) > 100
    ]
    assert len({tensor.name.split(".")[1] for tensor in large if "weight" in tensor.name}) <= 1


def test_folding_neither_breaks_nor_copies_it(shared: Program, shared_cnn: Program, data: Context) -> None:
    for program, size in ((shared, 4 * 32 * 32), (shared_cnn, 4 * 9 * 32 * 32)):
        done = Fold().run(program, data)
        assert done.program.unique_bytes() < program.unique_bytes() + size, "no weight is there twice"
        [ours], [theirs] = done.program.run().values(), program.run().values()
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert any("is shared with" in skip.reason for skip in done.skipped)


def test_ort_format_does_not_fold_batch_norms_into_shared_kernels(shared_cnn: Program, tmp_path: Path) -> None:
    _, plain, converted = written(Fold().run(shared_cnn, Context(board())).program, tmp_path, "cnn")
    assert converted < plain + 40_000, "the kernels of four blocks would be 221 kB more"


def test_gradients_add_up_and_training_keeps_the_tie(shared: Program, data: Context, tmp_path: Path) -> None:
    done = recover(
        shared, deep_gpt(), text_batches(4, 8), "6steps", losses="kl", checkpoint=tmp_path / "checkpoint"
    )  # fmt: skip
    assert done.improved
    assert done.program.unique_bytes() == shared.unique_bytes()
    assert SHARED.replace("0", "1", 1) in done.changed
    assert len([name for name in done.program.tensors() if name.endswith("q.weight")]) == 1
    again = Quantize("int8").run(done.program, data).program
    assert again.unique_bytes() < shared.unique_bytes() / 2


def test_the_gradient_of_a_shared_weight_is_the_sum_over_blocks(shared: Program) -> None:
    weight = next(name for name in shared.tensors() if name.endswith("mlp.0.weight"))
    ids = text_batches(1, 4)[0]["ids"]

    def gradients(program: Program, names: list[str]) -> list[torch.Tensor]:
        values = [program.get(name) for name in names]
        return list(torch.autograd.grad(program.module(ids)[0].square().mean(), values))

    [ours] = gradients(shared, [weight])
    copies = untied(shared, weight)
    parts = gradients(copies, [f"copy_{i}" for i in range(4)])
    assert torch.allclose(ours, torch.stack(parts).sum(0), rtol=1e-4, atol=1e-7)


def untied(program: Program, weight: str) -> Program:
    """Every use of the weight reads a copy of its own."""
    from compressor.graph.edit import add_tensor, begin, finish

    copy = begin(program)
    readers = [u for n in copy.graph.find_nodes(op="get_attr") if n.target == weight for u in n.users]
    for number, reader in enumerate(readers):
        value = copy.get(weight).detach().clone()
        source = next(node for node in reader.all_input_nodes if node.target == weight)
        reader.replace_input_with(source, add_tensor(copy, f"copy_{number}", value, reader))
    return finish(copy)


def test_gptq_sums_what_all_blocks_read(shared: Program, data: Context) -> None:
    """Its Hessian is what `walk` gathers of a layer's every call."""
    program = copied(shared)
    layer = next(layer for layer in find_layers(program)[0] if layer.name.endswith("mlp.0"))
    assert len(layer.nodes) == 4
    [(_, inputs)] = walk(program, [layer], data.calibration, lambda one: True, Progress())
    total = torch.zeros(32, 32, dtype=torch.float64)

    def look(node: fx.Node, args: tuple[Any, ...], value: object) -> None:
        total.add_((args[0].reshape(-1, 32).T @ args[0].reshape(-1, 32)).double())

    visit(program, data.calibration, look, layer.nodes)
    assert inputs is not None
    assert inputs.gram is not None
    assert torch.allclose(inputs.gram[0], total, rtol=1e-4)
    done = Quantize("int4").run(shared, data)
    assert len([name for name in done.settings if name.endswith("mlp.0")]) == 1


def test_tvm_compiles_it_once(shared: Program, tmp_path: Path) -> None:
    needs_tvm()
    from compressor.export.tvm import to_tvm

    [path] = to_tvm(shared, board(), tmp_path / "model.so")
    assert path.stat().st_size < deep_gpt().unique_bytes() + 262_000
    assert shared.unique_bytes() < 0.4 * deep_gpt().unique_bytes()
