"""Honest archives pass; each hostile one is refused, and nothing of it ran."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile.archives import Bomb, edit_model, payload, pickled, plain_pickle, rewrite, small_pt2, with_record

from compressor.errors import LoadError, UntrustedError
from compressor.graph import storage
from compressor.graph.archive import check_archive, zip_names


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pt2(tmp_path_factory.mktemp("honest") / "model.pt2")


def check(path: Path) -> None:
    with path.open("rb") as file:
        check_archive(file, path.name)


def refuse(path: Path, canary: Path, error: type[LoadError] = UntrustedError) -> LoadError:
    """Loading raises exactly `error`, and nothing ran."""
    with pytest.raises(error) as caught:
        storage.load(path)
    assert type(caught.value) is error
    assert not canary.exists()
    return caught.value


def test_honest_archive_passes(honest: Path) -> None:
    check(honest)


@pytest.mark.parametrize("make", [pickled, plain_pickle])
@pytest.mark.parametrize("record", ["data/sample_inputs/model.pt", "data/weights/model.pt", "data/constants/model.pt"])
def test_pickle_that_runs_code(honest: Path, tmp_path: Path, make: Callable[[Any], bytes], record: str) -> None:
    canary = tmp_path / "canary"
    hostile = with_record(honest, tmp_path / "m.pt2", {record: make(((Bomb(canary),), {}))})
    error = refuse(hostile, canary)
    assert "--trust" in error.way_out
    assert record in error.what


def test_the_same_file_does_run_code_through_torch(honest: Path, tmp_path: Path) -> None:
    """The check is not vacuous: the file is a working attack."""
    canary = tmp_path / "canary"
    hostile = with_record(honest, tmp_path / "m.pt2", {"data/sample_inputs/model.pt": pickled(((Bomb(canary),), {}))})
    with pytest.raises(LoadError):
        storage.load(hostile, trust=True)
    assert canary.exists()


def test_expression_that_runs_code(honest: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    def edit(model: Any) -> None:
        values = model["graph_module"]["graph"]["tensor_values"]
        values["x"]["sizes"][0]["as_expr"]["expr_str"] = payload(canary)

    hostile = edit_model(honest, tmp_path / "m.pt2", edit)
    assert "arithmetic" in refuse(hostile, canary).what
    with pytest.raises(LoadError):
        storage.load(hostile, trust=True)
    assert canary.exists()


def _graph(model: Any) -> Any:
    return model["graph_module"]["graph"]


def _rename(model: Any, name: str) -> None:
    text = json.dumps(_graph(model)).replace('"linear"', json.dumps(name))
    model["graph_module"]["graph"] = json.loads(text)


EDITS: dict[str, Callable[[Any, str], None]] = {
    "expression in a symbolic int": lambda m, code: _graph(m)["sym_int_values"].update(
        {"sym_size_int": {"as_expr": {"expr_str": code, "hint": None}}}
    ),
    "expression in a symbolic bool": lambda m, code: _graph(m)["sym_bool_values"].update(
        {"b": {"as_expr": {"expr_str": code, "hint": None}}}
    ),
    "expression in strides": lambda m, code: _graph(m)["tensor_values"]["x"]["strides"].__setitem__(
        0, {"as_expr": {"expr_str": code, "hint": None}}
    ),
    "symbol name": lambda m, code: _graph(m)["tensor_values"]["x"]["sizes"][0]["as_expr"].update(
        expr_str=f"Symbol({code!r})"
    ),
    "node name": lambda m, code: _rename(m, f"a = {code}; b"),
    "parameter name": lambda m, code: m["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
        parameter_name=f'x", {code}) or getattr(self, "linear'
    ),
    "argument name": lambda m, code: m["graph_module"]["module_call_graph"][0]["signature"].update(
        forward_arg_names=[f"x={code}"]
    ),
    "operator that runs a shell": lambda m, code: _graph(m)["nodes"][0].update(target="torch.os.system"),
    "operator of another module": lambda m, code: _graph(m)["nodes"][0].update(target="math.__loader__.load_module"),
    "operator maker": lambda m, code: _graph(m)["nodes"][0].update(target="_operator.methodcaller"),
    "unpickling operator": lambda m, code: _graph(m)["nodes"][0].update(target="torch.serialization.load"),
    "operator that opens a file": lambda m, code: _graph(m)["nodes"][0].update(
        target="torch.ops.aten.from_file.default"
    ),
    "operator that writes a file": lambda m, code: _graph(m)["nodes"][0].update(target="torch.ops.aten.save.default"),
    "private way to a class": lambda m, code: _graph(m)["nodes"][0].update(target="torch.ops.aten.__class__.mro"),
    "extension": lambda m, code: _graph(m)["nodes"][0].update(target="#namespace:op"),
    "foreign namespace": lambda m, code: _graph(m)["nodes"][0].update(target="torch.ops.profiler._record.default"),
    "operator as an argument": lambda m, code: _graph(m)["nodes"][0]["inputs"][0].update(
        arg={"as_operator": "torch.os.system"}
    ),
    "enum that imports a module": lambda m, code: m["graph_module"]["module_call_graph"][0]["signature"].update(
        out_spec=json.dumps([1, {"type": "builtins.dict", "children_spec": [], "context": json.dumps(
            [{"__enum__": True, "fqn": "antigravity:x", "name": "x"}])}])
    ),
    "default factory that imports a module": lambda m, code: m["graph_module"]["module_call_graph"][0][
        "signature"
    ].update(
        in_spec=json.dumps([1, {"type": "collections.defaultdict", "children_spec": [], "context": "{}"}])
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_program_that_would_become_code(honest: Path, tmp_path: Path, edit: Callable[[Any, str], None]) -> None:
    canary = tmp_path / "canary"
    hostile = edit_model(honest, tmp_path / "m.pt2", lambda model: edit(model, payload(canary)))
    refuse(hostile, canary)


MALFORMED: dict[str, Callable[[Any], None]] = {
    "text for a size": lambda m: _graph(m)["tensor_values"]["x"]["sizes"].__setitem__(1, {"as_int": "1+1"}),
    "text for a hint": lambda m: _graph(m)["tensor_values"]["x"]["sizes"][0]["as_expr"].update(hint={"as_int": "2"}),
    "text for a range": lambda m: m["range_constraints"].update(s0={"min_val": "oo", "max_val": None}),
    "missing graph": lambda m: m["graph_module"].pop("graph"),
    "missing operator": lambda m: _graph(m)["nodes"][0].update(target="torch.ops.aten.no_such_thing.default"),
    "unknown argument kind": lambda m: _graph(m)["nodes"][0]["inputs"][0].update(arg={"as_thing": 1}),
    "list for a dict": lambda m: m.update(range_constraints=[]),
    "unknown dtype": lambda m: _graph(m)["tensor_values"]["x"].update(dtype=999),
}


@pytest.mark.parametrize("edit", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_program(honest: Path, tmp_path: Path, edit: Callable[[Any], None]) -> None:
    refuse(edit_model(honest, tmp_path / "m.pt2", edit), tmp_path / "canary", LoadError)


@pytest.mark.parametrize(
    "record",
    ["data/aotinductor/model/a.so", "data/executorch/x", "data/constants/opaque_obj_0", "data/constants/custom_obj_0",
     "data/weights/evil.so", "anything.py"],
)  # fmt: skip
def test_record_that_holds_code(honest: Path, tmp_path: Path, record: str) -> None:
    hostile = with_record(honest, tmp_path / "m.pt2", {record: b"\x7fELF"})
    assert record in refuse(hostile, tmp_path / "canary").what


def test_weight_stored_as_a_pickle(honest: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            config = json.loads(content)
            config["config"]["linear.weight"]["use_pickle"] = True
            return json.dumps(config).encode()
        return pickled(Bomb(canary)) if name == "data/weights/weight_0" else content

    refuse(rewrite(honest, tmp_path / "m.pt2", change), canary)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sizes", [{"as_int": 1 << 40}, {"as_int": 4}]), ("storage_offset", {"as_int": 1 << 40}),
     ("sizes", [{"as_int": 4}]), ("strides", [{"as_int": -4}, {"as_int": 1}]), ("dtype", 0)],
)  # fmt: skip
def test_weight_that_claims_more_than_it_has(honest: Path, tmp_path: Path, field: str, value: Any) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        config = json.loads(content)
        config["config"]["linear.weight"]["tensor_meta"][field] = value
        return json.dumps(config).encode()

    refuse(rewrite(honest, tmp_path / "m.pt2", change), tmp_path / "canary", LoadError)


def _zip(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer


@pytest.mark.parametrize("name", ["m/../../etc/passwd", "/etc/passwd", "..\\x", "C:/x", "m/a\nb", "m/a\x1bb"])
def test_zip_whose_names_leave_it(name: str) -> None:
    with pytest.raises(LoadError, match="outside the archive"):
        zip_names(_zip({"m/models/model.json": b"{}", name: b""}), "m.pt2")


def test_zip_bomb() -> None:
    bomb = _zip({"m/models/model.json": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(LoadError, match="zip bomb"):
        zip_names(bomb, "m.pt2")


def test_zip_whose_directory_lies_about_sizes() -> None:
    bomb = _zip({"m/models/model.json": b"{}"}).getvalue()
    at = bomb.index(b"PK\x01\x02") + 24
    lying = bomb[:at] + struct.pack("<I", 0xFFFFFFF0) + bomb[at + 4 :]
    with pytest.raises(LoadError, match="zip bomb"):
        zip_names(io.BytesIO(lying), "m.pt2")


def test_two_files_of_one_name() -> None:
    with pytest.raises(LoadError, match="one name"):
        zip_names(_zip({"m/models/model.json": b"{}", "m/models/MODEL.json": b"{}"}), "m.pt2")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"hello" * 100])
def test_no_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(content)
    refuse(path, tmp_path / "canary", LoadError)


def test_truncated_archive(honest: Path, tmp_path: Path) -> None:
    content = honest.read_bytes()
    path = tmp_path / "m.pt2"
    for cut in (10, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:cut])
        refuse(path, tmp_path / "canary", LoadError)


def test_file_is_left_at_its_start(honest: Path) -> None:
    with honest.open("rb") as file:
        check_archive(file, "m.pt2")
        assert file.tell() == 0
        assert torch.export.load(file) is not None
