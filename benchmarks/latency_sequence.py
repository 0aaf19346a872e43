"""The model over tokens beside the one over features and the roofline, on whole models that none of them has seen.

    python benchmarks/latency_sequence.py FOLDER      # after latency_prepare.py FOLDER; some minutes, nothing is timed

All are fitted in this run to the tables of the built-in profile and judged by the models' times that latency_model.py
kept. The checks are those of the MLIR cost model (Das & Mannarswamy, 2023): 15% on average over 300 graphs and better
than the roofline; 30% on transformers after convolutional networks alone; a millisecond for each operator. Figures go
to results/latency_sequence.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from latency.rooflines import Kept, data_sheet, fitted, kernels_of
from latency_model import PROFILES, STYLES, Predicts, compare, own_name, results_of
from latency_scores import accuracy, kendall, taus
from prepared import prepared

from compressor.devices.latency.kinds import KINDS, fit_models
from compressor.devices.latency.measured import Measured
from compressor.devices.latency.predicted import CallModel, Predicted
from compressor.devices.latency.profile import Profile, core_of, read_profile
from compressor.devices.latency.subject import Subject, read
from compressor.graph.calls import Call
from compressor.targets import load_target

RESULTS = Path(__file__).resolve().parent / "results" / "latency_sequence.json"
CONVOLUTIONAL = ("plain", "residual", "dense", "branched", "shuffled", "separable", "inverted", "modern", "upward")
TRANSFORMERS = ("vit", "swin", "bert", "gpt", "llama")
GOALS = {"graphs": 300, "mape": 0.15, "left_out": 0.30, "milliseconds": 1.0}


@dataclass(frozen=True)
class Roof:
    """A roofline as a model of calls; it owns to no interval."""

    numbers: Kept

    def predict(self, calls: Sequence[Call]) -> Predicted:
        time = self.numbers.predict(kernels_of(calls))
        return Predicted(time, time, time, {}, 1.0, ())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("--profile", default=own_name(), help="its name [default: %(default)s]")
    options = parser.parse_args()
    subjects = {name: read(options.models, name) for name in prepared(options.models, parser)}
    times = json.loads(results_of(options.profile).read_text(encoding="utf-8"))["times"]
    known = {key: value for key, value in times.items() if key.rpartition("@")[0] in subjects}
    profile = read_profile(PROFILES / options.profile)
    found: dict[str, Any] = {"profile": dict(profile.about), "timed": len(times), "prepared": len(known)}
    models, found["fitted_in_seconds"] = fits(profile)
    found["threads"] = {
        threads: score(profile.networks, {kind: models[kind][threads] for kind in KINDS}, known, subjects, threads)
        for threads in (1, 2)
    }
    found["left_out"] = left_out(profile, known, subjects)
    found["milliseconds_an_operator"] = {kind: milliseconds(models[kind][1], subjects) for kind in KINDS}
    found["bytes"] = {kind: len(json.dumps(models[kind][1].to_json())) for kind in KINDS}
    found["checks"] = checks(found)
    RESULTS.write_text(json.dumps(_short(found), indent=1) + "\n", encoding="utf-8")
    show(found)


def fits(profile: Profile) -> tuple[dict[str, dict[int, CallModel]], dict[str, float]]:
    """Both models at one and two threads, and the seconds that fitting them takes."""
    models, seconds = {}, {}
    for kind in KINDS:
        start = time.perf_counter()
        models[kind] = fit_models(
            {n: [m for m in profile.networks if m.threads == n] for n in (1, 2)}, kind, core_of(profile.about)
        )
        seconds[kind] = time.perf_counter() - start
    return models, seconds


def score(
    networks: Sequence[Measured], models: Mapping[str, CallModel], times: Mapping[str, Sequence[float]],
    subjects: Mapping[str, Subject], threads: int,
) -> dict[str, Any]:  # fmt: skip
    """What each model is worth at so many threads, on all models and by family."""
    sheet = data_sheet(load_target("host"), threads)
    own = fitted([m for m in networks if m.threads == threads], sheet)
    methods: dict[str, Predicts] = {**models, "roofline, fitted": Roof(own), "roofline": Roof(sheet)}
    found = {}
    for name, method in methods.items():
        rows = compare({threads: method}, times, subjects)
        order = taus(rows)
        found[name] = {
            **accuracy(rows), "kendall": kendall(rows), "kendall_of_families": mean(order.values()) if order else 0.0,
            "families": {family: accuracy([r for r in rows if r.family == family]).get("mape") for family in STYLES},
            "hows": {how: accuracy([r for r in rows if r.how == how])["mape"] for how in sorted({r.how for r in rows})},
        }  # fmt: skip
        if name not in models:
            del found[name]["in_interval"]
    return found


def left_out(profile: Profile, times: Mapping[str, Sequence[float]], subjects: Mapping[str, Subject]) -> dict[str, Any]:
    """Fitted to convolutional networks alone, asked of transformers; the operators that this leaves unknown."""
    train = [m for m in profile.networks if m.threads == 1 and m.style in CONVOLUTIONAL]
    found: dict[str, Any] = {"networks": len(train)}
    sheet = fitted(train, data_sheet(load_target("host"), 1))
    methods: dict[str, Predicts] = {"roofline, fitted": Roof(sheet)}
    for kind in KINDS:
        model = fit_models({1: train}, kind, core_of(profile.about))[1]
        methods[kind] = model
        names = [name for name in subjects if subjects[name].style.split()[0] in TRANSFORMERS]
        unknown = Counter(op for name in names for op in model.predict(subjects[name].calls).unknown)
        found["unknown"] = dict(unknown.most_common(12))
    for name, method in methods.items():
        rows = compare({1: method}, times, subjects, TRANSFORMERS)
        by_family = {family: accuracy([row for row in rows if row.family == family]) for family in TRANSFORMERS}
        hows = {how: accuracy([row for row in rows if row.how == how]) for how in sorted({row.how for row in rows})}
        found[name] = {"all": accuracy(rows), **by_family, "hows": hows}
    return found


def milliseconds(model: CallModel, subjects: Mapping[str, Subject]) -> float:
    """Of predicting one operator: the median over models of a whole prediction by the number of its calls."""
    found = []
    for subject in subjects.values():
        start = time.perf_counter()
        model.predict(subject.calls)
        found.append(1e3 * (time.perf_counter() - start) / len(subject.calls))
    return median(found)


def checks(found: Mapping[str, Any]) -> dict[str, Any]:
    """Each goal with what came out; nothing is rounded in anybody's favour."""
    one, left = found["threads"][1], found["left_out"]
    features, tokens = one["features"], one["tokens"]
    roofline = min(one["roofline"]["mape"], one["roofline, fitted"]["mape"])
    return {
        "graphs": [features["models"], features["models"] >= GOALS["graphs"]],
        "features within 15%": [features["mape"], features["mape"] <= GOALS["mape"]],
        "tokens within 15%": [tokens["mape"], tokens["mape"] <= GOALS["mape"]],
        "features beat every roofline": [features["mape"] / roofline, features["mape"] < roofline],
        "tokens beat every roofline": [tokens["mape"] / roofline, tokens["mape"] < roofline],
        **{
            f"{kind}, {family} after convolutional networks within 30%": [
                left[kind][family]["mape"], left[kind][family]["mape"] <= GOALS["left_out"]
            ]
            for kind in KINDS for family in ("gpt", "all")
        },
        **{
            f"{kind} under a millisecond an operator": [value, value < GOALS["milliseconds"]]
            for kind, value in found["milliseconds_an_operator"].items()
        },
    }  # fmt: skip


def show(found: Mapping[str, Any]) -> None:
    print(f"{found['prepared']} of {found['timed']} timings have their model prepared; fitted in ", end="")
    print(", ".join(f"{seconds:.0f} s ({kind})" for kind, seconds in found["fitted_in_seconds"].items()))
    for threads, methods in found["threads"].items():
        print(f"\n{threads} threads")
        for name, scores in methods.items():
            line(
                name, scores, f"  Kendall tau {scores['kendall']:.3f}, in families {scores['kendall_of_families']:.3f}"
            )
    print(f"\ntransformers, after {found['left_out']['networks']} convolutional networks alone, one thread")
    for name in (*KINDS, "roofline, fitted"):
        for family, scores in found["left_out"][name].items():
            if family != "hows":
                line(f"{name}: {family}", scores)
    print(f"never seen there: {found['left_out']['unknown']}\n")
    for name, (value, held) in found["checks"].items():
        print(f"{'held' if held else 'MISSED':6}  {name}: {value:.4g}")


def line(name: str, scores: Mapping[str, float], more: str = "") -> None:
    print(
        f"{name:24} {scores['models']:4.0f} models  MAPE {scores['mape']:6.1%}  median {scores['median']:6.1%}  "
        f"within 5% {scores['within_5']:4.0%}  within 10% {scores['within_10']:4.0%}{more}"
    )


def _short(value: Any) -> Any:
    """Numbers to four digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    main()
