"""From a selection to the bundle: converts to ORT format, fills in report and recipe, writes all of it in one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compressor.accounting import power_of
from compressor.decoding import places_of
from compressor.devices.latency.learning import prediction
from compressor.entries import ship
from compressor.export.bundle import golden, write_bundle
from compressor.export.ort import Converted, to_ort
from compressor.export.tvm_boards import compiler_of
from compressor.export.weight_bits import weight_bits
from compressor.gate import Gate
from compressor.generation import TOKENS, interface_of
from compressor.graph.concrete import READING
from compressor.graph.contract import Context
from compressor.graph.naming import SEQUENCE
from compressor.judging import Artifact, Workshop
from compressor.load.model_inputs import positions_of
from compressor.making import Ledger
from compressor.outcome import Outcome
from compressor.pipeline import Stage
from compressor.prepare import Prepared
from compressor.recipe import Recipe, dump_recipe
from compressor.report.compare import display
from compressor.report.html import to_html
from compressor.report.model import Report
from compressor.reporting import Findings, find, full_report
from compressor.request import Request
from compressor.selecting import Selection
from compressor.targets import Target
from compressor.targets.kernels import CUSTOM_OP, PORTABLE
from compressor.targets.tvm import BOTH, TVM

__all__ = ["write"]

KEPT_ORIGINAL = 3
SAME_DATA = "The same --data judges it, and weights are fitted to it."


def write(
    out: Path, request: Request, prepared: Prepared, selection: Selection[Artifact], workshop: Workshop,
    context: Context, gate: Gate, ledger: Ledger,
) -> Outcome:  # fmt: skip
    """Write the bundle. Exit status 3 when the metric fell beyond `--max-drop` or a budget was missed."""
    kept = selection.kept
    entries = ship(kept, selection.stages, workshop, context)
    findings = find(request, prepared, workshop, kept, context, gate)
    ort = Converted(())
    if kept.parts:
        ort = Converted((), "model.ort is left out of a packed bundle: it would hold the weights unpacked")
    elif entries:
        ort = Converted((), "model.ort is left out: it would hold the weights that the entries share once more")
    elif kept.operators is not None:
        ort = Converted((), "model.ort is left out: what loads it, a minimal build, has no operators of one's own")
    elif prepared.target.runtime.name != TVM:
        workshop.progress.say("converting to ORT format")
        ort = to_ort(kept.path, prepared.target, batch=prepared.shown_batch(2))
    beside = workshop.beside(kept.program)
    others = [*([] if beside is None else [beside.agreement]), *(each.agreement for each in entries)]
    agreements = [kept.agreement, *others]
    notes = (*prepared.notes, *(note for each in agreements for note in each.notes), *([ort.note] if ort.note else []))
    notes += _kernels(request, prepared, kept)
    notes += (*findings.notes, *([] if findings.held is None else [str(findings.held)]))
    notes += tuple(each.told(prepared.metric.name) for each in entries)
    tuning = (beside or kept).tuning
    if tuning is not None:
        notes = (*notes, str(tuning) if beside else f"{tuning}; the original's figures are of its default schedules")
    if request.pack and not kept.parts:
        notes = (*notes, "--pack: the model has no ternary or 3-bit weights in one file, and is stored as it is")
    report = full_report(request, prepared, selection, findings, notes, ledger.making())
    files: dict[str, bytes | Path | Callable[[Path], None]] = {
        **{file.name: file for file in (*kept.files, *ort.files, *(() if beside is None else beside.files))},
        **{each.path.name: each.path for each in entries},
        "golden.npz": golden(
            kept.program, prepared.program, prepared.shown_batch(2), {each.name: each.program for each in entries}
        ),
        "recipe.toml": _recipe(request, prepared, selection.stages).encode(),
        "report.json": json.dumps(report.to_json(), indent=2).encode(),
        "report.html": to_html(report).encode(),
        **(prepared.companions if prepared.is_decoder else {}),
    }
    if selection.rejected is not None:
        files |= {f"rejected/{file.name}": file for file in selection.rejected.files}
    workshop.progress.say(f"writing {out}")
    manifest = _manifest(report, request, prepared, selection, findings, workshop)
    told: dict[str, Any] = {} if tuning is None else {"tuning": asdict(tuning)}
    if entries:
        allowed = max(manifest["tolerance"], *(each.agreement.tolerance for each in entries))
        told |= {"tolerance": allowed, "entries": [each.to_json(prepared.metric.name) for each in entries]}
    folder = write_bundle(out, force=request.force, files=files, manifest={**manifest, **told})
    kept_original = selection.rejected is not None or bool(findings.missed)
    return Outcome(report, folder, KEPT_ORIGINAL if kept_original else 0)


def _recipe(request: Request, prepared: Prepared, stages: tuple[Stage, ...]) -> str:
    """The passes that stand, pinned to their sites, under the command that runs them again."""
    passes = tuple(stage.spec for stage in stages if stage.kept and stage.report.changed)
    target = request.target if request.target and request.target.endswith(".toml") else prepared.target.name
    model = Path(request.model).name if isinstance(request.model, str | Path) else prepared.name
    more = [f" --runtime {request.runtime}"] if request.runtime in (TVM, BOTH) else []
    more += [f" --kernels {request.kernels}"] if request.kernels == CUSTOM_OP else []
    more += [f" --tune {request.tune}"] if request.tune else []
    more += [" --no-kv-cache"] if request.no_kv_cache else []
    more += [f" --{name} …" for name in ("teacher", "train") if getattr(request, name) is not None]
    comment = f"compress {model} --recipe recipe.toml{''.join(more)}\n{SAME_DATA}"
    teacher = None if prepared.teacher is None else prepared.teacher.hash()
    return dump_recipe(Recipe(passes, target, prepared.seed, tuple(request.keep), teacher, prepared.halved), comment)


def _manifest(
    report: Report,
    request: Request,
    prepared: Prepared,
    selection: Selection[Artifact],
    findings: Findings,
    workshop: Workshop,
) -> Mapping[str, Any]:
    program, agreement = selection.kept.program, selection.kept.agreement
    target = prepared.target
    return {
        "model": prepared.name,
        "target": target.name,
        "runtime": _runtime(target, selection.kept),
        **_operators(target, selection.kept),
        "inputs": [spec.to_json() for spec in program.inputs],
        "outputs": [spec.to_json() for spec in program.outputs],
        "passes": [
            {"name": stage.spec.name, "options": dict(stage.spec.options)}
            for stage in selection.stages
            if stage.kept and stage.report.changed
        ],
        "tolerance": max(agreement.tolerance, 0.0 if findings.library is None else findings.library.tolerance),
        "tolerance_reason": agreement.reason,
        **_weights(selection.kept),
        **({} if findings.library is None else {"library": asdict(findings.library)}),
        "seed": prepared.seed,
        "versions": dict(report.versions),
        **_decoder(findings, prepared),
        **_predicted(findings, request, prepared, selection),
        **_measured(findings, request, workshop),
        **_energy(report, target, request),
    }


def _weights(kept: Artifact) -> dict[str, Any]:
    """Bits a weight; machine code does not tell its weights apart."""
    return {"weights": weight_bits(kept.path, kept.parts)} if kept.path.suffix == ".onnx" else {}


def _decoder(findings: Findings, prepared: Prepared) -> dict[str, Any]:
    """What generating with the artifact's cache takes to know, and how that was checked."""
    if findings.decoding is None:
        return {}
    places = places_of(prepared.program, prepared.evaluation[0], READING[SEQUENCE] + TOKENS)
    return {
        "decoder": {
            **asdict(interface_of(prepared.program)),
            "places": places,
            **({} if (limit := positions_of(prepared.module)) is None else {"limit": limit}),
            "end": list(prepared.ends),
            "checked": asdict(findings.decoding),
        }
    }


def _runtime(target: Target, kept: Artifact) -> dict[str, str]:
    """What runs it; machine code names the processor that it was made for."""
    compiled, own = target.runtime.name == TVM, kept.operators is not None
    kernels = {} if compiled else {"kernels": CUSTOM_OP if own else PORTABLE}
    processor = {"processor": compiler_of(target).cpu} if compiled or own else {}
    return {"name": target.runtime.name, "version": target.runtime.version, **kernels, **processor}


def _operators(target: Target, kept: Artifact) -> dict[str, Any]:
    """What its own operators were compiled for."""
    if kept.operators is None:
        return {}
    compiler = compiler_of(target)
    told = {"triple": compiler.triple, "processor": compiler.cpu, "emulated": compiler.emulated}
    return {"operators": {**told, "features": list(compiler.features)}}


def _kernels(request: Request, prepared: Prepared, kept: Artifact) -> tuple[str, ...]:
    """What of the artifact computes in kernels of our own, where these were asked for."""
    if request.kernels != CUSTOM_OP:
        return ()
    if kept.operators is None:
        missing = "no layer has weights in blocks and activations in int8, so there is no library"
        why = "the passes say why (FORMAT:slower=true takes what is predicted to be slower)"
        return (f"--kernels custom-op: {missing}; {why}",)
    size, processor = display(kept.operators.stat().st_size, "bytes"), compiler_of(prepared.target).cpu
    layers = "1 layer computes" if kept.own == 1 else f"{kept.own} layers compute"
    return (f"kernels: {layers} in {kept.operators.name} ({size}, for {processor}), all else in ONNX Runtime's own",)


def _predicted(
    findings: Findings, request: Request, prepared: Prepared, selection: Selection[Artifact]
) -> dict[str, Any]:
    """What `compress bench` holds its measurement against."""
    estimate = findings.estimates[1]
    own = prepared.target.runtime.name == TVM or selection.kept.operators is not None
    if estimate is None or own:  # what is learned is of ONNX Runtime's kernels
        return {}
    threads = request.threads or prepared.target.threads
    return {"predicted": prediction(estimate, selection.kept.program.hash(), threads, request.batch)}


def _measured(findings: Findings, request: Request, workshop: Workshop) -> dict[str, Any]:
    """What was measured of it, and where."""
    if findings.measured is None:
        return {}
    before, after = findings.measured
    within = None if findings.held is None else findings.held.within
    told = {"device": workshop.timing.device, "where": findings.measured_on, "latency_ms": after.p50}
    return {
        "measured": {
            **told, "original_latency_ms": before.p50, "threads": after.threads, "batch": request.batch,
            "within_interval": within,
        }
    }  # fmt: skip


def _energy(report: Report, target: Target, request: Request) -> dict[str, Any]:
    """What making it took and what the board draws, as `compress bench` needs them later."""
    found: dict[str, Any] = {} if report.making is None else {"making": asdict(report.making)}
    if (power := power_of(target, request.threads)) is not None:
        found["power"] = {**asdict(power), "arch": target.arch}
    return found
