"""`file.py:function` loads what it names and explains what goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compressor.errors import InputError
from compressor.userfile import is_function_text, load_function, own_line


def test_recognized_by_form() -> None:
    assert is_function_text("a/b.py:f")
    assert is_function_text("C:\\data\\b.py:f")
    assert not is_function_text("data.npz")
    assert not is_function_text("b.py")
    assert not is_function_text("b.py:not a name")


def test_function_runs_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_test.py").write_text("VALUE = 7\n")
    (tmp_path / "mine.py").write_text("import neighbour_of_test\ndef f():\n    return neighbour_of_test.VALUE\n")
    before = list(sys.path)
    assert load_function(f"{tmp_path / 'mine.py'}:f", "--data")() == 7
    assert sys.path == before
    del sys.modules["neighbour_of_test"]


@pytest.mark.parametrize(
    ("content", "name", "what", "where"),
    [
        ("def batches(): ...\n", "batch", "no function 'batch'", "--data"),
        ("x = 1\n", "x", "no function 'x'", "--data"),
        ("\nraise ValueError('boom')\n", "f", "ValueError: boom", "user.py:2"),
        ("def f(:\n", "f", "SyntaxError", "user.py"),
        ("import sys\nsys.exit(3)\n", "f", "SystemExit: 3", "user.py:2"),
    ],
)
def test_errors(tmp_path: Path, content: str, name: str, what: str, where: str) -> None:
    path = tmp_path / "user.py"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_function(f"{path}:{name}", "--data")
    assert what in caught.value.what
    assert where in caught.value.where


def test_close_names_are_suggested_and_a_missing_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text("def batches(): ...\n")
    with pytest.raises(InputError) as caught:
        load_function(f"{tmp_path / 'user.py'}:batch", "--data")
    assert "Did you mean batches?" in caught.value.way_out
    with pytest.raises(InputError, match="no such file"):
        load_function(f"{tmp_path / 'none.py'}:f", "--data")


def test_own_line_is_the_users_innermost(tmp_path: Path) -> None:
    path = tmp_path / "lines.py"
    path.write_text("import json\n\ndef f():\n    json.loads('{')\n")
    function = load_function(f"{path}:f", "--data")
    with pytest.raises(ValueError, match="Expecting") as caught:
        function()
    assert own_line(caught.value, str(path)) == "lines.py:4"
