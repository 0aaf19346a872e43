"""The stored baselines load, are as good as their records say, and fit their architectures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # where benchmark scripts find it, too
from models import BUILDERS, build, fashion, load, text  # noqa: E402

VISION = ("resnet", "mobilenetv2", "vit")
GOALS = {"resnet": 0.93, "mobilenetv2": 0.92, "vit": 0.90}


def record(name: str) -> dict[str, Any]:
    if not (BENCHMARKS / "models" / f"{name}.json").is_file():
        pytest.skip(f"{name} is not trained yet: benchmarks/README.md says how")
    return json.loads((BENCHMARKS / "models" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def images() -> tuple[torch.Tensor, torch.Tensor]:
    try:
        return next(fashion.batches("test", size=500))
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("name", VISION)
def test_a_classifier_maps_images_to_ten_logits(name: str) -> None:
    model = build(name).eval()
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_the_gpt_maps_bytes_to_logits_and_sees_no_later_byte() -> None:
    model = build("gpt").eval()
    ids = torch.randint(0, 256, (2, text.CONTEXT), generator=torch.Generator().manual_seed(0))
    changed = ids.clone()
    changed[:, 100:] = 65
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert before.shape == (2, text.CONTEXT, 256)
    assert torch.equal(before[:, :100], after[:, :100])
    assert model.head.weight is model.words.weight


@pytest.mark.parametrize("name", list(BUILDERS))
def test_a_stored_baseline_is_small_fp16_and_loads_as_fp32(name: str) -> None:
    kept, file = record(name), BENCHMARKS / "models" / f"{name}.pt"
    state = torch.load(file, weights_only=True)
    assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float16}
    assert file.stat().st_size == kept["bytes"] <= 5e6
    model = load(name)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in model.parameters()) == kept["parameters"]


@pytest.mark.parametrize("name", list(BUILDERS))
def test_a_loss_curve_goes_down_to_the_last_step(name: str) -> None:
    kept = record(name)
    steps, losses = zip(*kept["loss"], strict=True)
    assert list(steps) == sorted(set(steps))
    assert kept["steps"] - 100 < steps[-1] <= kept["steps"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", VISION)
def test_stored_accuracy_reaches_its_goal(name: str) -> None:
    assert record(name)["accuracy"] >= GOALS[name]


@pytest.mark.parametrize("name", VISION)
def test_stored_accuracy_is_what_the_weights_give(name: str, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    stored = record(name)["accuracy"]
    with torch.no_grad():
        share = (load(name)(images[0]).argmax(1) == images[1]).float().mean().item()
    assert abs(share - stored) < 4 * (stored * (1 - stored) / len(images[1])) ** 0.5  # of 500 of the 10,000 images


def test_the_gpts_perplexity_is_what_the_weights_give() -> None:
    kept = record("gpt")
    try:
        if text.fingerprint("test") != kept["text"]["test"]["fingerprint"]:
            pytest.skip("another version of Perl's manual than the GPT was measured on")
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    ids = text.windows("test", 64)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(load("gpt")(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() / 0.6931 == pytest.approx(kept["bits_per_byte"], abs=0.25)
    assert kept["bits_per_byte"] < 2.2
