"""Lists of jobs: all pairs of models and boards, who says what, and what is refused."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import CompressError, InputError
from compressor.jobs.document import Job, is_list, jobs_of, read_list


def _jobs(text: str, given: Mapping[str, Any] | None = None) -> list[Job]:
    document = tomllib.loads(text)
    return jobs_of(document.get("defaults", {}), document.get("job", []), given or {}, "jobs.toml")


def test_lists_are_all_pairs() -> None:
    jobs = _jobs('[[job]]\nmodel = ["x/a.pt", "b.pt2"]\ntarget = ["host", "raspberry-pi-5"]\nsize = "0.5x"\n')
    assert [job.name for job in jobs] == ["a-host", "a-raspberry-pi-5", "b-host", "b-raspberry-pi-5"]
    assert {job.request.size for job in jobs} == {"0.5x"}
    assert jobs[1].request.model == "x/a.pt"


def test_a_job_says_more_than_the_command_line_and_that_more_than_defaults() -> None:
    text = """
        [defaults]
        model = "a.pt"
        target = "host"
        seed = 1
        batch = 2
        max_drop = "2%"
        [[job]]
        name = "one"
        seed = 3
        [[job]]
        name = "two"
    """
    one, two = (job.request for job in _jobs(text, {"seed": 2, "batch": 4}))
    assert (one.seed, two.seed) == (3, 2)
    assert (one.batch, one.max_drop, one.model, one.target) == (4, "2%", "a.pt", "host")


def test_keys_are_the_long_options() -> None:
    text = """
        [[job]]
        model = "weights.pt"
        factory = "net.py:build"
        target = "host"
        input = ["a=1x3", "b=1x4"]
        keep = "head.*"
        no_kv_cache = true
        recipe = "r.toml"
        carbon = 30
    """
    request = jobs_of({}, tomllib.loads(text.replace('recipe = "r.toml"\n', ""))["job"], {}, "jobs")[0].request
    assert (request.factory, request.inputs, request.keep) == ("net.py:build", ("a=1x3", "b=1x4"), ("head.*",))
    assert request.no_kv_cache
    assert request.carbon == 30


def test_a_name_tells_jobs_of_one_model_and_board_apart() -> None:
    text = '[[job]]\nmodel = "a.pt"\ntarget = "host"\n[[job]]\nname = "small"\nmodel = "a.pt"\ntarget = "host"\n'
    assert [job.name for job in _jobs(text)] == ["a-host", "small"]
    several = _jobs('[[job]]\nname = "small"\nmodel = ["a.pt", "b.pt"]\ntarget = "host"\n')
    assert [job.name for job in several] == ["small-a-host", "small-b-host"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there are no jobs"),
        ('[[job]]\nmodel = "a.pt"\n', "job 1: has no target"),
        ('[[job]]\ntarget = "host"\n', "job 1: has no model"),
        ('[[job]]\nmodel = []\ntarget = "host"\n', "model is"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "jetson-orin-nao"\n', "Did you mean jetson-orin-nano"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nlatncy = "1ms"\n', "Did you mean latency"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nlatency = 8\n', "latency is 8, and has to be text"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\ngate = "yes"\n', "gate is 'yes', and has to be true or false"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nbatch = 0\n', "batch is 0, and at least 1"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nbatch = true\n', "batch is True"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\ninput = [1]\n', "a list of texts"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nout = "x"\n', "--out is of all jobs together"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nforce = true\n', "said on the command line"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nname = "../x"\n', "cannot name a folder"),
        ('[[job]]\nmodel = "a.pt"\ntarget = "host"\nname = "Jobs.json"\n', "cannot name a folder"),
        ('[[job]]\nmodel = ["x/a.pt", "y/a.pt"]\ntarget = "host"\n', "two bundles would be written to 'a-host'"),
        ('[defaults]\njob = 1\n[[job]]\nmodel = "a.pt"\ntarget = "host"\n', r"\[defaults\]: unknown key 'job'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: str) -> None:
    with pytest.raises(CompressError, match=told) as error:
        _jobs(text)
    assert error.value.exit_code == 2


def test_a_file_that_is_no_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    with pytest.raises(InputError, match="cannot be read"):
        read_list(path)
    for text, told in (("[[job", "is not TOML"), ("[jobs]\n", "unknown key 'jobs'"), ("job = 1\n", "tables?")):
        path.write_text(text)
        with pytest.raises(InputError, match=told):
            read_list(path)
    with pytest.raises(InputError, match="is not a table"):
        jobs_of({}, [1], {}, "jobs")  # type: ignore[list-item]


def test_no_model_is_toml() -> None:
    assert is_list("jobs.toml")
    assert not is_list(Path("model.pt2"))
    assert not is_list(object())
