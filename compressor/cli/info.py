"""`compress targets`, `compress passes`, `compress doctor`: what there is, and what is missing."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from compressor.cli.options import as_json
from compressor.cli.shown import shown

__all__ = ["doctor", "passes", "targets"]


@click.command()
@click.argument("name", required=False)
@as_json
def targets(name: str | None, as_json: bool) -> None:
    """List the boards, or show one with the source of every number."""
    from compressor.targets import HOST, load_target, target_names

    if name is not None:
        target = load_target(name)
        click.echo(json.dumps(dataclasses.asdict(target), indent=2)) if as_json else _show_target(target)
        return
    known = [load_target(each) for each in target_names() if each != HOST]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(each) for each in known], indent=2))
        return
    rows = [
        (t.name, ", ".join(t.aliases), t.title, f"{t.runtime.name} {t.runtime.version}", t.objective) for t in known
    ]
    rows.append((HOST, "", "the machine this runs on, read off it", "what is installed", "latency"))
    _table(("target", "alias", "board", "runtime", "objective"), rows)


def _show_target(target: Any) -> None:
    """One board: every field, figures with their sources."""
    click.echo(f"{target.title} ({', '.join((target.name, *target.aliases))})")
    click.echo(f"objective {target.objective}; passes {target.passes}; with data {target.passes_with_data}")
    runtime = target.runtime
    click.echo(f"runtime {runtime.name} {runtime.version}, ONNX opset {runtime.opset}; {runtime.source}")
    if runtime.install:
        click.echo(f"install: {runtime.install}")
    if (compiler := target.compiler) is not None:
        beside = [compiler.cuda, *compiler.features]
        told = " ".join(word for word in (compiler.triple, compiler.cpu, *beside) if word)
        click.echo(f"compiled (--runtime tvm) for {told}, in {', '.join(compiler.formats)}; {compiler.source}")
    rows = [(f"{name} multiply–accumulates/s", f"{f.value:.4g}", f.source) for name, f in target.rates.items()]
    for name, unit in _FIGURES:
        if (figure := getattr(target, name)) is not None:
            rows.append((f"{name.replace('_', ' ')} ({unit})", f"{figure.value:.4g}", figure.source))
    rows += [(name.replace("_", " "), str(getattr(target, name)), text) for name, text in target.sources.items()]
    _table(("figure", "value", "source"), rows)
    optional = [(f"{p.name} (optional)", p) for p in target.optional_providers]
    providers = [*((p.name, p) for p in target.providers), *optional]
    listed = [(name, ", ".join(p.formats), _operators(p), p.source) for name, p in providers]
    _table(("provider", "formats", "operators", "source"), listed)
    for note in target.notes:
        click.echo(f"- {note}")


_FIGURES = (("bandwidth", "bytes/s"), ("node_overhead", "s"), ("memory", "bytes"), ("power", "W"))


def _operators(provider: Any) -> str:
    return "all" if "*" in provider.operators else str(len(provider.operators))


@click.command()
@click.argument("name", required=False)
def passes(name: str | None) -> None:
    """List the passes, or show one with its options."""
    from compressor.passes import PASSES, SHORTHANDS, find_pass
    from compressor.passlist import pass_options

    for each in PASSES if name is None else [SHORTHANDS.get(name, (name, ""))[0]]:
        kind = find_pass(each)
        lines = (kind.__doc__ or "").strip().splitlines()
        click.echo(f"{each}: {lines[0] if name is None else chr(10).join(lines)}")
        defaults = {f.name: f.default for f in dataclasses.fields(kind)}
        for option, hint in pass_options(kind).items():
            kind_name = str(hint).removeprefix("typing.") if not isinstance(hint, type) else hint.__name__
            main = f"  (main: {each}=…)" if option == kind.main else ""
            click.echo(f"    {option}: {kind_name} = {defaults[option]}{main}")
    if name is None:
        click.echo("short: " + ", ".join(f"{word} for {each}={value}" for word, (each, value) in SHORTHANDS.items()))


@click.command()
@click.option("-t", "--target", help="Check what this target needs, too.")
@click.option("--device", metavar="URL|NAME", help="Look at this device instead of this machine.")
@as_json
def doctor(target: str | None, device: str | None, as_json: bool) -> int:
    """Say what is installed, what is missing, and how to get it."""
    if device is not None and target is not None:
        raise click.UsageError("--target and --device are two questions: ask one at a time.")
    if device is not None:
        from compressor.device_doctor import diagnose_device

        findings = diagnose_device(device)
    else:
        from compressor.doctor import diagnose

        findings = diagnose(target)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(shown(f"{finding.status:8} {finding.subject}: {finding.detail}"))
            if finding.status != "ok" and finding.way_out:
                click.echo(shown(f"{'':8} → {finding.way_out}"))
    return 0


def _table(heads: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(file=sys.stdout, highlight=False, markup=False).print(table)
