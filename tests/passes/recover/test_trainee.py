"""A program as something that trains: own tensors, ties kept, taps and injected values."""

from __future__ import annotations

import torch
from recovery import digits_batches, digits_program
from torch import nn

from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.program import Program
from compressor.passes.fold import Fold
from compressor.passes.quantize import Quantize
from compressor.passes.recover.device import choose_place
from compressor.passes.recover.points import blocks_of
from compressor.passes.recover.trainee import Trainee, untrainable

CPU = choose_place("cpu")


def test_both_graphs_share_the_weights_that_are_trained() -> None:
    program = digits_program()
    trainee = Trainee(program, CPU)
    x = digits_batches()[0]["x"]
    with torch.no_grad():
        trainee.parameters["head.3.weight"].zero_()
    for module in (trainee.plain, trainee.training):
        [scores] = module(x)
        torch.testing.assert_close(scores, program.get("head.3.bias").expand_as(scores))
    assert bool(program.get("head.3.weight").any()), "the program's own weights are untouched"


def test_parameters_are_in_one_order_however_the_graph_reads_them() -> None:
    """An optimizer's checkpoint goes by places, and a program that was saved and loaded reads its tensors in another
    order than one that was just made."""
    program = capture(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), (torch.randn(2, 4),)).program
    other = edit.begin(program)
    reads = {str(node.target): node for node in other.graph.nodes if node.op == "get_attr"}
    next(iter(other.graph.nodes)).prepend(reads["1.weight"])
    other = edit.finish(other)
    assert list(program.tensors()) != list(other.tensors())
    first, second = (list(Trainee(each, CPU).parameters) for each in (program, other))
    assert first == second


def test_tied_weights_stay_one() -> None:
    program = capture(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), (torch.randn(2, 4),)).program
    program.module.get_submodule("1").weight = program.get("0.weight")
    trainee = Trainee(program, CPU)
    assert set(trainee.parameters) == {"0.weight", "0.bias", "1.bias"}
    x = torch.randn(3, 4)
    torch.autograd.backward(trainee.training(x)[0].sum())
    weight = trainee.parameters["0.weight"]
    assert weight.grad is not None
    hidden = x @ weight.T + program.get("0.bias")
    by_hand = torch.autograd.grad((hidden @ weight.T).sum(), weight)[0]
    torch.testing.assert_close(weight.grad, by_hand)
    state = trainee.state()
    state["0.weight"] += 1
    done = trainee.finished(state)
    assert done.get("0.weight") is done.get("1.weight")
    assert done.unique_bytes() == program.unique_bytes()
    assert set(trainee.changed(state)) == {"0.weight", "1.weight"}


def test_a_state_comes_back_bit_for_bit() -> None:
    program = digits_program()
    trainee = Trainee(program, CPU, batch_norm=True)
    before = trainee.state()
    trainee.training(digits_batches()[0]["x"])  # updates running statistics
    assert trainee.changed(trainee.state())
    trainee.load(before)
    assert trainee.finished(trainee.state()).hash() == program.hash()


def test_taps_and_injected_values() -> None:
    program = digits_program()
    first, second = blocks_of(program).values()
    x = digits_batches()[0]["x"]
    scores, tap = Trainee(program, CPU, taps=[second]).training(x)
    given = torch.zeros(32, 32, 8, 8)
    other, own, moved = Trainee(program, CPU, taps=[first, second], injected=[first]).training(x, given)
    assert own.abs().sum() > 0, "the tap is what the block computed itself"
    assert not torch.equal(other, scores)
    assert not torch.equal(moved, tap)


def test_a_teacher_has_nothing_to_train_and_kept_ones_stay() -> None:
    program = digits_program()
    assert not Trainee(program, CPU, frozen=True).parameters
    assert "head.3.weight" not in Trainee(program, CPU, keep=("head.3",)).parameters
    assert "head.3.weight" in Trainee(program, CPU).parameters


def test_integers_and_halves_cannot_be_trained() -> None:
    from boards import board

    from compressor.graph.contract import Context

    program = digits_program()
    context = Context(board(), calibration=digits_batches(), synthetic=False)
    folded = Fold().run(program, context).program
    assert untrainable(program) is None
    assert untrainable(folded) is None
    assert "integers" in str(untrainable(Quantize().run(folded, context).program))
    half = edit.begin(capture(nn.Linear(3, 2), (torch.randn(2, 3),)).program)
    edit.set_tensor(half, "weight", half.get("weight").detach().half())
    assert "half precision" in str(untrainable(half))


def blending() -> Program:
    """x · W, W led to its fake quantization by `blend`."""
    program = capture(nn.Linear(4, 2, bias=False), (torch.randn(3, 4),)).program
    copy = edit.begin(program)
    [linear] = copy.nodes()
    start = torch.full((2,), 0.2)
    parts = (
        edit.add_tensor(copy, "step", start, linear, buffer=True), edit.add_tensor(copy, "gain", 0 * start, linear),
        edit.add_tensor(copy, "blend", torch.zeros(()), linear, buffer=True),
    )  # fmt: skip
    args = (linear.args[1], *parts, -8, 7, 0, 0, False)
    linear.update_arg(1, edit.insert(copy, torch.ops.compressor.fake_weight.default, args, like=linear))
    return edit.finish(copy)


def test_fake_quantization_can_be_trained_and_only_training_blends() -> None:
    program = blending()
    assert untrainable(program) is None
    trainee, x = Trainee(program, CPU), torch.randn(3, 4)
    assert set(trainee.parameters) == {"weight", "gain"}
    weight = program.get("weight")
    trainee.raise_ramps({"blend": 0.5}, 0.0)
    torch.testing.assert_close(trainee.training(x)[0], x @ weight.T)
    rounded = x @ (torch.round(weight / 0.2) * 0.2).T
    torch.testing.assert_close(trainee.plain(x)[0], rounded)
    trainee.raise_ramps({"blend": 0.5}, 0.25)
    torch.testing.assert_close(trainee.training(x)[0], (x @ weight.T + rounded) / 2)
    trainee.raise_ramps({"blend": 0.5}, 0.7)
    torch.testing.assert_close(trainee.training(x)[0], rounded)
    trainee.raise_ramps({"blend": 0.0}, 0.0)
    torch.testing.assert_close(trainee.training(x)[0], rounded)
