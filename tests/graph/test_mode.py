"""The train/eval switch: arguments of nodes, in a copy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.edit import argument
from compressor.graph.mode import batch_norms, set_mode
from compressor.graph.program import Program


class Net(nn.Module):
    """Batch norm, dropout and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.norm(x))
        return functional.scaled_dot_product_attention(y[:, None, None], y[:, None, None], y[:, None, None])


def _program() -> Program:
    return capture(Net(), (torch.randn(6, 4),)).program


def test_training_uses_and_updates_the_batchs_statistics() -> None:
    program = _program()
    x = torch.randn(6, 4) * 3 + 5
    trained = set_mode(program, batch_norm=True)
    trained.module(x)
    moved = trained.get("norm.running_mean")
    torch.testing.assert_close(moved, 0.1 * x.mean(0))
    assert argument(batch_norms(program)[0], "training") is False, "the original is as it was"
    back = set_mode(trained, batch_norm=False)
    torch.testing.assert_close(
        back.run([x])["output"].reshape(6, 4), (x - moved) / (back.get("norm.running_var") + 1e-5).sqrt()
    )


def test_dropout_is_off_unless_asked_for() -> None:
    program, x = _program(), torch.randn(6, 4)
    assert torch.equal(program.run([x])["output"], set_mode(program, batch_norm=False).run([x])["output"])
    dropped = set_mode(program, batch_norm=False, dropout=True).run([x])["output"]
    assert 0 < int((dropped == 0).sum()) < dropped.numel()


def test_a_capture_in_train_mode_is_switched_to_eval() -> None:
    model = Net().train()
    exported = torch.export.export(model, (torch.randn(6, 4),)).module(check_guards=False)
    program = _program()
    noisy = Program(exported, program.inputs, program.outputs, program.example)
    calm = set_mode(noisy, batch_norm=False)
    x = torch.randn(6, 4)
    assert argument(batch_norms(calm)[0], "training") is False
    assert torch.equal(calm.module(x)[0], calm.module(x)[0])


def test_fake_quantization_blends_only_where_it_is_asked_for() -> None:
    program = capture(nn.Linear(4, 2, bias=False), (torch.randn(3, 4),)).program
    [linear] = program.nodes()
    blend = edit.add_tensor(program, "blend", torch.zeros(()), linear, buffer=True)
    args = (linear.args[1], blend, -1, 0, False)
    linear.update_arg(1, edit.insert(program, torch.ops.compressor.fake_absmean.default, args, like=linear))
    program = edit.finish(program)
    for blending in (True, False):
        [fake, _] = set_mode(program, batch_norm=False, blending=blending).nodes()
        assert argument(fake, "training") is blending
