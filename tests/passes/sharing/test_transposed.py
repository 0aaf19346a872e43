"""One matrix for both layers of an MLP: the same function as with two transposed ones, stored once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from boards import board
from sharing_nets import context, copied, deep_gpt
from tiny import text_batches

from compressor.errors import RecipeError
from compressor.export.check import check
from compressor.export.onnx import to_onnx
from compressor.export.ort import to_ort
from compressor.graph.edit import set_tensor
from compressor.passes.sharing.transposed import find_pairs, tied


def test_the_two_matrices_of_every_mlp_are_found() -> None:
    pairs, skips = find_pairs(copied(deep_gpt()), ("blocks.2.mlp.0",))
    assert [(pair.up, pair.down) for pair in pairs] == [
        (f"blocks.{i}.mlp.0.weight", f"blocks.{i}.mlp.2.weight") for i in (0, 1, 3)
    ]
    assert [(skip.site, skip.reason) for skip in skips] == [("blocks.2.mlp.0", "kept, as asked")]


def test_the_function_is_that_of_two_matrices_that_are_each_others_transpose() -> None:
    program = deep_gpt()
    done = tied(program, "mean", None, (), (), context())
    expected = program.copy()
    for i in range(4):
        up, down = (program.get(f"blocks.{i}.mlp.{k}.weight").detach() for k in (0, 2))
        set_tensor(expected, f"blocks.{i}.mlp.0.weight", (up + down.T) / 2)
        set_tensor(expected, f"blocks.{i}.mlp.2.weight", (up + down.T).T.contiguous() / 2)
    [ours], [theirs] = done.program.run().values(), expected.run().values()
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert done.program.unique_bytes() == program.unique_bytes() - 4 * 4 * 32 * 128
    assert tied(program, "mean", done.settings, (), (), context()).program.hash() == done.program.hash()


def test_on_data_the_least_damage_is_chosen() -> None:
    done = tied(deep_gpt(), "auto", None, (), text_batches(1, 8), context())
    assert {setting["weights"] for setting in done.settings.values()} <= {"up", "down", "mean"}
    assert tied(deep_gpt(), "auto", None, (), (), context()).settings["blocks.0.mlp.0"]["weights"] == "up"


@pytest.mark.parametrize("setting", [{"tied": "blocks.1.mlp.2.weight", "weights": "up"}, {"tied": "x"}])
def test_a_setting_that_is_none_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match="no setting"):
        tied(deep_gpt(), "auto", {"blocks.0.mlp.0": setting}, (), (), context())


def test_the_files_hold_the_matrix_once(tmp_path: Path) -> None:
    saved = 4 * 4 * 32 * 128
    sizes = {}
    for name, program in (("two", deep_gpt()), ("one", tied(deep_gpt(), "mean", None, (), (), context()).program)):
        path = tmp_path / f"{name}.onnx"
        to_onnx(program, board()).save(path)
        to_ort(path, board(), batch={"ids": program.example[0]})
        assert check(program, path).error < 1e-5
        sizes[name] = path.stat().st_size, path.with_suffix(".ort").stat().st_size
    for two, one in zip(sizes["two"], sizes["one"], strict=True):
        assert two - one > 0.85 * saved
