"""The learned model behind the protocol: kernels priced by their calls, an interval, and what was never measured."""

from __future__ import annotations

import pytest
import torch
from learned_models import learned
from lowered_networks import small
from torch import Tensor, nn

from compressor.devices.latency.model import LearnedLatency
from compressor.graph.capture import capture
from compressor.graph.cost import Roofline
from compressor.targets import load_target


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LearnedLatency:
    subject = small(tmp_path_factory.mktemp("subject"))
    return LearnedLatency({1: learned(subject, 10.0), 2: learned(subject, 5.0)}, "a test's profile")


def test_the_whole_is_the_sum_of_its_kernels_within_an_interval(model: LearnedLatency) -> None:
    program, host = capture(Net().eval(), (torch.randn(2, 3, 8, 8),)).program, load_target("host")
    found = model.predict(program, host, threads=1)
    assert found.latency_ms == pytest.approx(sum(kernel.latency_ms for kernel in found.kernels))
    assert found.interval_ms is not None
    assert found.interval_ms[0] < found.latency_ms < found.interval_ms[1]
    assert (found.calibrated, found.source) == (True, "a test's profile")
    plain = Roofline().predict(program, host)
    assert (found.macs, found.peak_activation_bytes) == (plain.macs, plain.peak_activation_bytes)


def test_threads_have_their_own_model_and_others_the_nearest_below(model: LearnedLatency) -> None:
    program, host = capture(Net().eval(), (torch.randn(2, 3, 8, 8),)).program, load_target("host")
    one, two, four = (model.predict(program, host, threads=threads).latency_ms for threads in (1, 2, 4))
    assert two < one
    assert four == two


def test_what_was_never_measured_is_named(model: LearnedLatency) -> None:
    class Strange(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erfinv(x.clamp(-0.5, 0.5))

    program = capture(Strange().eval(), (torch.randn(2, 64),)).program
    found = model.predict(program, load_target("host"), threads=1)
    assert "erfinv" in found.unknown
    assert found.covered < 1
    assert found.latency_ms > 0
