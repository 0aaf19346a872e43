"""Nodes of the optimized graph find the call that they do: by name, by what they are, or by what reads them."""

from __future__ import annotations

from onnx import TensorProto, helper
from timed_networks import call, conv, relu

from compressor.devices.latency.attribution import NodeTime, by_call, owners

MAP = (1, 8, 8, 8)


def owned(calls: list, *nodes: NodeTime) -> dict[str, list[str]]:  # type: ignore[type-arg]
    found = by_call(calls, {node.name: node.call for node in nodes}, nodes)
    return {name: [node.name for node in listed] for name, listed in found.items()}


def test_a_fused_node_goes_to_the_kernels_main_call() -> None:
    one = conv("conv", "x", 8, 8, 8)
    assert owned([one, relu("relu", one)], NodeTime("relu_nchwc", "nchwc.Conv", "relu", 9.0)) == {
        "conv": ["relu_nchwc"]
    }


def test_a_max_pool_named_after_the_quantize_behind_it_goes_to_the_pool() -> None:
    pool = call("pool", "max_pool2d", "pool", MAP, ("x", MAP))
    quantize = call("quantize", "compressor::quantize", "quantize", MAP, ("pool", MAP))
    nodes = (
        NodeTime("a", "com.microsoft.NhwcMaxPool", "quantize", 5.0),
        NodeTime("b", "QuantizeLinear", "quantize", 2.0),
    )
    assert owned([pool, quantize], *nodes) == {"pool": ["a"], "quantize": ["b"]}


def test_a_split_named_after_the_join_behind_it_goes_to_the_call_that_splits() -> None:
    parts = call("chunk", "chunk", "layout", MAP, ("x", MAP))
    one = conv("conv", "chunk", 8, 8, 8)
    join = call("cat", "cat", "layout", MAP, ("conv", MAP), ("chunk", MAP))
    nodes = (
        NodeTime("a", "Split", "cat", 5.0),
        NodeTime("b", "nchwc.Conv", "conv", 9.0),
        NodeTime("c", "Concat", "cat", 2.0),
    )
    assert owned([parts, one, join], *nodes) == {"chunk": ["a"], "conv": ["b"], "cat": ["c"]}


def test_an_activation_that_only_its_reader_names_goes_to_the_one_before() -> None:
    first, second = conv("conv", "x", 8, 8, 8), conv("conv_1", "silu", 8, 8, 8)
    silu = call("silu", "silu", "elementwise", MAP, ("conv", MAP))
    silu_1 = call("silu_1", "silu", "elementwise", MAP, ("conv_1", MAP), kernel="conv_1", anchor="conv2d", main=False)
    nodes = [
        NodeTime("a", "nchwc.Conv", "conv", 9.0), NodeTime("b", "com.microsoft.QuickGelu", "conv_1", 4.0),
        NodeTime("c", "nchwc.Conv", "conv_1", 9.0),
    ]  # fmt: skip
    assert owned([first, silu, second, silu_1], *nodes) == {"conv": ["a"], "silu": ["b"], "conv_1": ["c"]}


def test_copies_between_layouts_belong_to_no_call() -> None:
    one = conv("conv", "x", 8, 8, 8)
    assert owned([one], NodeTime("r", "com.microsoft.nchwc.ReorderInput", "conv", 9.0)) == {}


def test_owners_follow_names_and_readers() -> None:
    def graph(nodes: list, outputs: list[str]) -> object:  # type: ignore[type-arg]
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ["x", *outputs]]
        return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]))

    one = conv("conv", "x", 8, 8, 8)
    calls = [one, relu("relu", one)]
    own = graph(
        [helper.make_node("Conv", ["x"], ["conv"], "n0"), helper.make_node("Relu", ["conv"], ["out"], "n1")], ["out"]
    )
    fused = helper.make_node("Conv", ["moved"], ["blocked"], "relu_nchwc")
    optimized = graph(
        [
            helper.make_node("ReorderInput", ["x"], ["moved"], "copy"), fused,
            helper.make_node("ReorderOutput", ["blocked"], ["out"], "back"),
        ],
        ["out"],
    )  # fmt: skip
    assert owners(own, optimized, calls, ["relu"]) == {"back": "relu", "relu_nchwc": "relu", "copy": "relu"}
