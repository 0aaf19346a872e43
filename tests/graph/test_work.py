"""Multiply–accumulates and bytes of single operators, against hand counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from compressor.graph.capture import capture
from compressor.graph.concrete import Values, concrete_values
from compressor.graph.dimensions.groups import analyse
from compressor.graph.dimensions.removal import Removal
from compressor.graph.work import computed, is_convolutional, is_free, kind_of, macs, reads, size_of, workspace_bytes


class Call(nn.Module):
    """One function of its inputs as a module."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Tensor, b: Tensor | None = None, c: Tensor | None = None) -> Tensor:
        return self.function(*(x for x in (a, b, c) if x is not None))


def calls(model: nn.Module | Callable[..., Tensor], *inputs: Tensor) -> tuple[list[fx.Node], Values]:
    module = model if isinstance(model, nn.Module) else Call(model)
    program = capture(module, inputs, static=True).program
    return list(program.nodes()), concrete_values(program)


r, sdpa = torch.randn, functional.scaled_dot_product_attention


def einsum(equation: str) -> Callable[..., Tensor]:
    return lambda *operands: torch.einsum(equation, *operands)


COUNTS = {
    "conv2d": (nn.Conv2d(3, 8, 3, padding=1), [r(1, 3, 10, 10)], 8 * 100 * 3 * 9),
    "grouped conv2d": (nn.Conv2d(8, 16, 3, groups=4), [r(2, 8, 10, 10)], 2 * 16 * 64 * 2 * 9),
    "depthwise conv1d": (nn.Conv1d(6, 6, 5, stride=2, groups=6), [r(1, 6, 21)], 6 * 9 * 5),
    "conv3d": (nn.Conv3d(2, 4, 3), [r(1, 2, 5, 5, 5)], 4 * 27 * 2 * 27),
    "transposed conv": (nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), [r(1, 6, 5, 5)], 6 * 25 * 2 * 4),
    "linear": (nn.Linear(12, 5), [r(3, 7, 12)], 3 * 7 * 12 * 5),
    "addmm": (torch.addmm, [r(5), r(3, 4), r(4, 5)], 3 * 4 * 5),
    "matmul, broadcast": (torch.matmul, [r(2, 3, 4, 5), r(5, 6)], 2 * 3 * 4 * 5 * 6),
    "bmm": (torch.bmm, [r(3, 4, 5), r(3, 5, 6)], 3 * 4 * 5 * 6),
    "baddbmm": (torch.baddbmm, [r(3, 4, 6), r(3, 4, 5), r(3, 5, 6)], 3 * 4 * 5 * 6),
    "addbmm": (torch.addbmm, [r(4, 6), r(3, 4, 5), r(3, 5, 6)], 3 * 4 * 5 * 6),
    "matrix–vector": (torch.mv, [r(4, 5), r(5)], 20),
    "dot": (torch.dot, [r(9), r(9)], 9),
    "einsum, scores": (einsum("bhtd,bhsd->bhts"), [r(2, 3, 4, 8), r(2, 3, 5, 8)], 2 * 3 * 4 * 5 * 8),
    "einsum, ellipsis": (einsum("...i,oi->...o"), [r(2, 3, 4), r(5, 4)], 2 * 3 * 4 * 5),
    "einsum, three": (einsum("ij,jk,kl->il"), [r(2, 3), r(3, 4), r(4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
    "attention": (sdpa, [r(2, 3, 4, 8), r(2, 3, 5, 8), r(2, 3, 5, 6)], 2 * 3 * 4 * 5 * (8 + 6)),
    "lstm": (nn.LSTM(5, 7, batch_first=True), [r(2, 9, 5)], 2 * 9 * 4 * 7 * (5 + 7)),
    "gru, two ways, two layers": (nn.GRU(5, 7, 2, bidirectional=True), [r(9, 2, 5)], 756 * (5 + 7 + 14 + 7)),
    "gru cell": (nn.GRUCell(5, 7), [r(3, 5), r(3, 7)], 3 * 3 * 7 * (5 + 7)),
    "relu": (torch.relu, [r(4)], 0),
    "cumulative product": (lambda x: torch.cumprod(x, 0), [r(4)], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_multiply_accumulates(name: str) -> None:
    model, inputs, expected = COUNTS[name]
    if isinstance(model, nn.RNNBase):
        rnn = model
        model = Call(lambda x: rnn(x)[0])
        model.rnn = rnn
    nodes, values = calls(model, *inputs)
    assert sum(macs(node, values) for node in nodes) == expected


@pytest.mark.parametrize(
    ("function", "shape", "free"),
    [
        (lambda x: x.reshape(4, 6), (2, 3, 4), True),
        (lambda x: x.transpose(0, 1), (1, 3, 4), True),  # only a dimension of size 1 moves
        (lambda x: x.transpose(0, 1), (3, 3), False),
        (lambda x: x.permute(0, 2, 1), (2, 3, 4), False),
        (lambda x: x[:, :2], (2, 3), False),
        (lambda x: x[:, :3], (2, 3), True),
        (lambda x: x.to(torch.float32), (3,), True),
        (lambda x: x.to(torch.float16), (3,), False),
        (lambda x: x.flip(0), (3,), False),
        (lambda x: x.expand(2, 4, 3), (2, 4, 3), True),
        (lambda x: x.expand(5, 4, 3), (1, 4, 3), False),
        (lambda x: functional.dropout(x, training=False), (3,), True),
        (lambda x: functional.pixel_shuffle(x, 2), (1, 4, 2, 2), False),
    ],
)
def test_what_moves_no_data_is_free(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], free: bool) -> None:
    nodes, values = calls(lambda x: function(x) if not free else function(x) + 1, r(*shape))
    rest = [node for node in nodes if not is_free(node, values) and "add" not in node.name]
    assert not rest if free else len(rest) == 1


def test_an_embedding_reads_its_rows_only() -> None:
    nodes, values = calls(nn.Embedding(1000, 16), torch.randint(0, 1000, (2, 5)))
    table, indices = nodes[-1].args[:2]
    assert reads(nodes[-1], values) == {table: 2 * 5 * 16 * 4, indices: 2 * 5 * 8}


def test_a_slice_reads_what_it_yields_and_the_whole_is_no_larger_than_its_source() -> None:
    nodes, values = calls(lambda x: x[:, 1:3], r(2, 10))
    work = [node for node in nodes if not is_free(node, values)]
    assert [sum(reads(node, values).values()) for node in work] == [2 * 2 * 4]


def test_attention_holds_its_scores() -> None:
    nodes, values = calls(sdpa, r(2, 3, 4, 8), r(2, 3, 5, 8), r(2, 3, 5, 8))
    assert [workspace_bytes(node, values) for node in nodes] == [2 * 3 * 4 * 5 * 4]


def test_families() -> None:
    graph = fx.Graph()
    x, aten = graph.placeholder("x"), torch.ops.aten
    kinds = {
        aten.silu.default: "elementwise", aten.pow.Tensor_Scalar: "elementwise", aten.hardswish.default: "elementwise",
        aten.mean.dim: "reduce", aten.linalg_vector_norm.default: "reduce", aten.layer_norm.default: "norm",
        aten.max_pool2d.default: "pool", aten._softmax.default: "softmax", aten.cat.default: "layout",
        aten.topk.default: "other", aten.fft_fft.default: "other",
    }  # fmt: skip
    assert {op: kind_of(graph.call_function(op, (x,))) for op in kinds} == kinds


def test_transposed_and_plain_convolutions_share_one_operator() -> None:
    graph = fx.Graph()
    x, w = graph.placeholder("x"), graph.placeholder("w")
    arguments = (x, w, None, [1, 1], [0, 0], [1, 1])
    plain = graph.call_function(torch.ops.aten.convolution.default, (*arguments, False, [0, 0], 1))
    turned = graph.call_function(torch.ops.aten.convolution.default, (*arguments, True, [0, 0], 1))
    assert (kind_of(plain), kind_of(turned)) == ("conv2d", "conv_transpose")


def test_sizes_of_lists_and_of_what_is_no_tensor() -> None:
    assert (size_of([torch.zeros(2), torch.zeros(3)]), size_of(5), size_of(None)) == (20, 0, 0)
    assert size_of(torch.zeros(3, dtype=torch.int8)) == math.prod((3,))


@pytest.mark.parametrize(("width", "expected"), [(10, True), (4096, False)])
def test_what_does_most_of_the_work_decides_whether_a_network_is_convolutional(width: int, expected: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(), nn.Linear(32, width), nn.Linear(width, 10))
    program = capture(model.eval(), (torch.zeros(1, 3, 8, 8),)).program
    assert is_convolutional(program.nodes(), concrete_values(program)) is expected


def test_what_depends_on_no_input_is_computed_once() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.table = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.weight @ self.table).relu()

    program = capture(Net().eval(), (torch.zeros(2, 3),)).program
    names = [str(node.target) for node in program.nodes() if node in computed(program.graph.nodes)]
    assert names == ["aten.matmul.default"]
    assert Removal(analyse(program), ()).macs() == 3 * 3
