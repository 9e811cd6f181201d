"""Any file is valid or refused by field, value and fix: never a traceback, and never a config taken in part."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deployments import preflight
from deployments.live import Live
from deployments.problems import of_policy
from deployments.settings import USER_CONFIGS, AppArgs, IngressConfig, MonitorConfig, ReplicaConfig, Settings
from deployments.validate import check, checked, main
from policies.registry import PolicySpec

ROOT = Path(__file__).parents[3]
SHIPPED = ["serve_config.yaml", "serve_config.gpu.yaml"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
JUNK: st.SearchStrategy[Any] = ANY
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@cache
def parsed(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def shipped(name: str = SHIPPED[0]) -> Any:
    return deepcopy(parsed(name))


def paths(of: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of every value in a parsed file."""
    items = of.items() if isinstance(of, dict) else enumerate(of) if isinstance(of, list) else ()
    return [at, *(path for key, value in items for path in paths(value, (*at, key)))]


def is_clear(raw: Any) -> bool:
    """Valid, and then JSON carries it; or each problem can be read."""
    found = check(raw)
    json.dumps(raw if not found else None, allow_nan=False)
    return all(problem.field and problem.fix and len(str(problem)) < 2000 for problem in found)


@pytest.fixture(autouse=True, scope="module")
def models_are_there() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "problems", lambda *_, **__: [])
        yield


@BUSY
@given(raw=ANY)
@example(raw={"": 1})
def test_any_value_as_a_file(raw: Any) -> None:
    assert is_clear(raw)


@settings(BUSY, max_examples=200)
@given(path=st.sampled_from(paths(shipped())[1:]), value=ANY)
@example(path=("applications", 0, "deployments", 0), value=None)  # Serve's own checks raise an AttributeError on it
def test_any_value_at_any_place_of_the_shipped_file(path: tuple[Any, ...], value: Any) -> None:
    raw = at = shipped()
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert is_clear(raw)


@settings(BUSY, max_examples=100)
@given(path=st.sampled_from([path for path in paths(shipped()) if path and isinstance(path[-1], str)]))
@example(path=("applications", 0, "deployments", 0, "ray_actor_options", "num_cpus"))
def test_any_key_of_the_shipped_file_lost_or_misspelt(path: tuple[Any, ...]) -> None:
    raw = at = shipped()
    for step in path[:-1]:
        at = at[step]
    value = at.pop(path[-1])
    assert is_clear(raw)
    at[f"{path[-1]}_"] = value
    found = check(raw)
    assert found
    assert path[-1] in str(found)


@BUSY
@given(text=st.text() | st.binary())
def test_any_bytes_as_a_file(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    assert main([str(file)]) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1", "not YAML: expected ',' or ']', but got '<stream end>', line 1, column 6"),
        (b"a: \x80", "not UTF-8: byte 3 is 0x80"),
        (b"a: \x00", "not YAML: unacceptable character"),
        (b"[" * 1500, "nested too deep"),
        (b"a: 2026-13-45", "not YAML: month must be in 1..12"),
        (b"a: !!int x", "not YAML: invalid literal"),
        (b"a: !!bool x", "not YAML: 'x'"),
        (b"a: !!timestamp x", "not YAML"),
        (b"a: " + b"9" * 5000, "not YAML: Exceeds the limit"),
        (b"a: 0x" + b"f" * 5000, "a: 'an integer of 20000 bits' refused: give a string"),
        (b"a: 2026-11-23", "a: 'datetime.date(2026, 11, 23)' refused: give a string"),
        (b"a: .nan", "a: 'nan' refused: give a string"),
        (b"a: {2026-11-23: 1}", "refused: this key must be text; put it in quotes"),
        (b"a: &a [*a]", "does an anchor (&) hold an alias (*) of itself?"),
        (
            b"a0: &a0 [1]\n" + b"".join(b"a%d: &a%d [*a%d, *a%d]\n" % (i, i, i - 1, i - 1) for i in range(1, 60)),
            "10,000",
        ),
        (b"", "(all): 'NoneType' refused: the file must hold a mapping"),
    ],
    ids=lambda value: value[:14].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_what_is_no_config_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, said: str
) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(text)
    assert main([str(file)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_half_written_file_is_refused_or_a_shorter_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cut between two settings cannot be told from a file that never had the rest."""
    text, file = (ROOT / SHIPPED[0]).read_text(), tmp_path / "half.yaml"
    for cut in range(0, len(text), len(text) // 40):
        file.write_text(text[:cut])
        status = main([str(file)])
        said = capsys.readouterr().err.splitlines()
        assert bool(said) == bool(status)
        assert all(line.startswith(f"{file}: ") for line in said)
        assert status or cut > text.index("model: ")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_comes_back_from_yaml_and_from_its_models(name: str) -> None:
    raw = shipped(name)
    assert yaml.safe_load(yaml.safe_dump(raw)) == raw
    (application,) = raw["applications"]
    args = AppArgs.model_validate(application["args"])
    assert AppArgs.model_validate_json(args.model_dump_json()) == args
    for deployment in application["deployments"]:
        config = USER_CONFIGS[deployment["name"]].model_validate(deployment["user_config"])
        assert type(config).model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("default", [IngressConfig(attempts=7), MonitorConfig(start_s=7), ReplicaConfig()])
@settings(BUSY, max_examples=30)
@given(data=st.data())
def test_any_live_config_is_taken_whole_or_not_at_all(default: Settings, data: st.DataObject) -> None:
    known = st.dictionaries(st.sampled_from(sorted(type(default).model_fields)), ANY, max_size=3)
    live = Live(default)
    live.update(data.draw(JUNK | known))
    assert live.applied + live.rejected == 1
    assert live.applied or live.now == default
    assert live.rejection is None or all(problem.field and problem.fix for problem in live.rejection.problems)


@pytest.mark.parametrize(
    "source",
    ["raise RuntimeError('no')", "import nosuch", "def broken(", "import sys; sys.exit(3)", "1 / 0", "x = 1"],
)
def test_a_policy_module_that_fails_at_import_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    name = f"failing_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = of_policy(PolicySpec(name=f"{name}:policy"), k_max=5)
    assert problem.field == "policy.name"
    assert "cannot import" in problem.fix or "it exits (3)" in problem.fix


@pytest.mark.parametrize("error", ["RuntimeError('no')", "SystemExit(3)"])
def test_a_policy_whose_constructor_fails_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    name = f"refusing_{abs(hash(error))}"
    made = f"class P(BasePolicy):\n    def __init__(self, params, context):\n        raise {error}\n"
    (tmp_path / f"{name}.py").write_text(f"from policies.base import BasePolicy\n{made}")
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = of_policy(PolicySpec(name=f"{name}:P"), k_max=5)
    assert (problem.field, problem.value) == ("policy.name", f"{name}:P")


@pytest.mark.parametrize(
    ("access", "field"),
    [
        ({"tokens_file": "missing"}, "tokens_file"),
        ({"tokens_file": "empty"}, "tokens_file"),
        ({"tokens_env": "NO_SUCH"}, "tokens_env"),
    ],
)
def test_tokens_that_cannot_be_read_are_found_before_deploying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access: dict[str, str], field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("\n")
    raw = shipped()
    raw["applications"][0]["deployments"][0]["user_config"]["access"] = access
    (problem,) = check(raw)
    assert problem.field == f"applications.0.deployments.0.user_config.access.{field}"
    assert problem.value == access[field]


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_profile_that_is_not_whole_is_found_before_deploying(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "profile.json"
    if content is not None:
        file.write_text(content)
    raw = shipped()
    raw["applications"][0]["args"]["engine"]["profile"] = str(file)
    (problem,) = check(raw)
    assert (problem.field, problem.value) == ("applications.0.args.engine.profile", str(file))
    assert "run `make profile` again" in problem.fix


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, (problem,) = checked(str(tmp_path / "none.yaml"), starting=True)
    assert (problem.field, problem.fix) == ("(file)", "No such file or directory")
