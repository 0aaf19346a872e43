from __future__ import annotations

import onnx_ir as ir
import pytest
from boards import board

from compressor.errors import UnsupportedError
from compressor.export.onnx import Lowered
from compressor.export.operators import place
from compressor.targets.target import Provider, Runtime, Target


def model(*operators: tuple[str, str]) -> ir.Model:
    """A chain of nodes named after themselves."""
    value = first = ir.Value(name="x")
    nodes = []
    for number, (domain, operator) in enumerate(operators):
        node = ir.Node(domain, operator, [value], name=f"layer{number}/{operator}")
        nodes.append(node)
        value = node.outputs[0]
    return ir.Model(ir.Graph([first], [value], nodes=nodes, opset_imports={"": 21}), ir_version=10)


def two_providers(*operators: str) -> Target:
    fast = Provider("FastExecutionProvider", ("fp16",), operators, "", "test")
    return board(providers=(fast, *board().providers))


def test_everything_on_one_provider(conv_lowered: Lowered) -> None:
    placement = place(conv_lowered.model, board())
    assert placement.counts == {"CPUExecutionProvider": len(list(conv_lowered.model.graph))}
    assert placement.fallen == 0


def test_what_the_first_lacks_falls_back_and_is_counted() -> None:
    placement = place(model(("", "Relu"), ("", "Erf"), ("", "Erf")), two_providers("Relu", "Conv"))
    assert placement.counts == {"FastExecutionProvider": 1, "CPUExecutionProvider": 2}
    assert placement.fallbacks == {"Erf": 2}
    assert placement.fallen == 2


def test_an_operator_that_nobody_has_is_refused_by_name_and_place() -> None:
    target = board(providers=(Provider("OneExecutionProvider", ("fp32",), ("Relu",), "", "test"),))
    with pytest.raises(UnsupportedError, match="Erf") as caught:
        place(model(("", "Relu"), ("", "Erf")), target)
    assert caught.value.where == "layer1/Erf"
    assert "OneExecutionProvider" in caught.value.way_out


@pytest.mark.parametrize(("domain", "operator"), [("my.domain", "Relu"), ("", "NoSuchOperator")])
def test_a_star_means_what_the_runtime_knows(domain: str, operator: str) -> None:
    with pytest.raises(UnsupportedError, match=operator):
        place(model((domain, operator)), board())


def test_a_star_stops_at_the_runtimes_opset() -> None:
    assert place(model(("", "Gelu")), board()).counts == {"CPUExecutionProvider": 1}
    with pytest.raises(UnsupportedError, match="Gelu"):
        place(model(("", "Gelu")), board(runtime=Runtime("onnxruntime", "1.16", 19, "test")))


def test_the_runtimes_own_operators_are_known() -> None:
    assert place(model(("com.microsoft", "MatMulNBits")), board()).counts == {"CPUExecutionProvider": 1}


def test_a_list_of_names_means_onnx_operators_only() -> None:
    placement = place(model(("com.microsoft", "Gelu")), two_providers("Gelu"))
    assert placement.fallbacks == {"com.microsoft::Gelu": 1}
