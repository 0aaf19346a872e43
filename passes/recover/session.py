"""One recovery from start to end: step, judge, keep or roll back, checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compressor.graph.contract import Batch, Progress
from compressor.graph.mode import batch_norms
from compressor.graph.program import Program
from compressor.passes.recover.checkpoint import write_checkpoint
from compressor.passes.recover.device import Place
from compressor.passes.recover.duo import Duo
from compressor.passes.recover.keeper import Keeper
from compressor.passes.recover.objective import Part
from compressor.passes.recover.pace import Pace, rate
from compressor.passes.recover.ranks import Ranks
from compressor.passes.recover.rates import base_rate, raised
from compressor.passes.recover.stream import Stream

if TYPE_CHECKING:
    from compressor.passes.recover.engine import Settings

__all__ = ["Session"]

CALIBRATION = 16  # batches that statistics are estimated on
FITTED = 8  # batches that adapters are fitted to
WRITING = 20.0  # checkpoints cost no more than a twentieth of the time


class Session:
    """What `recover` runs. `start` begins anew or continues; `train` spends the budget; `result` sums up."""

    def __init__(
        self, student: Program, teacher: Program, stream: Stream, judged: Sequence[Batch], parts: Sequence[Part],
        settings: Settings, pace: Pace, ranks: Ranks, progress: Progress, place: Place, checkpoint: Path | None,
        key: str, caller: str = "recover",
    ) -> None:  # fmt: skip
        self.stream, self.pace, self.ranks, self.progress = stream, pace, ranks, progress
        self.checkpoint, self.key, self.place, self.caller = checkpoint, key, place, caller
        self.duo = Duo(student, teacher, stream.first(FITTED), judged, parts, settings, place, ranks, stream.size)
        self.rate, self.base = settings.rate, base_rate(teacher)
        self.clip, self.ramps, self.variants = settings.clip, settings.ramps, settings.variants
        self.statistics = bool(batch_norms(student))
        self.optimizer = torch.optim.AdamW(self.duo.groups(settings.weight_decay), lr=self.base)
        self.scaler = place.scaler()
        self.step = 0
        self.recent: list[float] = []
        self.judging = self._wrote = self._cost = 0.0

    def start(self, saved: Mapping[str, Any] | None) -> None:
        """Judge the program as it is (and with its batch statistics estimated anew), or continue a saved run."""
        if saved is not None:
            self._restore(saved)
            return
        began = self.pace.elapsed
        self.before = self.duo.judge()
        self.judging = once = self.pace.elapsed - began
        self.keeper, self.metric = Keeper(self.before[0], self.duo.state()), self.before[1]
        if self.statistics:
            self._recalibrate()
            self.judging = self.pace.elapsed - began  # what the end will take, too
        self.peak = self.rate or self.base * (1.0 if self.ramps else raised(self.metric))
        [seconds] = self.ranks.agreed([once])
        self.pace.spread(seconds, self.duo.judgements * self.duo.held / self.stream.size)

    def train(self) -> None:
        """Spend the budget."""
        batches = self.stream.at(self.step)
        while (fraction := self._fraction()) is not None:
            self.pace.begin()
            self.duo.student.raise_ramps(self.ramps, fraction)
            if self.variants is not None:
                self.duo.student.set(self.variants.at(self.step))
            learning_rate = rate(fraction, self.step, self.pace.total) * self.keeper.scale
            self._update(next(batches), learning_rate, fraction)
            self.step += 1
            self.pace.end()
            due = self.pace.due(self.step, fraction)
            if (due or not math.isfinite(self.recent[-1])) and self._judge(self._done(fraction)) == "hopeless":
                break
            self._write()
        if self.recent:
            self._judge(1.0)
        if self.statistics and self.step:  # running averages lag behind the weights
            self.duo.load(self.keeper.state)
            self._recalibrate()

    def result(self) -> dict[str, Any]:
        """The fields of `Recovered` but its notes."""
        state, keeper = self.keeper.state, self.keeper
        improved = keeper.loss < self.before[0]
        return {
            "program": self.duo.student.finished(state) if improved else self.duo.student.program,
            "before": self.before[0],
            "after": keeper.loss,
            "metric": (self.before[1], self.metric),
            "rate": self.peak,
            "steps": self.step,
            "best_step": keeper.step,
            "changed": self.duo.student.changed(state) if improved else (),
            "losses": "+".join(map(str, self.duo.parts)),
            "marks": self.pace.written(self.step),
            "rollbacks": keeper.rollbacks,
            "history": tuple(keeper.history),
        }

    def _fraction(self) -> float | None:
        """The share of the budget that is behind, as the first process sees it."""
        fraction = self.pace.at(self.step, reserve=self.judging + self._cost)
        if self.pace.total is not None:
            return fraction
        [agreed] = self.ranks.agreed([math.nan if fraction is None else fraction])
        return None if math.isnan(agreed) else agreed

    def _done(self, fraction: float) -> float:
        """The share of the budget that is behind now, for people."""
        return fraction if self.pace.total is None else self.step / self.pace.total

    def _update(self, batch: Batch, learning_rate: float, fraction: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * self.peak
        self.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        for loss in self.duo.losses(batch, self.step, fraction):
            torch.autograd.backward(self.scaler.scale(loss))
            value += float(self.ranks.total(loss.detach()))
        self.ranks.sum_gradients(self.duo.trained)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.duo.trained, self.clip)
        if math.isfinite(value):
            self.scaler.step(self.optimizer)
            self.duo.student.apply_masks()
        self.scaler.update()
        self.recent.append(value)

    def _judge(self, fraction: float) -> str:
        began = self.pace.elapsed
        training = sum(self.recent) / max(1, len(self.recent))
        held, metric = self.duo.judge()
        ramping = any(fraction < share for share in self.ramps.values())
        verdict = self.keeper.judge(self.step, training, held, ramping=ramping)
        if verdict == "better":
            self._keep_if_better(held, metric)
        elif verdict == "diverged":
            self.duo.load(self.keeper.state)
            self.optimizer.state.clear()
            back = f"back to step {self.keeper.step}, half the rate"
            self.progress.say(f"{self.caller}: diverged at step {self.step}; {back}")
        figures = {"loss": training, "held-out": held, "best": self.keeper.loss, self.duo.metric: metric}
        self.progress.figures(self.caller, fraction, figures)
        self.recent = []
        self.judging = max(self.judging, self.pace.elapsed - began)
        return verdict

    def _recalibrate(self) -> None:
        """Estimate the running statistics anew, and keep them where that is better."""
        if self.duo.recalibrate(self.stream.first(CALIBRATION)):
            held, metric = self.duo.judge()
            told = f"held-out loss {held:.4g}, {self.keeper.loss:.4g} before"
            self.progress.say(f"{self.caller}: batch statistics estimated anew: {told}")
            self._keep_if_better(held, metric)

    def _keep_if_better(self, held: float, metric: float) -> None:
        if held < self.keeper.loss:
            self.keeper.keep(self.step, held, self.duo.state())
            self.metric = metric

    def _write(self) -> None:
        """Write a checkpoint, unless that would take more than its share of the time."""
        now = self.pace.elapsed
        if self.checkpoint is None or not self.ranks.first or now - self._wrote < WRITING * self._cost:
            return
        write_checkpoint(self.checkpoint, self.key, self._state())
        self._cost, self._wrote = self.pace.elapsed - now, self.pace.elapsed

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "elapsed": self.pace.elapsed,
            "marks": self.pace.marks,
            "every": self.pace.every,
            "segment": self.pace.segment,
            "judging": self.judging,
            "recent": self.recent,
            "before": list(self.before),
            "metric": self.metric,
            "peak": self.peak,
            "weights": self.duo.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "keeper": self.keeper.saved(),
            "random": torch.get_rng_state(),
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.step, self.judging, self.recent = int(saved["step"]), float(saved["judging"]), list(saved["recent"])
        self.pace.spent, self.pace.marks = float(saved["elapsed"]), list(saved["marks"])
        self.pace.every, self.pace.segment = int(saved["every"]), int(saved["segment"])
        self.before = (float(saved["before"][0]), float(saved["before"][1]))
        self.metric, self.peak = float(saved["metric"]), float(saved["peak"])
        self.duo.load({name: value.to(self.place.device) for name, value in saved["weights"].items()})
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        keeper: dict[str, Any] = dict(saved["keeper"])
        keeper["state"] = {name: value.to(self.place.device) for name, value in keeper["state"].items()}
        self.keeper = Keeper.restored(keeper)
        torch.set_rng_state(saved["random"])
        self.progress.say(f"{self.caller}: continues after step {self.step}")
