"""Where training runs. What needs a GPU is checked up to it."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from compressor.errors import RecipeError
from compressor.passes.recover.device import Place, choose_place, redirect


def test_without_a_gpu_it_is_the_cpu_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_place() == Place(torch.device("cpu"))
    assert choose_place("cpu", "bf16").dtype == torch.bfloat16


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_with_one_it_is_the_gpu_in_half_precision(
    monkeypatch: pytest.MonkeyPatch, has: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_place() == Place(torch.device("cuda"), dtype)
    assert choose_place("cuda:1", "fp32") == Place(torch.device("cuda:1"))


@pytest.mark.parametrize("name", ["tpu", "meta", "mps", "cuda:x", "cuda:7"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name}"):
        choose_place(name)


def test_autocast_computes_in_half_precision() -> None:
    x = torch.randn(2, 2)
    with Place(torch.device("cpu"), torch.bfloat16).autocast():
        assert (x @ x).dtype == torch.bfloat16
    with Place(torch.device("cpu")).autocast():
        assert (x @ x).dtype == torch.float32
    assert Place(torch.device("cpu"), torch.float16).scaler().is_enabled()
    assert not Place(torch.device("cpu"), torch.bfloat16).scaler().is_enabled()


def test_devices_named_in_the_graph_are_replaced() -> None:
    graph = fx.Graph()
    cpu = torch.device("cpu")
    made = graph.call_function(torch.ops.aten.arange.default, (4,), {"device": cpu})
    moved = graph.call_function(torch.ops.aten.to.device, (made, cpu, torch.float32))
    graph.output(moved)
    redirect(graph, torch.device("meta"))
    assert fx.GraphModule(torch.nn.Module(), graph)().device.type == "meta"
