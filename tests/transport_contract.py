"""What every transport promises, tested through whatever device the subclass's fixture opens.

Programs are run with the device's own Python: the one thing that all of them have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from compressor.devices.device import Device
from compressor.errors import DeviceError, DeviceLostError

__all__ = ["NAMES", "Contract"]

NAMES = [
    "plain.txt", "with space.txt", "it's \"quoted\".txt", "$(touch x)", "`touch y`", "-rf", "--help", ";reboot", "a\nb",
    "*.txt", "ümläut ☃", "back\\slash", "%s%n",
]  # fmt: skip
ARGUMENTS = [*NAMES, "", " ", "$HOME", "~", "&& touch z", "a=b", "!!", "|", "#", "\t"]


class Contract:
    """Inherit from it and offer a fixture `device`."""

    @pytest.fixture
    def folder(self, device: Device) -> Iterator[str]:
        with device.folder() as path:
            yield path

    def python(self, device: Device, code: str, *arguments: str) -> list[str]:
        return [*device.python, "-c", code, *arguments]

    def names_there(self, device: Device, path: str) -> list[str]:
        code = "import json, os, sys; print(json.dumps(sorted(os.listdir(sys.argv[1]))))"
        done = device.run(self.python(device, code, path), timeout=60)
        assert done.status == 0, done.stderr
        return list(json.loads(done.stdout))

    def test_arguments_arrive_as_they_are(self, device: Device) -> None:
        code = "import json, sys; print(json.dumps(sys.argv[1:]))"
        done = device.run(self.python(device, code, *ARGUMENTS), timeout=60)
        assert (done.status, done.stderr) == (0, "")
        assert json.loads(done.stdout) == ARGUMENTS

    def test_the_environment_arrives_as_it_is(self, device: Device) -> None:
        given = {f"COMPRESS_TEST_{i}": text for i, text in enumerate(ARGUMENTS)}
        code = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if 'COMPRESS_TEST_' in k}))"
        done = device.run(self.python(device, code), timeout=60, environment=given)
        assert json.loads(done.stdout) == given

    @pytest.mark.parametrize("status", [0, 1, 126, 255])
    def test_the_status_is_the_programs(self, device: Device, status: int) -> None:
        done = device.run(self.python(device, f"import sys; sys.exit({status})"), timeout=60)
        assert done.status == status

    def test_stdout_and_stderr_are_kept_apart(self, device: Device) -> None:
        code = "import sys; sys.stdout.write('out\\n no end'); sys.stderr.write('err\\n\\n')"
        done = device.run(self.python(device, code), timeout=60)
        assert (done.stdout, done.stderr) == ("out\n no end", "err\n\n")

    def test_lines_come_one_by_one_while_it_runs(self, device: Device, folder: str) -> None:
        """The program waits for a file that is made when its first line arrives: without streaming it never ends."""
        code = (
            "import os, sys, time\nprint('one', flush=True)\n"
            "while not os.path.exists(sys.argv[1]): time.sleep(0.01)\nprint('two\\nthr', end='', flush=True)"
        )
        lines: list[str] = []
        with self.second(device) as other:

            def on_line(line: str) -> None:
                lines.append(line)
                if line == "one":
                    make = "import sys; open(sys.argv[1], 'w').close()"
                    assert other.run(self.python(other, make, f"{folder}/go"), timeout=60).status == 0

            done = device.run(self.python(device, code, f"{folder}/go"), timeout=120, on_line=on_line)
        assert (done.status, lines) == (0, ["one", "two", "thr"])

    def second(self, device: Device) -> Device:
        """Another handle on the same device."""
        from compressor.devices.opening import open_device

        return open_device(device.url)

    def test_much_output_on_both_sides_arrives_whole(self, device: Device) -> None:
        code = "import sys\nfor i in range(20000): print(i, file=(sys.stdout, sys.stderr)[i % 2])"
        done = device.run(self.python(device, code), timeout=60)
        assert [int(word) for word in done.stdout.split()] == [*range(0, 20000, 2)]
        assert [int(word) for word in done.stderr.split()] == [*range(1, 20000, 2)]

    def test_what_is_not_there_is_status_127(self, device: Device) -> None:
        assert device.run(["no-such-program-of-ours"], timeout=60).status == 127

    @pytest.mark.parametrize("program", [[], [""], ["-c", "x"], ["--version"], ["python3", "a\0b"]])
    def test_what_is_no_program_is_refused(self, device: Device, program: list[str]) -> None:
        with pytest.raises(DeviceError):
            device.run(program, timeout=60)

    def test_a_time_out_loses_the_device_and_leaves_no_process(self, device: Device, folder: str) -> None:
        """Parent and child each write their number first; afterwards neither runs any more."""
        code = (
            "import os, sys, time\nif os.fork() == 0: sys.argv[1] += '-child'\n"
            "with open(sys.argv[1] + '.part', 'w') as f: f.write(str(os.getpid()))\n"
            "os.rename(sys.argv[1] + '.part', sys.argv[1])\ntime.sleep(600)"
        )
        with pytest.raises(DeviceLostError, match="no answer within 5 s"):
            device.run(self.python(device, code, f"{folder}/pid"), timeout=5)
        look = (
            "import os, sys, time\n"
            "def runs(file):\n"
            "    try: return open(f'/proc/{int(open(file).read())}/stat').read().rpartition(') ')[2][0] != 'Z'\n"
            "    except OSError: return False\n"
            "files = [sys.argv[1], sys.argv[1] + '-child']\n"
            "assert all(map(os.path.exists, files))\n"
            "for _ in range(200):\n"
            "    if not any(map(runs, files)): sys.exit(0)\n"
            "    time.sleep(0.05)\n"
            "sys.exit('still running')"
        )
        with self.second(device) as other:
            done = other.run(self.python(other, look, f"{folder}/pid"), timeout=60)
        assert done.status == 0, done.stderr

    def test_an_error_in_the_callers_code_ends_the_program(self, device: Device) -> None:
        def on_line(line: str) -> None:
            raise KeyError(line)

        code = "import time; print('x', flush=True); time.sleep(600)"
        with pytest.raises(KeyError, match="x"):
            device.run(self.python(device, code), timeout=120, on_line=on_line)

    def test_a_child_left_behind_does_not_keep_it_waiting(self, device: Device) -> None:
        code = "import os, time\nif os.fork() == 0: time.sleep(600)\nprint('done')"
        assert device.run(self.python(device, code), timeout=60).stdout == "done\n"

    def test_files_go_there_and_back(self, device: Device, folder: str, tmp_path: Path) -> None:
        content = bytes(range(256)) * 4096
        for name in NAMES:
            (tmp_path / name).write_bytes(content + name.encode())
            device.push(tmp_path / name, f"{folder}/{name}")
            (tmp_path / name).unlink()
        assert self.names_there(device, folder) == sorted(NAMES)
        for name in NAMES:
            device.pull(f"{folder}/{name}", tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == content + name.encode()
        assert [path.name for path in tmp_path.iterdir()] == ["back"]

    def test_a_folder_goes_there_with_all_that_is_in_it(self, device: Device, folder: str, tmp_path: Path) -> None:
        source = tmp_path / "-bundle it's"
        (source / "in ner").mkdir(parents=True)
        for name in NAMES:
            (source / name).write_text(name, encoding="utf-8")
            (source / "in ner" / name).write_text(name * 2, encoding="utf-8")
        (source / "empty").write_bytes(b"")
        (source / "link").symlink_to("empty")
        device.push(source, f"{folder}/-there it's")
        assert self.names_there(device, f"{folder}/-there it's") == sorted([*NAMES, "empty", "in ner", "link"])
        for name in NAMES:
            device.pull(f"{folder}/-there it's/in ner/{name}", tmp_path / "back")
            assert (tmp_path / "back").read_text(encoding="utf-8") == name * 2

    def test_pushing_again_replaces(self, device: Device, folder: str, tmp_path: Path) -> None:
        file = tmp_path / "bundle" / "model"
        file.parent.mkdir()
        for content in ("one", "two, longer"):
            file.write_text(content, encoding="utf-8")
            device.push(file.parent, f"{folder}/bundle")
            device.push(file, f"{folder}/model")
        assert self.names_there(device, f"{folder}/bundle") == ["model"]
        for path in ("model", "bundle/model"):
            device.pull(f"{folder}/{path}", tmp_path / "back")
            assert (tmp_path / "back").read_text(encoding="utf-8") == "two, longer"

    def test_a_program_that_was_pushed_can_be_run(self, device: Device, folder: str, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text("import sys; print(*sys.argv[1:])", encoding="utf-8")
        device.push(script, f"{folder}/script.py")
        assert device.run([*device.python, f"{folder}/script.py", "a  b"], timeout=60).stdout == "a  b\n"

    def test_what_is_not_there_cannot_be_pulled_and_nothing_is_written(
        self, device: Device, folder: str, tmp_path: Path
    ) -> None:
        for missing in (f"{folder}/missing", folder):
            with pytest.raises(DeviceError):
                device.pull(missing, tmp_path / "back")
        assert not [*tmp_path.iterdir()]

    def test_what_is_not_here_cannot_be_pushed(self, device: Device, folder: str, tmp_path: Path) -> None:
        with pytest.raises(DeviceError):
            device.push(tmp_path / "missing", f"{folder}/missing")
        assert self.names_there(device, folder) == []

    def test_what_cannot_be_written_there_is_an_error(self, device: Device, folder: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x", encoding="utf-8")
        device.push(tmp_path / "file", f"{folder}/a file")
        with pytest.raises(DeviceError):
            device.push(tmp_path / "file", f"{folder}/a file/file")

    @pytest.mark.parametrize("path", ["relative", "", "-rf", "../up", "/", "/tmp/..", "/a\0b"])
    def test_a_path_that_is_not_absolute_is_refused(self, device: Device, tmp_path: Path, path: str) -> None:
        (tmp_path / "file").write_text("x", encoding="utf-8")
        with pytest.raises(DeviceError, match="absolute"):
            device.push(tmp_path / "file", path)
        with pytest.raises(DeviceError, match="absolute"):
            device.pull(path, tmp_path / "back")

    @pytest.mark.parametrize("name", ["", "A B", "A=B", "1A", "A;touch x", "-i"])
    def test_what_is_no_variable_is_refused(self, device: Device, name: str) -> None:
        with pytest.raises(DeviceError, match="variable"):
            device.run(self.python(device, ""), timeout=60, environment={name: "x"})

    def test_folders_differ_and_go_with_what_is_in_them_also_after_an_error(
        self, device: Device, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("x", encoding="utf-8")
        with device.folder() as parent:
            assert parent.startswith("/")
            assert self.names_there(device, parent) == []
        with pytest.raises(KeyError), device.folder() as first, device.folder() as second:  # noqa: PT012
            assert first != second
            device.push(tmp_path, f"{first}/sub")
            raise KeyError
        code = "import os, sys; print(*(os.path.exists(path) for path in sys.argv[1:]))"
        done = device.run(self.python(device, code, parent, first, second), timeout=60)
        assert done.stdout == "False False False\n"

    def test_a_folder_that_a_lost_connection_left_is_removed_later(
        self, device: Device, folder: str, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("x", encoding="utf-8")
        device.push(tmp_path, f"{folder}/compress-0a1b")
        assert self.names_there(device, folder) == ["compress-0a1b"]
        for _ in range(2):  # one that is gone is no error
            device.discard(f"{folder}/compress-0a1b")
            assert self.names_there(device, folder) == []
        device.push(tmp_path, f"{folder}/mine")
        with pytest.raises(DeviceError, match="made for a run"):
            device.discard(f"{folder}/mine")
        assert self.names_there(device, folder) == ["mine"]

    def test_it_says_what_it_is(self, device: Device) -> None:
        found = device.describe()
        assert found.system
        assert found.arch
        assert found.cores >= 1
        assert found.memory > 0
        assert found.python.startswith("3.")
