"""Where a value comes from, what is refused and how it is said. The real command, the real file, the real process."""

import dataclasses
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from periodicd import BUILD, __version__
from periodicd.cli import periodicd
from periodicd.config import ENVELOPE_BYTES, FIELDS, FILE_BYTES_MAX, Config, ConfigError, load, to_json, to_toml
from periodicd.scheduler import Settings
from rig.daemon import Daemon
from tests.daemon.raw import Raw
from tests.daemon.refused import refused

DRAIN = "a number of seconds from 0 to 86,400, or a duration such as 1h30m"


def toml(folder: Path, text: str) -> Path:
    path = folder / "periodicd.toml"
    path.write_text(text)
    return path


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(periodicd, arguments, env=environ)


# -- where a value comes from ------------------------------------------------------------------------------------------

VALUES: dict[str, tuple[Any, str, Any]] = {
    # In the file, in the environment, as a flag.
    "listen": (["tcp://127.0.0.1:1"], "tcp://127.0.0.1:2 unix:///a", ("tcp://127.0.0.1:3", "unix:///b")),
    "store": ("file.db", "variable.db", "flag.db"),
    "durability": ("relaxed", "full", "relaxed"),
    "metrics": (["tcp://127.0.0.1:1"], "tcp://127.0.0.1:2 unix:///a", ("tcp://127.0.0.1:3", "unix:///b")),
    "drain_s": (1, "2.5", "3"),
    "insecure_bind": (True, "false", True),
    "log_level": ("debug", "warning", "error"),
    "log_format": ("json", "people", "json"),
    "connections": (1, "2", "3"),
    "idle_s": (60, "61", "62"),
    "connections_bytes": (20_000_000, "30_000_000", "40000000"),
    "message_bytes": (33_000_000, "32_000_000", "31_000_000"),
    "workload_bytes": (1, "2", "3"),
    "window_jobs": (1_001, "1002", "1003"),
    "window_bytes": (2_000_000, "3_000_000", "4_000_000"),
    "dead_kept": (0, "1", "2"),
    "dead_kept_days": (0, "1", "2"),
}


def test_every_field_is_tried() -> None:
    assert VALUES.keys() == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_a_flag_wins_over_a_variable_that_over_the_file_that_over_the_default(tmp_path: Path, name: str) -> None:
    in_file, in_environment, flag = VALUES[name]
    path = toml(tmp_path, f"{name} = {json.dumps(in_file)}")
    field, variable = FIELDS[name], FIELDS[name].variable

    def origin(flags: dict[str, Any], environ: dict[str, str], path: Path | None) -> tuple[Any, str]:
        config, origins = load(flags, environ, path)
        assert [each for each in origins if origins[each] != "default"] in ([name], [])
        return getattr(config, name), origins[name]

    assert origin({}, {}, None) == (FIELDS[name].default, "default")
    assert origin({}, {}, path) == (field.take(in_file, ""), str(path))
    assert origin({}, {"PERIODICD_CONFIG": str(path)}, None) == (field.take(in_file, ""), str(path))
    assert origin({}, {variable: in_environment}, path) == (field.take(field.from_text(in_environment), ""), variable)
    value, said = origin({name: flag}, {variable: in_environment}, path)
    assert said == FIELDS[name].flag
    assert str(value) == str(field.take(field.from_text(flag) if isinstance(flag, str) else flag, ""))


def test_the_command_has_each_field_as_an_option_that_is_not_given_unless_it_is(tmp_path: Path) -> None:
    arguments: list[str] = []
    for name, (_, _, flag) in VALUES.items():
        if isinstance(flag, bool):
            arguments.append(FIELDS[name].flag)
        else:
            for each in [flag] if isinstance(flag, str) else flag:
                arguments += [FIELDS[name].flag, each]
    shown = json.loads(run(*arguments, "config", "show", "--origin", "--json").stdout)
    assert {name: shown[name]["origin"] for name in shown} == {name: FIELDS[name].flag for name in FIELDS}
    assert shown["listen"]["value"] == ["tcp://127.0.0.1:3", "unix:///b"]
    assert shown["drain_s"]["value"] == 3
    path = toml(tmp_path, "insecure_bind = true\ndrain_s = 7")
    shown = json.loads(run("--config", str(path), "config", "show", "--json").stdout)
    assert (shown["insecure_bind"], shown["drain_s"], shown["durability"]) == (True, 7, "full")
    shown = json.loads(
        run("--config", str(path), "--no-insecure-bind", "--drain", "2", "config", "show", "--json").stdout
    )
    assert (shown["insecure_bind"], shown["drain_s"]) == (False, 2)


def test_seconds_may_be_written_as_a_duration(tmp_path: Path) -> None:
    path = toml(tmp_path, "drain_s = '1m30s'\nidle_s = '1h30m'")
    assert (load({}, {}, path)[0].drain_s, load({}, {}, path)[0].idle_s) == (90.0, 5400)
    assert load({"drain_s": "1.5s"}, {"PERIODICD_IDLE_S": "2d"})[0] == Config(drain_s=1.5, idle_s=172_800)
    for idle in ("5s", "10500ms", "8d", "one hour"):
        with pytest.raises(ConfigError, match=r"^--idle-s must be an integer of seconds from 10 to 604,800, or a dura"):
            load({"idle_s": idle}, {})


def test_an_empty_variable_says_nothing() -> None:
    config, origins = load({}, {"PERIODICD_STORE": "", "PERIODICD_CONFIG": ""})
    assert config == Config()
    assert set(origins.values()) == {"default"}


def test_no_file_is_read_that_was_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml(tmp_path, "this is not even TOML")
    monkeypatch.chdir(tmp_path)
    assert run("config", "show").exit_code == 0


def test_the_default_limits_are_those_of_the_scheduler() -> None:
    assert Config().settings == dataclasses.replace(Settings(), server=f"periodicd {__version__}", build=BUILD)


def test_limits_reach_the_scheduler() -> None:
    flags = {name: flag for name, (_, _, flag) in VALUES.items()}
    settings = load(flags, {})[0].settings
    assert (settings.durability, settings.connections_bytes) == ("relaxed", 40_000_000)
    assert (settings.message_bytes, settings.workload_bytes) == (31_000_000, 3)
    assert (settings.budget.jobs, settings.budget.bytes) == (1_003, 4_000_000)
    assert (settings.dead_kept, settings.dead_kept_ms) == (2, 2 * 86_400_000)


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_what_is_shown_says_where_it_comes_from(tmp_path: Path) -> None:
    path = toml(tmp_path, "drain_s = 5\nlog_level = 'debug'")
    shown = run("--config", str(path), "--store", "a b.db", "config", "show", "--origin", PERIODICD_LOG_LEVEL="info")
    lines = shown.stdout.splitlines()
    assert f"drain_s = 5.0  # {path}" in lines
    assert 'log_level = "info"  # PERIODICD_LOG_LEVEL' in lines
    assert 'store = "a b.db"  # --store' in lines
    assert 'durability = "full"  # default' in lines
    assert tomllib.loads(shown.stdout) == json.loads(
        run("--config", str(path), "--store", "a b.db", "config", "show", "--json", PERIODICD_LOG_LEVEL="info").stdout
    )


PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" \"'\\#"), min_size=1)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    message_bytes = draw(st.integers(64 * 2**10, 32 * 2**20))
    return Config(
        listen=tuple(draw(st.lists(PRINTABLE, min_size=1, max_size=3))),
        store=Path(draw(PRINTABLE)),
        durability=draw(st.sampled_from(["full", "relaxed"])),
        drain_s=draw(st.floats(0, 86_400)),
        insecure_bind=draw(st.booleans()),
        message_bytes=message_bytes,
        workload_bytes=draw(st.integers(0, message_bytes - ENVELOPE_BYTES)),
        dead_kept=draw(st.integers(0, 10_000_000)),
    )


@given(configs())
def test_what_is_shown_is_a_file_that_says_the_same(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    path = tmp_path_factory.getbasetemp() / "shown.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load({}, {}, path)[0] == config
    assert json.loads(json.dumps(to_json(config))) == tomllib.loads(to_toml(config))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drain = 5", "'drain' is not a key; did you mean drain_s?"),
        ("durabilty = 'full'", "'durabilty' is not a key; did you mean durability?"),
        ("xyz = 5", "'xyz' is not a key; they are listen, store, durability, "),
        ("[limits]\nconnections = 5", "'limits' is not a key; "),
        ("drain_s = '5'", f"drain_s must be {DRAIN}, not '5'"),
        ("drain_s = -1", f"drain_s must be {DRAIN}, not -1"),
        ("drain_s = nan", f"drain_s must be {DRAIN}, not nan"),
        (
            "drain_s = true",
            f"drain_s must be {DRAIN}, not True",
        ),
        ("listen = 'tcp://127.0.0.1:1'", "listen must be an array of 1 to 100 addresses, not 'tcp://127.0.0.1:1'"),
        ("listen = []", "listen must be an array of 1 to 100 addresses, not []"),
        ("listen = [5000]", "listen must be an array of 1 to 100 addresses, not [5000]"),
        ("store = 5", "store must be a path of printable characters, not 5"),
        ("store = ''", "store must be a path of printable characters, not ''"),
        ('store = "a\\nb"', r"store must be a path of printable characters, not 'a\nb'"),
        ("durability = 'none'", "durability must be one of full, relaxed, not 'none'"),
        ("durability = ['full']", "durability must be one of full, relaxed, not ['full']"),
        ("log_level = 'DEBUG'", "log_level must be one of debug, info, warning, error, not 'DEBUG'"),
        ("insecure_bind = 1", "insecure_bind must be true or false, not 1"),
        ("connections = 0", "connections must be an integer from 1 to 100,000, not 0"),
        ("connections = 1.5", "connections must be an integer from 1 to 100,000, not 1.5"),
        ("connections = true", "connections must be an integer from 1 to 100,000, not True"),
        ("message_bytes = 99_000_000", "message_bytes must be an integer from 65,536 to 33,554,432, not 99000000"),
        ("connections = ", "is not TOML: Invalid value (at end of document)"),
        ("connections = 1\nconnections = 2", "is not TOML: Cannot overwrite a value (at end of document)"),
        (f"connections = {'9' * 5000}", "is not TOML: Exceeds the limit"),
        (f"connections = {'[' * 5000}", "is not TOML: "),
        ("#" * (FILE_BYTES_MAX + 1), f"has more than {FILE_BYTES_MAX:,} bytes"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(ConfigError) as refusal:
        load({}, {}, path)
    assert str(refusal.value).startswith(f"{path}: {message}")


def test_what_is_wrong_is_refused_even_where_something_stronger_hides_it(tmp_path: Path) -> None:
    path = toml(tmp_path, "drain_s = 'soon'")
    with pytest.raises(ConfigError, match=r"periodicd.toml: drain_s must be"):
        load({"drain_s": "5"}, {}, path)
    with pytest.raises(ConfigError, match=r"^PERIODICD_DRAIN_S must be"):
        load({"drain_s": "5"}, {"PERIODICD_DRAIN_S": "soon"})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.toml: cannot be read: No such file or directory$"):
        load({}, {}, tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load({}, {"PERIODICD_CONFIG": str(tmp_path)})
    (tmp_path / "latin.toml").write_bytes(b"store = '\xe4.db'")
    with pytest.raises(ConfigError, match=r"latin.toml: is not a text in UTF-8"):
        load({}, {}, tmp_path / "latin.toml")


def test_a_variable_or_a_flag_that_is_wrong_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^PERIODICD_DRAIN_S must be a number of seconds .* not 'soon'$"):
        load({}, {"PERIODICD_DRAIN_S": "soon"})
    with pytest.raises(ConfigError, match=r"^--connections must be an integer from 1 to 100,000, not 'many'$"):
        load({"connections": "many"}, {})
    with pytest.raises(ConfigError, match=r"^PERIODICD_INSECURE_BIND must be true or false, not 'maybe'$"):
        load({}, {"PERIODICD_INSECURE_BIND": "maybe"})
    result = run("--drain", "soon")
    assert result.exit_code == 2
    assert result.stderr == f"periodicd: --drain-s must be {DRAIN}, not 'soon'\n"


def test_a_workload_must_fit_into_a_message() -> None:
    flags = {"message_bytes": "1000000"}
    with pytest.raises(ConfigError) as refusal:
        load(flags, {})
    assert str(refusal.value) == (
        "workload_bytes (16,777,216, default) must be at least 8,192 less than message_bytes"
        " (1,000,000, --message-bytes), which carries it"
    )
    assert load(flags, {"PERIODICD_WORKLOAD_BYTES": str(1_000_000 - ENVELOPE_BYTES)})
    with pytest.raises(ConfigError):
        load(flags, {"PERIODICD_WORKLOAD_BYTES": str(1_000_001 - ENVELOPE_BYTES)})


def test_the_largest_workload_fits_into_a_message(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--message-bytes", "100000", "--workload-bytes", str(100_000 - ENVELOPE_BYTES)) as daemon:
        raw = Raw(daemon)
        name = "n" * 255
        rule = {"limit": 0, "backoff": "exponential", "delay_ms": 0, "cap_ms": 2_592_000_000, "jitter_percent": 100}
        job = {
            "func": name, "name": name, "workload": bytes(100_000 - ENVELOPE_BYTES), "due_at_ms": 1_700_000_000_000,
            "priority": -100, "lease_ms": 86_400_000, "retry": rule, "existing": "replace",
            "headers": {f"{number:02}": "h" * 62 for number in range(64)},
        }  # fmt: skip
        assert raw.ask("submit", job)["result"] == "created"
        too_large = raw.refusal("submit", job | {"workload": bytes(100_001 - ENVELOPE_BYTES)})
        assert too_large == "INVALID path=job.workload: job.workload has 91,809 bytes, and may have 91,808"
        raw.socket.close()


def test_a_variable_that_is_none_of_ours_is_no_error_but_is_told() -> None:
    result = run("config", "show", PERIODICD_DRAIN="5", PERIODIC_URL="tcp://elsewhere:5000")
    assert result.exit_code == 0
    assert (
        result.stderr
        == "periodicd: 'PERIODICD_DRAIN' is not a variable of periodicd; did you mean PERIODICD_DRAIN_S?\n"
    )
    assert tomllib.loads(result.stdout)["drain_s"] == 10


def test_config_show_refuses_what_a_start_would_refuse(tmp_path: Path) -> None:
    path = toml(tmp_path, 'listen = ["tcp://0.0.0.0:5000"]')
    result = run("--config", str(path), "config", "show")
    assert result.exit_code == 2
    assert "tcp://0.0.0.0:5000 can be reached from other machines" in result.stderr
    path = toml(tmp_path, 'listen = ["tcp://127.0.0.1"]')
    result = run("--config", str(path), "config", "show")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        f"periodicd: listen ({path}): 'tcp://127.0.0.1' has no port, as in tcp://127.0.0.1:5000"
    )


# -- the process -------------------------------------------------------------------------------------------------------


def test_a_process_without_its_file_exits_2(tmp_path: Path) -> None:
    code, said = refused(tmp_path, "--config", str(tmp_path / "missing.toml"))
    assert code == 2
    assert said == f"periodicd: {tmp_path / 'missing.toml'}: cannot be read: No such file or directory\n"
    assert not (tmp_path / "periodic.db").exists()


def test_a_process_goes_by_its_file_and_its_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toml(tmp_path, "connections = 2\nmessage_bytes = 80_000\nworkload_bytes = 5\ndurability = 'relaxed'")
    monkeypatch.setenv("PERIODICD_WORKLOAD_BYTES", "6")
    monkeypatch.setenv("PERIODICD_DRAIN", "7")
    with Daemon(tmp_path, "--config", str(path)) as daemon:
        first, second = Raw(daemon), Raw(daemon)
        hello = first.ask("hello")
        assert second.ask("ping") == {}
        assert (hello["limits"]["message_bytes"], hello["limits"]["workload_bytes"]) == (80_000, 6)
        assert hello["durability"] == "relaxed"
        third = Raw(daemon)
        assert third.ends_with() == "BUSY: the daemon has 2 connections"
        first.socket.sendall(bytes([0xC6]) + (2**31).to_bytes(4, "big") + bytes(80_001))
        assert first.ends_with().startswith("TOO_LARGE: a message may have 80000 bytes")
        for raw in (first, second, third):
            raw.socket.close()
        assert "'PERIODICD_DRAIN' is not a variable of periodicd; did you mean PERIODICD_DRAIN_S?" in daemon.said


def test_dead_jobs_beyond_those_kept_are_gone_after_the_next_start(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--dead-kept", "1") as daemon:
        raw = Raw(daemon)
        for name in ("a", "b", "c"):
            raw.ask("submit", {"func": "f", "name": name, "retry": {"limit": 0}})
        raw.ask("subscribe", "f")
        for _ in range(3):
            _, msgid, _, _ = raw.receive()
            raw.send([1, msgid, "no", None])
        assert [job["name"] for job in raw.ask("list", {"state": "dead"})["jobs"]] == ["a", "b", "c"]
        raw.socket.close()
        daemon.stop()
        daemon.start()
        raw = Raw(daemon)
        # The first step purges; what is asked later than that sees it.
        assert raw.ask("ping") == {}
        assert [job["name"] for job in raw.ask("list", {"state": "dead"})["jobs"]] == ["c"]
        raw.socket.close()


def test_help_and_an_unknown_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "periodicd", "--help"], capture_output=True, text=True, check=True)
    for each in FIELDS.values():
        assert each.flag in shown.stdout
    assert run("confg").exit_code == 2
    assert run("config", "show", "--help").exit_code == 0
