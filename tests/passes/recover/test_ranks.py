"""Two local processes compute what one does: same batches, gradients summed, batch norms over all samples."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compressor.errors import InputError
from compressor.passes.recover.ranks import Ranks, ranks_here

ROOT = Path(__file__).resolve().parents[3]
RUN = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
import torch
torch.set_num_threads(1)
from recovery import Listener, damaged, digits_batches, digits_program
from compressor.passes.recover import Settings, connect, recover
ranks = connect()
teacher = digits_program()
done = recover(damaged(teacher), teacher, digits_batches(), "8steps", losses={losses!r}, seed=2,
               settings=Settings(batch=48, batch_norm={norm!r}))
torch.save({{"after": done.after, "history": done.history, "size": ranks.size,
            "weights": {{n: t.detach() for n, t in done.program.tensors().items()}}}}, {out!r} + str(ranks.rank))
if ranks.size > 1:
    torch.distributed.destroy_process_group()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(processes: int, script: str, environment: dict[str, str]) -> None:
    port, running = str(free_port()), []
    for rank in range(processes):
        own = {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
        command = [sys.executable, "-W", "ignore", "-c", script]
        variables = {**os.environ, **environment, "MASTER_ADDR": "127.0.0.1", **own}
        running.append(subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True))
    for process in running:
        error = process.communicate(timeout=240)[1]
        assert process.returncode == 0, error


@pytest.mark.parametrize(
    ("losses", "norm"),
    [
        ("output+hidden", "batch"),
        pytest.param("0.5*soft_ce+0.3*last_cosine", "frozen", marks=pytest.mark.slow),
    ],
)
def test_two_processes_equal_one(tmp_path: Path, losses: str, norm: str) -> None:
    found = {}
    for processes in (1, 2):
        out = str(tmp_path / f"{processes}-")
        _run(processes, RUN.format(root=str(ROOT), losses=losses, norm=norm, out=out), {"GLOO_SOCKET_IFNAME": "lo"})
        found[processes] = [torch.load(f"{out}{rank}", weights_only=True) for rank in range(processes)]
    [one], [first, second] = found[1], found[2]
    assert (one["size"], first["size"]) == (1, 2)
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), f"{name} differs between the processes"
        torch.testing.assert_close(tensor, one["weights"][name], rtol=2e-3, atol=2e-4)
    assert first["after"] == pytest.approx(one["after"], rel=1e-3)
    assert [step for step, _, _ in first["history"]] == [step for step, _, _ in one["history"]]


def test_a_batch_is_split_without_overlap_or_gap() -> None:
    for size in (1, 2, 3, 5):
        parts = [list(range(11)[Ranks(rank, size).rows(11)]) for rank in range(size)]
        assert [index for part in parts for index in part] == list(range(11))


def test_fewer_samples_than_processes_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be split"):
        Ranks(0, 3).rows(2)


def test_one_process_exchanges_nothing() -> None:
    alone = ranks_here()
    value = torch.ones(2)
    assert alone == Ranks()
    assert alone.total(value) is value
    assert alone.agreed([1.5]) == [1.5]
    assert alone.bytes_of_first(b"x") == b"x"
    alone.sum_gradients([torch.nn.Parameter(value)])
