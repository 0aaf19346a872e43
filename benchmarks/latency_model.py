"""The latency model against 300 whole models that it has not seen, on this machine with ONNX Runtime.

    python benchmarks/latency_prepare.py FOLDER         lowers the models (about an hour, resumes)
    python benchmarks/latency_model.py FOLDER           profiles, times the models in the same sitting, compares

Profile and models are visited in turn, in a new order each time, between runs of a reference network (`devices/latency/
sitting.py`). The profile is written to devices/profiles/NAME, the comparison to results/latency_model-NAME.json, where
NAME is what a built-in profile of this machine is called. Leave the machine alone meanwhile. `--again profile` measures
the profile anew and `--again fit` fits a model anew to it, and both compare with the models' times that were kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from latency_scores import NOISY, Row, accuracy, equal_pairs, noise, taus
from prepared import prepared

from compressor.devices.latency.kinds import fit_models
from compressor.devices.latency.predicted import CallModel, Predicted
from compressor.devices.latency.profile import Profile, core_of, read_profile, write_profile
from compressor.devices.latency.sitting import Item
from compressor.devices.latency.subject import Subject, read
from compressor.graph.calls import Call

ROOT = Path(__file__).resolve().parent.parent
PROFILES, RESULTS = ROOT / "devices" / "profiles", ROOT / "benchmarks" / "results"
STYLES = {  # the profile's networks that resemble a family: what is left out when the family is
    "alexnet": "plain", "vgg": "plain", "resnet": "residual", "resnet-bottleneck": "residual", "densenet": "dense",
    "squeezenet": "branched", "googlenet": "branched", "shufflenet-v2": "shuffled", "mobilenet-v1": "separable",
    "mobilenet-v2": "inverted", "mobilenet-v3": "inverted", "efficientnet": "inverted", "convnext": "modern",
    "vit": "vision", "swin": "windowed", "bert": "encoder", "gpt": "decoder", "llama": "modern-decoder",
}  # fmt: skip
LOOKED_AT = 2377  # models with seeds up to it were looked at while the laws were made
TWO = 3  # one in so many models is timed with two threads as well


class Predicts(Protocol):
    def predict(self, calls: Sequence[Call]) -> Predicted: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("--minutes", type=float, default=29.0)
    parser.add_argument("--kernels", type=int, default=1400)
    parser.add_argument("--visits", type=int, default=10)
    parser.add_argument("--again", choices=["fit", "profile"], help="keep the models' times; do anew no more than this")
    parser.add_argument("--families", action="store_true", help="leave out one family at a time, too: 14 fits more")
    parser.add_argument("--profile", default=own_name(), help="its name [default: %(default)s]")
    options = parser.parse_args()
    place, results = PROFILES / options.profile, results_of(options.profile)
    subjects = {name: read(options.models, name) for name in prepared(options.models, parser)}
    before = json.loads(results.read_text(encoding="utf-8")) if options.again else {}
    if options.again == "fit":
        profile = read_profile(place)
        models = fitted(profile)
        write_profile(place, profile, {threads: model.to_json() for threads, model in models.items()})
    else:
        profile, models, times = sit([] if options.again else list(subjects.values()), options)
    one_sitting = before.get("one_sitting", False) if options.again == "fit" else not options.again
    times = before["times"] if options.again else times
    if not options.again:
        keep(results, {"times": times})  # what took an hour is safe, whatever comes
    known = {key: each for key, each in times.items() if key.rpartition("@")[0] in subjects}
    if len(known) < len(times):
        print(f"{len(times) - len(known)} of {len(times)} times are of models that {options.models} does not hold")
    rows = compare(models, known, subjects)
    found = {"profile": dict(profile.about), "one_sitting": one_sitting, **summary(rows)}
    if options.families:
        found["left_out"] = left_out(profile, known, subjects)
    keep(results, {**found, "times": times, "rows": [asdict(row) for row in rows]})
    show(found)


def own_name() -> str:
    """What a built-in profile of this machine is called."""
    from compressor.devices.latency.lookup import builtin_names
    from compressor.targets import load_target

    return builtin_names(load_target("host"))[0]


def results_of(profile: str) -> Path:
    """Where the comparison with it is kept, the models' times among it."""
    return RESULTS / f"latency_model-{profile}.json"


def sit(
    subjects: Sequence[Subject], options: argparse.Namespace
) -> tuple[Profile, Mapping[int, CallModel], dict[str, list[float]]]:
    """The profile, its models, and [microseconds, of even visits, of odd ones] of each model by "name@threads"."""
    from compressor.cache import default_folder
    from compressor.cli.progress import Bars
    from compressor.devices.opening import open_device
    from compressor.profiling import Limits
    from compressor.profiling import profile as measure
    from compressor.targets import load_target

    beside = [Item(subject) for subject in subjects] + [Item(subject, 2) for subject in subjects[::TWO]]
    limits = Limits(seconds=options.minutes * 60, kernels=options.kernels, visits=options.visits, threads=(1, 2))
    place, work = PROFILES / options.profile, default_folder().parent / "profile" / "benchmark"
    with open_device("local") as device:
        found = measure(device, load_target("host"), place, work, limits, beside=beside, progress=Bars())
    for name, reason in found.failures.items():
        print(f"left out: {name}: {reason}")
    even, odd = found.halves
    keys = [key for key in found.beside if key in even and key in odd]
    return found.profile, found.models, {
        key: [found.beside[key].microseconds, even[key].microseconds, odd[key].microseconds] for key in keys
    }  # fmt: skip


def fitted(profile: Profile, without: str = "") -> dict[int, CallModel]:
    """A model for each number of threads, from the networks of all styles but one."""
    counts = sorted({each.threads for each in profile.networks})
    kept = {n: [m for m in profile.networks if m.threads == n and m.style != without] for n in counts}
    return fit_models(kept, core=core_of(profile.about))


def compare(
    models: Mapping[int, Predicts], times: Mapping[str, Sequence[float]], subjects: Mapping[str, Subject],
    only: Iterable[str] = tuple(STYLES),
) -> list[Row]:  # fmt: skip
    """A row for each model of the families in `only` that was timed with as many threads as one of `models` is for."""
    rows, families = [], set(only)
    for key, (measured, even, odd) in times.items():
        name, _, threads = key.rpartition("@")
        family, how = subjects[name].style.split()
        if family in families and int(threads) in models:
            found = models[int(threads)].predict(subjects[name].calls)
            macs = sum(call.macs for call in subjects[name].calls)
            rows.append(Row(
                name, family, how, int(threads), macs, measured, (even, odd), found.microseconds, found.low, found.high
            ))  # fmt: skip
    return rows


def left_out(profile: Profile, times: Mapping[str, Sequence[float]], subjects: Mapping[str, Subject]) -> dict[str, Any]:
    """Each family predicted without the profile's networks that resemble it, one thread."""
    single = {key: value for key, value in times.items() if key.endswith("@1")}
    own = Profile(profile.about, tuple(m for m in profile.networks if m.threads == 1))
    rows: list[Row] = []
    for style in dict.fromkeys(STYLES.values()):
        models = fitted(own, without=style)
        rows += compare(models, single, subjects, [family for family, like in STYLES.items() if like == style])
    by_family = {family: accuracy([row for row in rows if row.family == family]) for family in STYLES}
    return {"all": accuracy(rows), "families": by_family}


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for threads in (1, 2):
        own = [row for row in rows if row.threads == threads]
        quiet = [row for row in own if row.noise <= NOISY]
        fresh = [row for row in own if int(row.name.rsplit("-", 2)[1]) > LOOKED_AT]
        found[f"threads_{threads}"] = {
            "noise": noise(own), "all": accuracy(own), "quiet": accuracy(quiet), "fresh": accuracy(fresh),
            "noisy": [row.name for row in own if row not in quiet],
            "families": {family: accuracy([row for row in own if row.family == family]) for family in STYLES},
            "hows": {how: accuracy([row for row in own if row.how == how]) for how in sorted({r.how for r in own})},
            "kendall": taus(own), "equal_macs": equal_pairs(own),
        }  # fmt: skip
    return found


def keep(results: Path, document: Mapping[str, Any]) -> None:
    results.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def show(found: Mapping[str, Any]) -> None:
    about = found["profile"]
    if not found["one_sitting"]:
        print("profile and models were measured in different sittings")
    print(f"profile: {about['kernels']} kernels of {about['networks']} networks in {about['seconds'] / 60:.1f} minutes")
    for threads in (1, 2):
        part = found[f"threads_{threads}"]
        print(f"\n{threads} threads: noise between halves {part['noise']['median']:.1%}, ", end="")
        print(f"{part['noise']['over_5']:.1%} of the models differ by more than 5% (goal 5%)")
        for name, scores in (
            ("all", part["all"]),
            ("quiet", part["quiet"]),
            ("never looked at", part["fresh"]),
            *part["families"].items(),
            *part["hows"].items(),
        ):
            line(name, scores)
        tau = part["kendall"].values()
        if tau:
            print(f"Kendall tau of variants: mean {sum(tau) / len(tau):.3f}, least {min(tau):.3f} (goal 0.95)")
        print(f"pairs of equal MACs: {part['equal_macs']} (goal 98%)")
    if "left_out" in found:
        print("\none family left out at a time (goal 90% within 10%, worst MAPE 8%)")
        line("all", found["left_out"]["all"])
        for family, scores in found["left_out"]["families"].items():
            line(family, scores)


def line(name: str, scores: Mapping[str, float]) -> None:
    if scores["models"]:
        print(
            f"{name:20} {scores['models']:4.0f} models  MAPE {scores['mape']:6.1%}  median {scores['median']:6.1%}  "
            f"within 5% {scores['within_5']:5.0%}  within 10% {scores['within_10']:5.0%}  "
            f"worst {scores['worst']:5.0%}  bias {scores['bias']:+6.1%}  in interval {scores['in_interval']:4.0%}"
        )


if __name__ == "__main__":
    main()
