"""The power a board draws, where it has a sensor for it.

    E = Σ (P_i + P_i+1) / 2 · (t_i+1 − t_i)        sensors that tell power, sampled by a thread
    E = c_n − c_0                                  sensors that count energy

| board | read | covers |
|---|---|---|
| Jetson, JetPack 5, 6 | INA3221: in{1,2,3}_input mV × curr{1,2,3}_input mA | VDD_IN: the module; else the rails' sum |
| Jetson, JetPack 4 | INA3221: in_power{0,1,2}_input (mW) | the same; POM_5V_IN is a Nano's module |
| Raspberry Pi 5 | `vcgencmd pmic_read_adc`: Σ NAME_A × NAME_V | the regulators' rails, without USB devices |
| x86 | powercap's intel-rapl packages: energy_uj | the processors' packages |
"""

from __future__ import annotations

import glob
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from .conditions import output_of, read_number, read_text

__all__ = ["Meter", "Sensor", "find_sensor"]

TOTALS = ("VDD_IN", "POM_5V_IN")  # rails that carry all others


class Sensor(ABC):
    """`name` says what it covers; `interval` is how often (seconds) it is worth reading."""

    name: str
    interval = 0.02
    counts = False  # whether it counts energy instead of telling power

    @abstractmethod
    def read(self) -> float | None:
        """Watts, or joules since an unknown time where it counts; None where it does not answer."""


class Rails(Sensor):
    """INA3221 channels. Each is the paths whose product is its power, in units of 1/`scale` W."""

    def __init__(self, channels: Sequence[tuple[str, Sequence[str]]], scale: float) -> None:
        totals = [channel for channel in channels if channel[0] in TOTALS]
        used = totals[:1] or list(channels)
        self.paths, self.scale = [paths for _, paths in used], scale
        self.name = "INA3221 " + "+".join(label for label, _ in used)

    def read(self) -> float | None:
        watts = 0.0
        for paths in self.paths:
            product = 1.0
            for path in paths:
                value = read_number(path)
                if value is None:
                    return None
                product *= value
            watts += product / self.scale
        return watts


class Regulators(Sensor):
    """Raspberry Pi 5's power management chip. Asking it starts a program, so it is asked less often."""

    name = "PMIC, sum of rails"
    interval = 0.1

    def read(self) -> float | None:
        text = output_of(["vcgencmd", "pmic_read_adc"]) or ""
        found = {
            (name, unit): float(value)
            for name, unit, value in re.findall(r"(\S+)_([AV])\s+\w+\(\d+\)=(-?[\d.]+)[AV]", text)
        }
        currents = {name: value for (name, unit), value in found.items() if unit == "A" and (name, "V") in found}
        return sum(value * found[name, "V"] for name, value in currents.items()) if currents else None


class Packages(Sensor):
    """RAPL: counters of energy in µJ, one a package, each of which begins again at its range."""

    counts = True

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = folders
        self.name = "RAPL " + "+".join(str(read_text(os.path.join(folder, "name"))) for folder in folders)
        self.ranges = [read_number(os.path.join(folder, "max_energy_range_uj")) or 0.0 for folder in folders]
        self.last: list[float] = []
        self.total = 0.0

    def read(self) -> float | None:
        counts = [read_number(os.path.join(folder, "energy_uj")) for folder in self.folders]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts):
            return None
        for now, before, span in zip(known, self.last, self.ranges):
            self.total += (now - before if now >= before else now + span - before) / 1e6
        self.last = known
        return self.total


def find_sensor(root: str = "/") -> Sensor | None:
    """The board's sensor, or None where there is none that answers."""
    for sensor in (_hwmon_rails(root), _iio_rails(root), Regulators(), _packages(root)):
        if sensor is not None and sensor.read() is not None:
            return sensor
    return None


def _hwmon_rails(root: str) -> Sensor | None:
    channels = []
    for label in sorted(glob.glob(os.path.join(root, "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in[123]_label"))):
        name = read_text(label)
        number = os.path.basename(label)[2]
        folder = os.path.dirname(label)
        paths = [os.path.join(folder, f"{kind}{number}_input") for kind in ("in", "curr")]
        if name not in (None, "", "NC") and all(read_number(path) is not None for path in paths):
            channels.append((str(name), paths))
    return Rails(channels, 1e6) if channels else None


def _iio_rails(root: str) -> Sensor | None:
    channels = []
    for label in sorted(glob.glob(os.path.join(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_[012]"))):
        name = read_text(label)
        path = os.path.join(os.path.dirname(label), f"in_power{label[-1]}_input")
        if name not in (None, "", "NC") and read_number(path) is not None:
            channels.append((str(name), [path]))
    return Rails(channels, 1e3) if channels else None


def _packages(root: str) -> Sensor | None:
    folders = sorted(glob.glob(os.path.join(root, "sys/class/powercap/intel-rapl:[0-9]*")))
    packages = [
        folder
        for folder in folders
        if (read_text(os.path.join(folder, "name")) or "").startswith("package-")
        and read_number(os.path.join(folder, "energy_uj")) is not None  # root alone may, on many systems
    ]
    return Packages(packages) if packages else None


class Meter:
    """Samples a sensor in a thread while its `with` block runs; then `joules`, `seconds` and `samples` are known.

    `joules` is None where the sensor stopped answering.
    """

    def __init__(self, sensor: Sensor) -> None:
        self.sensor = sensor
        self.points: list[tuple[float, float]] = []
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Meter:
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._take()

    def _sample(self) -> None:
        while not self._stop.wait(self.sensor.interval):
            self._take()

    def _take(self) -> None:
        before = time.perf_counter()
        value = self.sensor.read()
        if value is None:
            self._lost = True
        else:  # a program takes its time to answer: it measured somewhere in between
            self.points.append(((before + time.perf_counter()) / 2, value))

    @property
    def samples(self) -> int:
        return len(self.points)

    @property
    def seconds(self) -> float:
        return self.points[-1][0] - self.points[0][0] if self.points else 0.0

    @property
    def joules(self) -> float | None:
        if self._lost or len(self.points) < 2:
            return None
        if self.sensor.counts:
            return self.points[-1][1] - self.points[0][1]
        return sum((p + q) / 2 * (t - s) for (s, p), (t, q) in zip(self.points, self.points[1:]))

    @property
    def watts(self) -> float | None:
        """Mean power."""
        joules = self.joules
        return None if joules is None or self.seconds <= 0 else joules / self.seconds
