"""The entry point: which command runs, and how errors become messages and exit codes.

    0 done · 1 something failed · 2 the user can mend it · 3 the original was kept · 130 interrupted, state kept

`compress MODEL …` is the main command; a first word that names a subcommand runs that instead.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click

from compressor.cli.shown import shown
from compressor.errors import CompressError

__all__ = ["cli", "entry"]

MAIN = "run"
_COMMANDS = {
    MAIN: "compressor.cli.run:run",
    "inspect": "compressor.cli.inspect:inspect",
    "targets": "compressor.cli.info:targets",
    "passes": "compressor.cli.info:passes",
    "devices": "compressor.cli.devices:devices",
    "doctor": "compressor.cli.info:doctor",
    "bench": "compressor.cli.bench:bench",
    "profile": "compressor.cli.profile:profile",
    "calibrate": "compressor.cli.calibrate:calibrate",
    "generate": "compressor.cli.generate:generate",
    "verify": "compressor.cli.verify:verify",
    "unpack": "compressor.cli.unpack:unpack",
    "cache": "compressor.cli.cache:cache",
}


class _Commands(click.Group):
    """Finds commands by table, imports them when they are asked for, and sends everything else to the main one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if name != MAIN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {*_COMMANDS, "--help", "-h", "--version"} - {MAIN}
        if args and args[0] not in own:
            args = [MAIN, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        main = self.get_command(ctx, MAIN)
        if main is not None:
            main.format_help(click.Context(main, info_name=ctx.info_name), formatter)
        self.format_commands(ctx, formatter)


@click.group(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="edge-compressor", prog_name="compress")
def cli() -> None:
    """Compile a PyTorch model into a small, fast, verified artifact for one edge board."""


def entry() -> NoReturn:
    """Run the command line and exit with its status. What asks it to end, ends it as Ctrl-C does: remote folders are
    removed, programs on boards stopped, finished work is kept."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command line; the exit status. Errors become one message on stderr, never a traceback."""
    try:
        result: Any = cli.main(args, prog_name="compress", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CompressError as error:
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; finished passes are kept, the same command resumes after them", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the last line of defence: a message instead of a traceback
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    if os.environ.get("COMPRESS_TRACEBACK"):
        raise error
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return _fail("out of memory\n  Give a smaller --batch or less --data, or run it on a larger machine.", 1)
    line = (str(error).strip().splitlines() or [""])[0]
    return _fail(
        f"{type(error).__name__}: {line}\n  This is a fault of compress itself; COMPRESS_TRACEBACK=1 shows where.", 1
    )


def _fail(message: str, code: int) -> int:
    click.echo(f"compress: {shown(message)}", err=True)
    return code
