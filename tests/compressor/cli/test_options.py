"""The shared options are the fields of a request."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest

from compressor.cli.bench import bench
from compressor.cli.generate import generate
from compressor.cli.inspect import inspect
from compressor.cli.run import run
from compressor.jobs.running import Asked
from compressor.request import Request


def _names(command: click.Command) -> set[str]:
    return {str(parameter.name) for parameter in command.params}


def test_every_option_of_the_main_command_is_a_field_of_the_request_or_of_a_list_of_them() -> None:
    of_a_list = {"shard", "engine"}
    assert of_a_list <= {field.name for field in fields(Asked)}
    assert _names(run) - {"as_json", "quiet"} - of_a_list == {field.name for field in fields(Request)}


def test_inspect_takes_what_says_which_model_it_is() -> None:
    assert {"model", "target", "data", "inputs", "factory", "trust"} <= _names(inspect)


@pytest.mark.parametrize("command", [run, inspect, bench, generate], ids=lambda command: str(command.name))
def test_threads_say_their_default_and_what_it_does_not_follow(command: click.Command) -> None:
    [said] = [each.help for each in command.params if isinstance(each, click.Option) and each.name == "threads"]
    assert said is not None
    assert "[default: " in said
    assert "OMP_NUM_THREADS" in said
