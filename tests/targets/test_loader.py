from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from compressor.errors import TargetError
from compressor.passlist import parse_passes
from compressor.targets import HOST, Target, load_target, loader, target_names
from compressor.targets.loader import parse_target

BOARDS = [name for name in target_names() if name != HOST]
FOLDER = Path(__file__).parents[2] / "targets"
EXAMPLE = (FOLDER / "raspberry-pi-5.toml").read_text(encoding="utf-8")


def test_the_boards_are_there_and_sorted() -> None:
    assert target_names() == sorted(target_names())
    assert set(target_names()) >= {
        "android-arm64", "host", "iphone", "jetson-agx-orin", "jetson-orin-nano", "jetson-xavier-nx",
        "raspberry-pi-4", "raspberry-pi-5", "web-wasm", "x86-64",
    }  # fmt: skip


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_complete_and_every_number_has_its_source(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    figures = [*target.rates.values(), target.bandwidth, target.node_overhead, target.memory]
    figures += [] if target.power is None else [target.power]
    sources = [figure.source for figure in figures] + list(target.sources.values()) + [target.runtime.source]
    sources += [provider.source for provider in (*target.providers, *target.optional_providers)]
    sources += [target.compiler.source] if target.compiler else []
    assert all(len(source) > 15 for source in sources)
    assert set(target.sources) == {"threads", "width_multiple"}
    assert target.runtime.install
    assert "://" not in (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert not target.is_host


@pytest.mark.parametrize("name", BOARDS)
def test_the_default_passes_can_be_run_and_the_runtime_runs_their_formats(name: str) -> None:
    target = load_target(name)
    for text in (target.passes, target.passes_with_data):
        formats = {str(spec.options["format"]) for spec in parse_passes(text, "default") if "format" in spec.options}
        assert formats <= {name for provider in target.providers for name in provider.formats}


@pytest.mark.parametrize("name", BOARDS)
def test_the_last_provider_takes_every_operator(name: str) -> None:
    assert load_target(name).providers[-1].operators == ("*",)


def test_aliases_are_unique_and_lead_to_their_board() -> None:
    aliases = [alias for name in BOARDS for alias in load_target(name).aliases]
    assert len({*aliases, *target_names()}) == len(aliases) + len(target_names())
    assert load_target("jetson") == load_target("jetson-orin-nano")
    assert load_target("android").name == "android-arm64"


def test_activations_are_signed_on_arm_and_tensorrt_and_unsigned_on_x86_and_the_web() -> None:
    unsigned = {name for name in BOARDS if load_target(name).activations == "uint8"}
    assert unsigned == {"x86-64", "web-wasm"}


def test_zeros_count_on_ampere_alone() -> None:
    offers = {name: [o for p in load_target(name).providers for o in p.sparsity] for name in BOARDS}
    assert {name for name in BOARDS if offers[name]} == {"jetson-orin-nano", "jetson-agx-orin"}
    for name in ("jetson-orin-nano", "jetson-agx-orin"):
        [offer] = load_target(name).providers[0].sparsity
        assert (offer.pattern, offer.formats, offer.speedup, offer.width) == ("2of4", ("fp16", "int8"), 2.0, 256)
        assert len(offer.source) > 15
        assert any("trt_sparsity_enable" in note for note in load_target(name).notes)


def test_every_board_declares_its_power_and_a_browser_that_runs_on_any_does_not() -> None:
    powers = {name: load_target(name).power for name in BOARDS}
    assert {name for name, power in powers.items() if power is None} == {"web-wasm"}
    assert all(power is None or 1 <= power.value <= 60 for power in powers.values())
    assert all(power is None or power.source.startswith("estimate: ") for power in powers.values())


def test_a_users_board_loads_without_a_power() -> None:
    assert parse_target(_changed(lambda v: v.pop("power")), "my.toml").power is None


def test_a_users_board_need_not_tell_a_compiler_anything() -> None:
    assert parse_target(_changed(lambda v: v.pop("compiler")), "my.toml").compiler is None
    told = {"features": ["+i8mm"], "cpu": "cortex-x2"}
    compiler = parse_target(_changed(lambda v: v["compiler"].update(told)), "my.toml").compiler
    assert compiler is not None
    assert (compiler.cpu, compiler.features, compiler.cuda) == ("cortex-x2", ("+i8mm",), "")


def test_a_users_board_may_list_patterns() -> None:
    [offer] = parse_target(_changed(lambda v: _sparse(v, pattern="4of8")), "my.toml").providers[0].sparsity
    assert (offer.kept, offer.group, offer.speedup, offer.pattern) == (4, 8, 2.0, "4of8")


def test_the_web_is_for_size_and_the_others_for_latency() -> None:
    assert {name for name in BOARDS if load_target(name).objective == "size"} == {"web-wasm"}


def test_unsigned_activations_are_taken_to_saturate_unless_the_board_says_otherwise() -> None:
    assert not load_target("x86-64").saturates  # VNNI
    assert load_target("web-wasm").saturates
    assert not load_target("raspberry-pi-5").saturates
    unsaid = parse_target(_changed(lambda v: _provider(v).update(activations="uint8")), "my.toml")
    assert unsaid.saturates


def test_figures_that_follow_from_others_agree() -> None:
    orin, agx, xavier = map(load_target, ("jetson-orin-nano", "jetson-agx-orin", "jetson-xavier-nx"))
    for target in (orin, agx, xavier):
        assert target.rate("int8") == pytest.approx(2 * target.rate("fp16"), rel=0.01)
        assert target.rate("fp16") > 4 * target.rate("fp32")
    # NVIDIA's sparse TOPS are four operations a dense multiply–accumulate.
    assert 4 * orin.rate("int8") == pytest.approx(40e12, rel=0.05)
    assert 4 * agx.rate("int8") == pytest.approx(170e12, rel=0.05)
    pi4, pi5 = load_target("raspberry-pi-4"), load_target("raspberry-pi-5")
    assert pi4.rate("fp32") == 4 * 4 * 1.8e9
    assert pi5.rate("fp32") == 4 * 8 * 2.4e9
    assert pi4.rate("int8") == pi4.rate("fp32")  # no dotprod
    assert pi5.rate("int8") == 4 * pi5.rate("fp32")  # dotprod


@pytest.mark.parametrize("number", ["0x" + "f" * 40, "0x" + "f" * 9000, "[0x" + "f" * 9000 + "]", "1e300"])
def test_a_number_too_large_to_write_out_is_refused_all_the_same(number: str) -> None:
    text = EXAMPLE.replace("value = 17.1e9", f"value = {number}")
    with pytest.raises(TargetError, match=r"bandwidth\.value is "):
        parse_target(text, "my.toml")


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(TargetError, match="jetsno") as caught:
        load_target("jetsno")
    assert "Did you mean jetson" in caught.value.way_out
    with pytest.raises(TargetError) as caught:
        load_target("")
    assert "raspberry-pi-4" in caught.value.way_out


def test_a_users_own_file_works_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(EXAMPLE.replace('name = "raspberry-pi-5"', 'name = "mine"'), encoding="utf-8")
    target = load_target(str(file))
    assert target.name == "mine"
    assert target.providers == load_target("raspberry-pi-5").providers


def test_an_own_file_may_not_take_the_name_of_a_board_that_comes_along(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    assert load_target(str(file)) == load_target("raspberry-pi-5"), "an exact copy is that board"
    file.write_text(EXAMPLE.replace("76.8e9", "10e9"), encoding="utf-8")
    assert file.read_text(encoding="utf-8") != EXAMPLE
    with pytest.raises(TargetError, match="'raspberry-pi-5', which is a board that comes along") as caught:
        load_target(str(file))
    assert "name of its own" in caught.value.way_out


def test_a_copied_board_that_kept_its_name_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raspberry-pi-5.toml").write_text(EXAMPLE, encoding="utf-8")
    (tmp_path / "rock-5b.toml").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.setattr(loader.resources, "files", lambda _: tmp_path)
    with pytest.raises(TargetError, match="name is 'raspberry-pi-5': expected 'rock-5b'"):
        load_target("rock-5b")
    renamed = EXAMPLE.replace('name = "raspberry-pi-5"', 'name = "rock-5b"', 1)
    (tmp_path / "rock-5b.toml").write_text(renamed, encoding="utf-8")
    assert load_target("rock-5b").name == "rock-5b"
    with pytest.raises(TargetError, match="alias 'rpi5' is raspberry-pi-5's already") as caught:
        load_target("rpi5")
    assert caught.value.where == "targets/rock-5b.toml"


NO_TARGETS = ("absent", "folder", "binary", "large", "syntax", "nested", "digits", "empty")


def _broken_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.toml" for name in NO_TARGETS}
    files["folder"].mkdir()
    files["binary"].write_bytes(b"\xff\xfe\x00\x80")
    files["large"].write_bytes(b"#" * (2 << 20))
    files["syntax"].write_text("name = = 3", encoding="utf-8")
    files["nested"].write_text("a = " + "[" * 5000, encoding="utf-8")
    files["digits"].write_text("a = " + "1" * 5000, encoding="utf-8")
    files["empty"].write_text("", encoding="utf-8")
    return files


@pytest.mark.parametrize("kind", NO_TARGETS)
def test_a_file_that_is_no_target_is_refused_by_its_name(kind: str, tmp_path: Path) -> None:
    file = _broken_files(tmp_path)[kind]
    with pytest.raises(TargetError) as caught:
        load_target(str(file))
    assert caught.value.where == str(file)
    assert caught.value.way_out


def _changed(change: Callable[[dict[str, Any]], object]) -> str:
    values = copy.deepcopy(tomllib.loads(EXAMPLE))
    change(values)
    return tomli_w.dumps(values)


def _provider(values: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = values["providers"][0]
    return first


def _sparse(values: dict[str, Any], **changes: Any) -> None:
    right = {"pattern": "2of4", "formats": ["int8"], "speedup": 2, "width": 64, "source": "a data sheet"}
    _provider(values)["sparsity"] = [{**right, **changes}]


MALFORMED: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("no name", lambda v: v.pop("name"), "name is missing"),
    ("name of a folder", lambda v: v.update(name="../up"), "name is '../up'"),
    ("name of the host", lambda v: v.update(name="host"), "name is 'host'"),
    ("blank title", lambda v: v.update(title=" "), "title is ' '"),
    ("objective", lambda v: v.update(objective="latancy"), "objective is 'latancy'"),
    ("architecture", lambda v: v.update(arch="arm"), "arch is 'arm'"),
    ("number for a text", lambda v: v.update(passes=3), "passes is 3"),
    ("text for a list", lambda v: v.update(aliases="pi"), "aliases is 'pi'"),
    ("list of numbers", lambda v: v.update(notes=[1]), r"notes is \[1\]"),
    ("no runtime", lambda v: v.pop("runtime"), "runtime is missing"),
    ("opset as text", lambda v: v["runtime"].update(opset="21"), "runtime.opset is '21'"),
    ("opset of the past", lambda v: v["runtime"].update(opset=3), "runtime.opset is 3: expected a whole number from 7"),
    ("opset true", lambda v: v["runtime"].update(opset=True), "runtime.opset is True"),
    ("runtime without source", lambda v: v["runtime"].pop("source"), "runtime.source is missing"),
    ("no providers", lambda v: v.update(providers=[]), r"providers is \[\]"),
    ("a provider that is no table", lambda v: v.update(providers=["CPU"]), r"providers is \['CPU'\]"),
    ("format", lambda v: _provider(v).update(formats=["int16"]), r"providers\[0\].formats is \['int16'\]"),
    ("no format", lambda v: _provider(v).update(formats=[]), r"providers\[0\].formats"),
    ("no operators", lambda v: _provider(v).update(operators=[]), r"providers\[0\].operators"),
    ("star and more", lambda v: _provider(v).update(operators=["*", "Conv"]), r"providers\[0\].operators"),
    ("unknown list", lambda v: _provider(v).update(operators=["@cda"]), "no operator list is called '@cda'"),
    ("activations", lambda v: _provider(v).update(activations="int4"), r"providers\[0\].activations is 'int4'"),
    ("saturates as text", lambda v: _provider(v).update(saturates="no"), r"providers\[0\].saturates is 'no'"),
    ("int8 without activations", lambda v: _provider(v).update(activations=""), r"providers\[0\].activations is ''"),
    ("pattern", lambda v: _sparse(v, pattern="2:4"), r"providers\[0\].sparsity\[0\].pattern is '2:4'"),
    ("pattern of all", lambda v: _sparse(v, pattern="4of4"), r"sparsity\[0\].pattern is '4of4'"),
    ("sparse and slower", lambda v: _sparse(v, speedup=0.5), r"sparsity\[0\].speedup is 0.5"),
    ("sparse in no format", lambda v: _sparse(v, formats=["int4"]), r"sparsity\[0\].formats is \['int4'\]"),
    ("sparse without width", lambda v: _sparse(v, width=0), r"sparsity\[0\].width is 0"),
    ("sparse without source", lambda v: _sparse(v, source=""), r"sparsity\[0\].source is ''"),
    ("twice", lambda v: v["providers"].append(_provider(v)), "listed 2 times"),
    ("no fp32 rate", lambda v: v["rates"].pop("fp32"), "rates.fp32 is missing"),
    ("rate without source", lambda v: v["rates"]["int8"].pop("source"), "rates.int8.source is missing"),
    ("bare rate", lambda v: v["rates"].update(fp32=1e9), "rates.fp32 is 1000000000.0"),
    ("rate of nothing", lambda v: v["rates"]["fp32"].update(value=0), "rates.fp32.value is 0"),
    ("rate not a number", lambda v: v["rates"]["fp32"].update(value=float("nan")), "rates.fp32.value is nan"),
    ("endless memory", lambda v: v["memory"].update(value=float("inf")), "memory.value is inf"),
    ("negative", lambda v: v["bandwidth"].update(value=-1), "bandwidth.value is -1"),
    ("bare power", lambda v: v.update(power=7), "power is 7"),
    ("no power", lambda v: v["power"].update(value=0), "power.value is 0"),
    ("power without source", lambda v: v["power"].pop("source"), "power.source is missing"),
    ("compiler", lambda v: v.update(compiler="gcc"), "compiler is 'gcc'"),
    ("compiler without cpu", lambda v: v["compiler"].pop("cpu"), "compiler.cpu is missing"),
    ("compiler without source", lambda v: v["compiler"].pop("source"), "compiler.source is missing"),
    ("triple of another", lambda v: v["compiler"].update(triple="x86_64-linux-gnu"), "starts with the board's arch"),
    ("triple with options", lambda v: v["compiler"].update(triple="aarch64 -o x"), "compiler.triple is"),
    ("compiled format", lambda v: v["compiler"].update(formats=["int4"]), r"compiler.formats is \['int4'\]"),
    ("feature without sign", lambda v: v["compiler"].update(features=["dotprod"]), r"compiler.features is"),
    ("cuda", lambda v: v["compiler"].update(cuda="87"), "compiler.cuda is '87'"),
    ("glibc", lambda v: v["compiler"].update(glibc="new"), "compiler.glibc is 'new'"),
    ("half a thread", lambda v: v["threads"].update(value=0.5), "threads.value is 0.5"),
    ("no thread", lambda v: v["threads"].update(value=0), "threads.value is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_key_is_named_with_what_is_expected(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        parse_target(_changed(change), "my.toml")
    assert caught.value.where.startswith("my.toml")


@pytest.mark.parametrize(
    ("change", "key", "hint"),
    [
        (lambda v: v.update(titel="x"), "titel", "title"),
        (lambda v: v["runtime"].update(opsets=3), "runtime.opsets", "opset"),
        (lambda v: _provider(v).update(operator=["Conv"]), "providers[0].operator", "operators"),
        (lambda v: v["rates"].update(int4=v["rates"]["int8"]), "rates.int4", "int8"),
        (lambda v: v["memory"].update(unit="GB"), "memory.unit", "value"),
    ],
)
def test_an_unknown_key_gets_a_suggestion(change: Callable[[dict[str, Any]], object], key: str, hint: str) -> None:
    with pytest.raises(TargetError, match=re.escape(f"unknown key {key!r}")) as caught:
        parse_target(_changed(change), "my.toml")
    assert hint in caught.value.way_out


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = [*sorted(tomllib.loads(EXAMPLE)), "optional_providers", "other"]
_INNER = ["value", "source", "opset", "name", "fp32"]


@given(key=st.sampled_from(_KEYS), inner=st.none() | st.sampled_from(_INNER), value=_VALUES)
def test_any_value_anywhere_is_read_or_refused(key: str, inner: str | None, value: Any) -> None:
    def change(values: dict[str, Any]) -> None:
        if inner is not None and isinstance(values.get(key), dict):
            values[key][inner] = value
        else:
            values[key] = value

    values = copy.deepcopy(tomllib.loads(EXAMPLE))
    change(values)
    try:
        text = tomli_w.dumps(values)
        tomllib.loads(text)
    except (TypeError, ValueError):  # nothing that TOML can say
        return
    try:
        assert isinstance(parse_target(text, "my.toml"), Target)
    except TargetError as error:
        assert error.where.startswith("my.toml")  # noqa: PT017  either outcome is right; neither is a traceback
        assert error.way_out or "times" in error.what  # noqa: PT017


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(TargetError):
        parse_target(text, "my.toml")
