"""Student and teacher on one batch: held-out loss, metric, padding, blocks fed by the teacher."""

from __future__ import annotations

import pytest
import torch
from elastic_nets import digits_entries, family
from programs import text
from recovery import damaged, digits_batches, digits_program

from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.passes.recover.device import choose_place
from compressor.passes.recover.duo import Duo
from compressor.passes.recover.engine import Settings
from compressor.passes.recover.losses.scores import kl
from compressor.passes.recover.objective import parse_losses
from compressor.passes.recover.ranks import Ranks


def duo(student: Program, teacher: Program, batches: list[Batch], losses: str = "auto") -> Duo:
    return Duo(student, teacher, batches, batches, parse_losses(losses), Settings(), choose_place("cpu"), Ranks(), 32)


def test_the_held_out_loss_and_the_metric_by_hand() -> None:
    teacher, batches = digits_program(), digits_batches()[:3]
    student = damaged(teacher, 0.3)
    loss, metric = duo(student, teacher, batches).judge()
    x = torch.cat([batch["x"] for batch in batches])
    [ours], [theirs] = (list(program.run([x]).values()) for program in (student, teacher))
    assert loss == pytest.approx(float(kl(ours, theirs, 3.0).mean()), rel=1e-4)
    assert metric == pytest.approx(float((ours.argmax(1) == theirs.argmax(1)).float().mean()))


def test_building_it_leaves_the_statistics_alone() -> None:
    teacher = digits_program()
    made = duo(damaged(teacher), teacher, digits_batches())
    assert not made.student.changed(made.student.state())


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (4, 6))
    mask = torch.ones_like(ids)
    mask[:, 4:] = 0
    other = ids.clone()
    other[:, 4:] = 7
    results = [
        duo(noisy(text()), text(), [{"input_ids": each, "attention_mask": mask}]).judge() for each in (ids, other)
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-4)


def noisy(program: Program) -> Program:
    from compressor.graph import edit

    copy = edit.begin(program)
    name = "block.linear1.weight"
    edit.set_tensor(copy, name, program.get(name).detach() * 1.5)
    return edit.finish(copy)


def test_blockwise_feeds_every_block_what_the_teacher_computed() -> None:
    teacher, batches = digits_program(), digits_batches()
    student = damaged(teacher)
    made = duo(student, teacher, batches, "blockwise")
    assert len(made.local) == 2
    seen = made.see(batches[0])
    loss = made.objective.terms[0](seen).sum()
    gradients = torch.autograd.grad(seen.points[1][0].sum(), list(made.student.parameters.values()), allow_unused=True)
    reached = [name for name, g in zip(made.student.parameters, gradients, strict=True) if g is not None]
    assert reached, "the second block is trained"
    assert not [name for name in reached if name.startswith(("stem", "first"))], "and nothing before its input"
    assert loss.requires_grad


def test_statistics_are_estimated_anew() -> None:
    teacher = digits_program()
    made = duo(damaged(teacher, 0.3), teacher, digits_batches())
    before = made.judge()[0]
    assert made.recalibrate(digits_batches())
    assert made.judge()[0] < 0.2 * before


@pytest.mark.parametrize("inplace", [True, False])
def test_children_learn_from_the_student_or_from_the_teacher(inplace: bool) -> None:
    """From the student at temperature 1: at the teacher's 3 they would outweigh what it learns itself."""
    program, _ = digits_entries()
    teacher, batch = digits_program(), digits_batches()[0]
    student = damaged(program, 0.3)
    settings = Settings(family=family(inplace=inplace))
    made = Duo(student, teacher, [batch], [batch], parse_losses("kl"), settings, choose_place("cpu"), Ranks(), 32)
    whole, *others = made.losses(batch, 0, 0.0)
    [ours] = made.student.training(*made.student.flat(batch))[:1]
    [theirs] = teacher.run(batch).values()
    assert float(whole.detach()) == pytest.approx(float(kl(ours.detach(), theirs, 3.0).mean()) / 3, rel=1e-4)
    numbers = settings.family.at(0) if settings.family is not None else ()
    for loss, number in zip(others, numbers[1:], strict=True):
        [scores] = made.children[number - 1].run(batch)
        wanted = kl(scores, ours.detach(), 1.0) if inplace else kl(scores, theirs, 3.0)
        assert float(loss.detach()) == pytest.approx(float(wanted.detach().mean()) / 3, rel=1e-4)


def test_all_sizes_are_judged() -> None:
    program, entries = digits_entries()
    batches = digits_batches()[:2]
    made = Duo(
        program, program, batches, batches, parse_losses("kl"), Settings(family=family()), choose_place("cpu"), Ranks(),
        32,
    )  # fmt: skip
    loss, agreement = made.judge()
    x = torch.cat([batch["x"] for batch in batches])
    alone = [float(kl(*(next(iter(p.run([x]).values())) for p in (e.program, program)), 3.0).mean()) for e in entries]
    assert made.judgements == 3
    assert loss == pytest.approx(sum(alone) / 3, rel=0.5), "but for statistics: the batch's, and those that are stored"
    assert 1 / 3 < agreement < 1
