"""`fold(model, *inputs)`: capture, fold, and check all that must hold whatever was folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.targets.loader import load_target

Folder = Callable[..., tuple[Program, PassResult]]
CONTEXT = Context(load_target("x86-64"))


class _Wrapped(nn.Module):
    """A module made of a function and the modules and tensors it uses."""

    def __init__(self, function: Callable[..., Any], parts: dict[str, Any]) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            elif part.is_floating_point():
                self.register_parameter(name, nn.Parameter(part))
            else:
                self.register_buffer(name, part)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def trained(model: nn.Module) -> nn.Module:
    """Statistics and affine parts as training leaves them: far from 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if "Norm" in type(module).__name__ and tensor.is_floating_point():
                low = 0.5 if name in ("weight", "running_var") else -0.5
                tensor.data.uniform_(low, low + 1, generator=generator)
    return model.eval()


def check(program: Program, result: PassResult, options: dict[str, Any]) -> None:
    """Same outputs, in shapes too; the original untouched; the settings reproduce the result."""
    before, after = program.run(), result.program.run()
    for name, want in before.items():
        assert after[name].shape == want.shape
        assert after[name].dtype == want.dtype
        error = (after[name].double() - want.double()).nan_to_num(0, 0, 0).norm()
        assert float(error) <= 1e-5 * float(want.double().nan_to_num(0, 0, 0).norm()) + 1e-7
        assert torch.equal(after[name].isfinite(), want.isfinite())
    again = Fold(sites=result.settings, keep=options.get("keep", ())).run(program, CONTEXT)
    assert again.program.hash() == result.program.hash()
    assert set(again.changed) == set(result.changed)
    stored = dict(result.program.module.state_dict())
    assert set(stored) == set(result.program.tensors()), "no dead tensors are left"


@pytest.fixture
def fold() -> Folder:
    def run(model: Any, *inputs: Tensor, parts: dict[str, Any] | None = None, **options: Any) -> Any:
        torch.manual_seed(0)
        module = model if isinstance(model, nn.Module) else _Wrapped(model, parts or {})
        program = capture(trained(module), inputs).program
        untouched = program.hash()
        result = Fold(**options).run(program, CONTEXT)
        assert program.hash() == untouched
        check(program, result, options)
        return program, result

    return run


def targets(program: Program) -> list[str]:
    """The operators of a program, in order, without overloads."""
    return [str(node.target).split(".")[1] if "." in str(node.target) else str(node.target) for node in program.nodes()]


@pytest.fixture
def ops() -> Callable[[Program], list[str]]:
    return targets


@pytest.fixture
def reasons() -> Callable[[PassResult], dict[str, str]]:
    return lambda result: {skip.site: skip.reason for skip in result.skipped}
