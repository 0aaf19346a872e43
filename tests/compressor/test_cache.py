"""Finished stages: whole or absent, bounded, and never in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.cache import Cache, Shelf, default_folder, file_digest


def test_an_entry_appears_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    key = cache.key("a", 1)
    assert cache.find(key) is None
    cache.store(key, lambda folder: (folder / "x").write_text("1") and None)
    found = cache.find(key)
    assert found is not None
    assert (found / "x").read_text() == "1"


def test_keys_tell_parts_apart() -> None:
    cache = Cache(None)
    assert cache.key("ab", "c") != cache.key("a", "bc")


def test_a_failing_write_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def full(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    cache.store("k", full)
    assert list(tmp_path.iterdir()) == []
    assert cache.folder is None  # and it does not try again


def test_the_oldest_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=25)
    for index in range(4):
        cache.store(f"k{index}", lambda folder: (folder / "x").write_bytes(b"0123456789") and None)
        if (tmp_path / f"k{index}").exists():
            os.utime(tmp_path / f"k{index}", (index, index))
    assert cache.size()[1] <= 25
    assert cache.find("k3") is not None
    assert cache.find("k0") is None


def test_clear_says_what_it_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    cache.store("k", lambda folder: (folder / "x").write_bytes(b"abc") and None)
    assert cache.clear() == (1, 3)
    assert cache.size() == (0, 0)


def test_no_folder_keeps_nothing() -> None:
    cache = Cache(None)
    cache.store("k", lambda folder: pytest.fail("must not be asked to write"))
    assert cache.find("k") is None


def test_the_environment_moves_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "stages"


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_digest(tmp_path / "x").startswith("ba7816bf")


def test_a_stage_has_a_file_of_its_own_while_it_runs(tmp_path: Path) -> None:
    assert Cache(None).work("k") is None
    cache = Cache(tmp_path)
    path = cache.work("k")
    assert path is not None
    path.parent.mkdir()
    path.write_text("state")
    assert cache.find("k") is None
    cache.store("other", lambda folder: None)
    assert path.exists()
    cache.store("k", lambda folder: None)
    assert not path.exists()


def test_a_shelf_is_the_same_runs_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    shelf, other = Shelf(cache, "data 1"), Shelf(cache, "data 2")
    shelf.store("k", lambda folder: (folder / "x").write_text("1") and None)
    found = shelf.find("k")
    assert found is not None
    assert (found / "x").read_text() == "1"
    assert other.find("k") is None


def test_a_value_takes_the_place_of_one_that_cannot_be_read(tmp_path: Path) -> None:
    shelf = Shelf(Cache(tmp_path), "data")
    shelf.keep("k", [1])
    [entry] = tmp_path.iterdir()
    (entry / "value.json").write_text("[")
    assert shelf.recall("k", list) is None
    shelf.keep("k", [2])
    assert shelf.recall("k", list) == [2]
    assert list(tmp_path.iterdir()) == [entry]


def test_what_is_held_is_neither_trimmed_nor_cleared(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=1)
    with cache.hold("made"):
        work = cache.work("made")
        assert work is not None
        work.parent.mkdir()
        work.write_text("state")
        Cache(tmp_path, limit=1).store("other", lambda folder: (folder / "x").write_text("more") and None)
        assert work.read_text() == "state"
        cache.store("made", lambda folder: (folder / "x").write_text("made") and None)
        assert (tmp_path / "made" / "x").read_text() == "made"
        assert not work.exists()
        assert Cache(tmp_path).clear() == (0, 0)
    assert Cache(tmp_path).clear() == (1, 4)
    assert not tmp_path.exists(), "locks are gone, too"


def test_what_another_process_fills_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=0)
    new, old = (tmp_path / f".new-{name}" for name in ("young", "old"))
    for folder in (new, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    cache.store("k", lambda folder: (folder / "x").write_text("1") and None)
    assert [path.name for path in tmp_path.iterdir()] == [".new-young"]


def test_who_reads_a_stage_that_is_forgotten_reads_on(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.store("k", lambda folder: (folder / "x").write_text("1") and None)
    with (tmp_path / "k" / "x").open() as file:
        cache.forget("k")
        assert cache.find("k") is None
        assert file.read() == "1"
    cache.forget("k")
    assert list(tmp_path.iterdir()) == []


PROCESS = """
import json, os, sys, time
from pathlib import Path
from compressor.cache import Cache, Shelf

folder, number = Path(sys.argv[1]), int(sys.argv[2])
cache, made = Cache(folder, limit=int(sys.argv[3])), []
shelf = Shelf(cache, "shared")
for key in sys.argv[4:]:
    with cache.hold(key):
        work = cache.work(key)
        found = cache.find(key)
        if found is not None:
            one, other = ((found / name).read_text() for name in ("a", "b"))
            assert one == other == key * 100, (one, other)
            continue
        assert not work.exists() or work.read_text() == "killed", "another one is at it"
        work.parent.mkdir(exist_ok=True)
        work.write_text(str(number))
        made.append(key)
        time.sleep(0.01)
        if key == "k3" and number == 0:
            work.write_text("killed")
            os.kill(os.getpid(), 9)
        assert work.read_text() == str(number)

        def fill(entry, key=key):
            for name in ("a", "b"):
                (entry / name).write_text(key * 100)

        cache.store(key, fill)
        assert not work.exists()
    value = shelf.recall(key, list)
    assert value in (None, [key]), value
    shelf.keep(key, [key])
assert cache.folder is not None, "nothing failed"
print(json.dumps(made))
"""


@pytest.mark.parametrize("limit", [6000, 1000])
def test_several_processes_use_one_cache_at_once(tmp_path: Path, limit: int) -> None:
    """Nobody reads half of a stage, each is made once while all fit, and one that is killed costs nobody more than its
    stage."""
    keys = [f"k{number}" for number in range(12)]
    orders = [keys, keys, keys[::-1], keys[6:] + keys[:6]]
    given = [[str(tmp_path), str(number), str(limit), *order] for number, order in enumerate(orders)]
    commands = [[sys.executable, "-c", PROCESS, *each] for each in given]
    started = [subprocess.Popen(each, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for each in commands]
    ended = [(process, *process.communicate()) for process in started]
    killed, *others = ended
    assert [process.returncode for process, *_ in others] == [0, 0, 0], "\n".join(error for *_, error in ended)
    assert killed[0].returncode in (-signal.SIGKILL, 0), killed[2]
    made = [key for process, told, _ in ended if process.returncode == 0 for key in json.loads(told)]
    assert set(made) | {"k0", "k1", "k2"} == set(keys)
    assert len(made) == len(set(made)) or limit == 1000
    cache = Cache(tmp_path, limit)
    assert cache.size()[1] <= limit
    with cache.hold("k3"):  # the killed one may have been the last at its stage: its state is for whoever comes next
        if cache.find("k3") is None:
            cache.store("k3", lambda entry: (entry / "a").write_text("k3") and None)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith((".new", ".gone", ".work"))]
