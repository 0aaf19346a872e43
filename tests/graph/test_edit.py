"""The editing helpers: no dead nodes or tensors, metadata and names kept, the original untouched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.program import Program

aten = torch.ops.aten


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 2, bias=False)
        self.tied.weight = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x).mean((2, 3))
        return self.head(y) + self.tied(y.permute(0, 1)).transpose(0, 1).t()


@pytest.fixture(scope="module")
def program() -> Program:
    return capture(Net().eval(), (torch.randn(2, 3, 6, 6),)).program


@pytest.fixture
def copy(program: Program) -> Program:
    return edit.begin(program)


def node_of(program: Program, target: Any) -> Any:
    return next(node for node in program.nodes() if node.target is target)


def test_begin_shares_tensors_but_no_containers(program: Program, copy: Program) -> None:
    assert copy.get("head.bias") is program.get("head.bias")
    before = program.get("head.bias").clone()
    edit.set_tensor(copy, "head.bias", torch.ones(2))
    assert torch.equal(program.get("head.bias"), before)
    assert torch.equal(copy.get("head.bias"), torch.ones(2))


def test_set_tensor_keeps_the_kind(copy: Program) -> None:
    edit.set_tensor(copy, "head.bias", torch.ones(2))
    edit.set_tensor(copy, "body.1.running_mean", torch.ones(4))
    assert "head.bias" in dict(copy.module.named_parameters())
    assert "body.1.running_mean" in dict(copy.module.named_buffers())
    edit.set_tensor(copy, "head.bias", torch.ones(2, dtype=torch.int8))
    assert "head.bias" in dict(copy.module.named_buffers()), "integers cannot be parameters"


def test_add_tensor_finds_a_free_name(copy: Program) -> None:
    linear = node_of(copy, aten.linear.default)
    names = [edit.attribute(edit.add_tensor(copy, name, torch.ones(2), linear)) for name in ("head.bias", "head.bias")]
    assert names == ["head.bias_1", "head.bias_2"]
    assert edit.attribute(edit.add_tensor(copy, "new.deep.scale", torch.ones(2), linear, buffer=True)) is not None
    assert "new.deep.scale" in dict(copy.module.named_buffers())
    assert edit.attribute(edit.add_tensor(copy, "head", torch.ones(2), linear)) == "head_1", "a module's name is taken"


def test_insert_keeps_the_layer_and_knows_its_shape(copy: Program) -> None:
    relu = node_of(copy, aten.relu.default)
    new = edit.insert(copy, aten.gelu.default, relu.args, like=relu, kwargs={"approximate": "tanh"})
    assert edit.module_path(new) == "body.2"
    assert str(new.meta["val"].shape) == str(relu.meta["val"].shape)
    edit.substitute(copy, relu, new)
    done = edit.finish(copy)
    assert "aten.gelu.default" in [str(node.target) for node in done.nodes()]
    assert "aten.relu.default" not in [str(node.target) for node in done.nodes()]


def test_substitute_may_wrap_what_it_replaces(copy: Program) -> None:
    relu = node_of(copy, aten.relu.default)
    after = edit.insert(copy, aten.neg.default, (relu,), like=relu, before=relu.next)
    edit.substitute(copy, relu, after)
    assert after.args == (relu,)
    assert list(relu.users) == [after]
    edit.finish(copy)


def test_finish_leaves_nothing_dead(program: Program, copy: Program) -> None:
    norm = node_of(copy, aten.batch_norm.default)
    edit.substitute(copy, norm, norm.args[0])
    relu = node_of(copy, aten.relu.default)
    edit.insert(copy, aten.rand_like.default, (relu,), like=relu, before=relu.next)
    done = edit.finish(copy)
    assert "aten.rand_like.default" not in [str(node.target) for node in done.nodes()]
    assert not [name for name in done.module.state_dict() if name.startswith("body.1")]
    assert set(done.module.state_dict()) == set(done.tensors())
    assert "body.1.weight" in program.tensors(), "the original keeps its own"
    assert done.run()["output"].shape == (2, 2)


def test_dead_random_numbers_go_and_checks_and_writes_stay() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            torch.dropout(torch.rand(3), 0.5, False)
            y = x.clone()
            y[:, 0].relu_()
            return y

    copy = edit.begin(capture(Noisy(), (torch.randn(2, 3),)).program)
    relu = node_of(copy, aten.relu_.default)
    assert not relu.users
    names = [str(node.target) for node in edit.finish(copy).nodes()]
    assert "aten.relu_.default" in names
    assert not {"aten.rand.default", "aten.dropout.default"} & set(names)


def test_arguments_by_their_schema_names(copy: Program) -> None:
    conv = node_of(copy, aten.conv2d.default)
    assert edit.argument(conv, "stride") in ([1, 1], (1, 1))
    assert edit.argument(conv, "groups") == 1
    assert edit.argument(conv, "nonsense") is None
    edit.set_argument(conv, "stride", [2, 2])
    edit.set_argument(conv, "groups", 1)
    assert edit.argument(conv, "stride") == [2, 2]
    assert edit.finish(copy).run()["output"].shape == (2, 2)


def test_permutation(copy: Program) -> None:
    orders = [edit.permutation(node) for node in copy.nodes()]
    assert [order for order in orders if order is not None] == [[0, 1], [1, 0], [1, 0]]


def test_names_that_users_know(copy: Program) -> None:
    linear, mean = node_of(copy, aten.linear.default), node_of(copy, aten.mean.dim)
    assert edit.layer_name(node_of(copy, aten.conv2d.default)) == "body.0"
    assert edit.layer_name(node_of(copy, aten.relu.default)) == "body.2"
    assert edit.layer_name(mean) == mean.name
    assert edit.layer_name(linear.args[1]) in ("head", "tied")
    assert edit.is_kept("body.0", ("body.0.*",))
    assert edit.is_kept("body.0.weight", ("body.*",))
    assert not edit.is_kept("body.0.weight", ("head*",))


def test_sole_user_and_stored_tensors(copy: Program) -> None:
    conv = node_of(copy, aten.conv2d.default)
    assert edit.sole_user(conv) is node_of(copy, aten.batch_norm.default)
    assert edit.sole_user(node_of(copy, aten.mean.dim)) is None
    assert edit.tensor_of(copy, conv) is None
    assert edit.tensor_of(copy, conv.args[1]) is copy.get("body.0.weight")
    assert edit.tensor_of(copy, None) is None
    assert edit.is_call(conv, aten.conv2d.default, aten.conv1d.default)
    assert not edit.is_call(3, aten.conv2d.default)
