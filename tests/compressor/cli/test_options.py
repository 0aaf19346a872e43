"""The shared options are the fields of a request."""

from __future__ import annotations

from dataclasses import fields

import click

from compressor.cli.inspect import inspect
from compressor.cli.run import run
from compressor.request import Request


def _names(command: click.Command) -> set[str]:
    return {str(parameter.name) for parameter in command.params}


def test_every_option_of_the_main_command_is_a_field_of_the_request() -> None:
    assert _names(run) - {"as_json", "quiet"} == {field.name for field in fields(Request)}


def test_inspect_takes_what_says_which_model_it_is() -> None:
    assert {"model", "target", "data", "inputs", "factory", "trust"} <= _names(inspect)
