"""The carbon intensity that a user gives, or the assumed one: g CO2e = kWh · intensity."""

from __future__ import annotations

from compressor.devices.energy import WORLD, Carbon
from compressor.errors import InputError

__all__ = ["carbon_given"]


def carbon_given(g_per_kwh: float | None) -> Carbon:
    """Grams of CO2 equivalent a kWh; the world's average, labelled as assumed, for None. Raises InputError."""
    if g_per_kwh is None:
        return WORLD
    try:
        return Carbon(float(g_per_kwh), "given")
    except (TypeError, ValueError) as error:
        way_out = f"Give grams of CO2 equivalent a kWh; without it {WORLD.g_per_kwh:g} are assumed."
        raise InputError(f"{g_per_kwh!r:.40} is no carbon intensity", where="--carbon", way_out=way_out) from error
