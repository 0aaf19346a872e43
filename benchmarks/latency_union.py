"""One profile of two that were measured on the same processor: every network of both, fitted together.

    python benchmarks/latency_union.py PROFILE OTHER OUT

A network that both have by the same name is kept twice: it was measured twice. The built-in profile of AVX-512 is one.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from latency_model import fitted

from compressor.devices.latency.profile import Profile, read_profile, write_profile
from compressor.errors import CompressError

_ALIKE = ("target", "cpu", "arch", "cores", "caches", "onnxruntime", "threads")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    try:
        found = union(read_profile(options.profile), read_profile(options.other))
    except CompressError as error:
        parser.error(str(error))
    models = fitted(found)
    write_profile(options.out, found, {threads: model.to_json() for threads, model in models.items()})
    print(f"{found.about['kernels']} kernels of {found.about['networks']} networks")


def union(one: Profile, other: Profile) -> Profile:
    """All networks of both. Raises CompressError for profiles of different processors or runtimes."""
    for key in _ALIKE:
        if one.about.get(key, other.about.get(key)) != other.about.get(key, one.about.get(key)):
            raise CompressError(f"{key} is {one.about.get(key)!r} in one and {other.about.get(key)!r} in the other")
    names = {each.name for each in one.networks}
    again = tuple(
        replace(each, name=f"again-{each.name}") if each.name in names else each for each in other.networks
    )  # fmt: skip
    sums = {key: one.about[key] + other.about[key] for key in ("networks", "kernels", "seconds")}
    sittings = one.about.get("sittings", 1) + other.about.get("sittings", 1)
    return Profile({**other.about, **one.about, **sums, "sittings": sittings}, (*one.networks, *again))


if __name__ == "__main__":
    main()
