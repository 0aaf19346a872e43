"""The board's side of RPC without TVM: its programs. With TVM it is tested through the client (test_rpc.py)."""

from __future__ import annotations

import ast
import json
import sys
import time
from pathlib import Path

from compressor.devices.transports import rpc_server
from compressor.devices.transports.rpc_server import Programs


def _all(programs: Programs, number: int) -> tuple[bytes, bytes, int]:
    out, error, end = b"", b"", time.monotonic() + 120
    while time.monotonic() < end:
        head, _, body = programs.read(number, 1.0).partition(b"\n")
        found = json.loads(head)
        out, error = out + body[: found["out"]], error + body[found["out"] :]
        if found["status"] is not None:
            return out, error, found["status"]
    raise AssertionError("it does not end")


def test_what_is_fed_comes_back_with_the_status() -> None:
    programs = Programs()
    number = programs.start("cat; echo err >&2; exit 3")
    assert (programs.feed(number, b"a\n"), programs.feed(number, b"b")) == (2, 1)
    assert programs.feed(number, b"") == 0
    assert _all(programs, number) == (b"a\nb", b"err\n", 3)
    assert not programs.running


def test_a_program_that_reads_no_more_takes_nothing() -> None:
    programs = Programs()
    number = programs.start("exit 0")
    for _ in range(100):
        if not programs.feed(number, b"x" * 100_000):
            break
        time.sleep(0.01)
    assert programs.feed(number, b"x") == 0
    assert _all(programs, number)[2] == 0


def test_stopping_closes_its_stdin() -> None:
    programs = Programs()
    number = programs.start("cat")
    process = programs.running[number].process
    programs.stop(number)
    assert process.wait(timeout=30) == 0
    programs.stop(number)  # again is no error
    assert not programs.running


def test_much_output_is_held_back_and_arrives_whole() -> None:
    programs = Programs()
    number = programs.start("head -c 20000000 /dev/zero")
    assert len(_all(programs, number)[0]) == 20_000_000


def test_it_is_one_file_that_needs_nothing_of_ours() -> None:
    tree = ast.parse(Path(rpc_server.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in names} - {"__future__"}
    assert roots - sys.stdlib_module_names == {"tvm", "tvm_ffi"}


def test_it_listens_on_loopback_only() -> None:
    assert rpc_server._HOST == "127.0.0.1"
