"""Student and teacher side by side: the loss of a batch, and the held-out loss that decides.

held-out  mean over samples not trained on, the student in eval mode: of the parts of the loss that look at outputs
          alone, or of the outputs' own loss (`output`) where there is no such part
metric    agreement: the share of positions with the teacher's best class; for values, the mean cosine
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.passes.recover.child import Child
from compressor.passes.recover.device import Place
from compressor.passes.recover.losses.values import by_sample, cosine
from compressor.passes.recover.norms import LEAST, recalibrate
from compressor.passes.recover.objective import BOUND, LOCAL, Objective, Part, judging, resolve
from compressor.passes.recover.plan import LABELS, Plan, Seen, make_plan, tokens_of
from compressor.passes.recover.ranks import Ranks
from compressor.passes.recover.stream import batch_inputs, rows
from compressor.passes.recover.terms import build_term
from compressor.passes.recover.trainee import Trainee

if TYPE_CHECKING:
    from compressor.passes.recover.engine import Settings

__all__ = ["Duo"]

STATISTICS = 16  # samples from which a batch's own statistics are used
SOFT = 1.0  # temperature of what a student says to its children: at 3 they outweigh its labels (benchmarks/elastic.py)
CACHED = 256 << 20  # bytes of the teacher's held-out outputs that are kept
_OWN = "objective/"
NAN = "Run it on the data by itself: a program that gives no numbers teaches nothing."


class Duo:
    """Both networks on the device, what they are compared by, and the loss."""

    def __init__(
        self, student: Program, teacher: Program, sample: Sequence[Batch], judged: Sequence[Batch],
        parts: Sequence[Part], settings: Settings, place: Place, ranks: Ranks, size: int,
    ) -> None:  # fmt: skip
        self.ranks, self.place, self.judged = ranks, place, judged
        self.inputs = batch_inputs(student)
        self.held = sum(rows(batch, self.inputs) for batch in judged)  # samples
        self.plan: Plan = make_plan(student, teacher, sample[0], settings.temperature)
        self.parts = resolve(parts, self.plan)
        self.local = [n for n, p in enumerate(self.plan.points) if self._injects(p)]
        batch_norm = settings.batch_norm == "batch" or (settings.batch_norm == "auto" and size >= STATISTICS)
        injected = [self.plan.points[n].ours for n in self.local]
        self.teacher = Trainee(teacher, place, taps=self.plan.taps(ours=False), frozen=True)
        self.student = Trainee(
            student, place, taps=self.plan.taps(ours=True), injected=injected, keep=settings.keep,
            masks=settings.masks, batch_norm=batch_norm, synchronized=ranks.size > 1,
        )  # fmt: skip
        with torch.no_grad():
            before = self.student.state()
            self.objective = Objective(self.parts, self.plan, lambda: map(self.see, sample)).to(place.device)
            judges = judging(self.parts, self.plan, labelled=all(LABELS in batch for batch in judged))
            self.criteria = [(w, build_term(name, self.plan, lambda: map(self.see, sample))) for name, w in judges]
            self.family = settings.family
            self.children = [Child(entry, self.student) for entry in self.family.children] if self.family else []
            soft = settings.temperature or SOFT
            softer = replace(self.plan, outputs=tuple(replace(each, temperature=soft) for each in self.plan.outputs))
            self.soft = [(1.0, build_term("output", softer, lambda: map(self.see, sample)))] if self.family else []
            self.student.load(before)  # running statistics were updated on the way
        self.metric = "cosine" if self.plan.outputs[0].kind == "values" else "agreement"
        self._penalty = settings.penalty
        self.faces: Sequence[Mapping[str, Tensor]] = settings.variants.judged() if settings.variants else [{}]
        self.trained = [*self.student.parameters.values(), *self.objective.parameters()]
        self._remembered: dict[int, tuple[Tensor, ...]] = {}

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Parameters for the optimizer: vectors (biases, norms) are never decayed."""
        decayed = [p for p in self.trained if p.dim() > 1]
        return [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": [p for p in self.trained if p.dim() <= 1], "weight_decay": 0.0},
        ]

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """This process's part of the loss on a batch, and each term's value on all of it."""
        part, share = self._mine(batch)
        result: tuple[Tensor, Mapping[str, float]] = self.objective(self.see(part), self.ranks, share)
        return result

    def losses(self, batch: Batch, step: int, fraction: float) -> Iterator[Tensor]:
        """This process's part of a step's loss, one network's after the other's, so that one graph is held at a time:
        the student's, with what its parameters cost at this share of the budget, and its children's; their mean."""
        learners = self.family.at(step) if self.family is not None else (0,)
        part, share = self._mine(batch)
        penalty = self.penalty(fraction) / self.ranks.size
        theirs: tuple[Tensor, ...] | None = None
        for number in learners:
            if number == 0:
                seen = self.see(part)
                loss, _ = self.objective(seen, self.ranks, share)
                theirs = self._as_teacher(seen) if self._own_lessons else seen.theirs
            else:
                theirs = self._taught(part)[: len(self.teacher.program.outputs)] if theirs is None else theirs
                loss = share * self._of_child(self.children[number - 1], part, theirs)
            yield loss / len(learners) + penalty
            penalty = torch.zeros_like(penalty)

    def _of_child(self, child: Child, batch: Batch, theirs: tuple[Tensor, ...]) -> Tensor:
        """Labels, where a part asks for them, teach a child that does not learn from the student."""
        with self.place.autocast():
            seen = Seen(child.run(batch), theirs, mask=self._mask(batch), **self._own(batch))
        criteria = self.soft if self._own_lessons else self.criteria
        return torch.stack([weight * term(seen).mean() for weight, term in criteria]).sum()

    @property
    def _own_lessons(self) -> bool:
        return self.family is not None and self.family.own_lessons

    def _as_teacher(self, seen: Seen) -> tuple[Tensor, ...]:
        """What the student said, in the places of the teacher's outputs."""
        said = {output.theirs: seen.ours[output.ours].detach() for output in self.plan.outputs}
        return tuple(said.get(place, value) for place, value in enumerate(seen.theirs))

    def penalty(self, fraction: float) -> Tensor:
        """What the student's parameters cost by themselves at this share of the budget."""
        if self._penalty is None:
            return torch.zeros((), device=self.place.device)
        return self._penalty(self.student.parameters, fraction)

    def see(self, batch: Batch) -> Seen:
        """What both compute on a batch, with the intermediate values that are compared."""
        theirs = self._taught(batch)
        count = len(self.teacher.program.outputs)
        values = theirs[count:]
        injected = [values[n].to(self.plan.points[n].ours.meta["val"].dtype) for n in self.local]
        with self.place.autocast():
            ours = self.student.training(*self.student.flat(batch), *injected)
        pairs = tuple(zip(ours[len(self.student.program.outputs) :], values, strict=True))
        points = len(self.plan.points)
        return Seen(
            tuple(ours[: len(self.student.program.outputs)]), tuple(theirs[:count]), pairs[:points], pairs[points:],
            self._mask(batch), strays=self._strays(), **self._own(batch),
        )  # fmt: skip

    def _taught(self, batch: Batch) -> tuple[Tensor, ...]:
        """The teacher's outputs, and its values at the points behind them."""
        with torch.no_grad(), self.place.autocast():
            return tuple(self.teacher.training(*self.teacher.flat(batch, self.plan.feeds)))

    def _mask(self, batch: Batch) -> Tensor | None:
        return None if self.plan.mask is None else batch[self.plan.mask].to(self.place.device) != 0

    def _strays(self) -> tuple[Tensor, ...]:
        """How far factorized layers are from the teacher's, where a part asks."""
        if not any(part.name == BOUND for part in self.parts):
            return ()
        return tuple(pair.strays(self.student.shared, self.teacher.shared[pair.dense]) for pair in self.plan.pairs)

    def _own(self, batch: Batch) -> dict[str, Any]:
        """What is known of a batch besides what the networks make of it."""
        found = {"labels": batch.get(LABELS), "tokens": tokens_of(self.student.program, batch)}
        return {name: value.to(self.place.device) for name, value in found.items() if value is not None}

    def judge(self) -> tuple[float, float]:
        """The held-out loss, and the metric, over all processes' samples, and all networks that count."""
        sums = torch.zeros(3, dtype=torch.float64)
        for face in self.faces:
            self.student.set(face)
            sums += self._judged(lambda batch: self.student.plain(*self.student.flat(batch)))
            for child in self._named():
                sums += self._judged(child.run, LEAST if child.normalizes else 1)
        loss, metric, count = self.ranks.total(sums.to(self.place.device)).tolist()
        with torch.no_grad():
            return loss / count + float(self.penalty(1.0)), metric / count

    @property
    def judgements(self) -> int:
        """How many networks are run to judge once."""
        return len(self.faces) * (1 + len(self._named()))

    def _named(self) -> Sequence[Child]:
        return self.children[: self.family.named] if self.family is not None else ()

    def _judged(self, run: Callable[[Batch], Sequence[Tensor]], least: int = 1) -> Tensor:
        """This process's part: loss and metric times samples, and samples. Batches of fewer samples are left out."""
        sums = torch.zeros(3, dtype=torch.float64)
        for index in range(self.ranks.rank, len(self.judged), self.ranks.size):
            batch = self.judged[index]
            if (count := rows(batch, self.inputs)) < least and self.inputs:
                continue
            with torch.no_grad(), self.place.autocast():
                ours = run(batch)
                theirs = self._known(index, batch)
                seen = Seen(tuple(ours), theirs, mask=self._mask(batch), **self._own(batch))
                loss = sum(weight * float(term(seen).mean()) for weight, term in self.criteria)
                values = [loss, self._agreement(seen), 1.0]
            sums += count * torch.tensor(values, dtype=torch.float64)
        return sums

    def recalibrate(self, batches: Sequence[Batch]) -> bool:
        """Estimate the student's running statistics on these; whether it has any."""
        fresh = recalibrate(self.student.finished(self.student.state()), batches)
        names = [name for name in self.student.state() if name not in self.student.parameters]
        changed = {name: fresh.get(name) for name in names if not torch.equal(fresh.get(name), self._value(name))}
        if changed:
            self.student.load({**self.student.state(), **{n: t.to(self.place.device) for n, t in changed.items()}})
        return bool(changed)

    def state(self) -> dict[str, Tensor]:
        """A copy of everything that training changes: the student's tensors, adapters and branches."""
        own = {f"{_OWN}{name}": tensor.detach().clone() for name, tensor in self.objective.state_dict().items()}
        return {**self.student.state(), **own}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Write a `state` back."""
        self.student.load(state)
        own = {name.removeprefix(_OWN): tensor for name, tensor in state.items() if name.startswith(_OWN)}
        self.objective.load_state_dict(own)

    def _value(self, name: str) -> Tensor:
        return self.student.shared[name].detach().to(self.student.program.get(name).device)

    def _mine(self, batch: Batch) -> tuple[Batch, float]:
        """This process's samples of a batch, and their share of it. A batch that cannot be cut is everybody's."""
        if self.ranks.size == 1:
            return batch, 1.0
        if not self.inputs or any(isinstance(spec.shape[0], int) for spec in self.student.program.inputs):
            return batch, 1.0 / self.ranks.size
        count = rows(batch, self.inputs)
        mine = self.ranks.rows(count)
        cut = {name: t[mine] if name in (*self.inputs, LABELS) else t for name, t in batch.items()}
        return cut, (mine.stop - mine.start) / count

    def _injects(self, pair: Any) -> bool:
        """Whether the teacher's value can take the place of the student's at a point."""
        same = [str(size) for size in pair.ours.meta["val"].shape[1:]] == [
            str(size) for size in pair.theirs.meta["val"].shape[1:]
        ]
        return any(part.name == LOCAL for part in self.parts) and same

    def _known(self, index: int, batch: Batch) -> tuple[Tensor, ...]:
        if index in self._remembered:
            return self._remembered[index]
        theirs = tuple(self.teacher.plain(*self.teacher.flat(batch, self.plan.feeds)))
        if any(bool(tensor.isnan().any()) for tensor in theirs):
            raise InputError("the teacher's outputs are not numbers (NaN)", where="--teacher", way_out=NAN)
        size = sum(tensor.numel() * tensor.element_size() for tensor in theirs)
        if size * len(self.judged) <= CACHED * self.ranks.size:
            self._remembered[index] = theirs
        return theirs

    def _agreement(self, seen: Seen) -> float:
        output = self.plan.outputs[0]
        ours = output.arranged(seen.ours[output.ours]).float()
        theirs = output.arranged(seen.theirs[output.theirs]).float()
        if output.kind == "values":
            return 1 - float(by_sample(cosine(ours, theirs), seen.mask).mean())
        return float(by_sample((ours.argmax(-1) == theirs.argmax(-1)).float(), seen.mask).mean())
