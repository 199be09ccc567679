"""Where settings come from: recipes by name, files, and runs that are used again."""

from __future__ import annotations

import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath import config
from fastpath.config import sources
from fastpath.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", sources.names())
def test_a_recipe_is_taken_by_name_and_begins_with_what_it_is(name: str) -> None:
    assert config.load(name) == config.load(sources.RECIPES / f"{name}.toml")
    first = (sources.RECIPES / f"{name}.toml").read_text().partition("\n")[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    assert len(first) <= 100


def test_a_clone_finds_the_recipes_under_configs() -> None:
    assert (ROOT / "configs").is_symlink()
    assert (ROOT / "configs" / "notebook.toml").samefile(sources.RECIPES / "notebook.toml")


def test_a_recipe_wins_over_a_file_of_its_name_and_a_path_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("seed = 7\n")
    assert config.load("demo").model.name == "baseline_cnn"
    assert config.load(Path("demo")).seed == 7
    assert config.load("./demo").seed == 7


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("fast_lit0", "did you mean 'fast_lite0'?"),
        ("fast_lit0.toml", "did you mean 'fast_lite0'?"),
        ("qqq", "one of baseline_cnn, demo"),
        ("folder/absent.toml", "absent.toml"),
    ],
)
def test_what_is_neither_is_named_with_the_nearest(name: str, phrase: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(Path(name))
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


def _run(folder: Path, settings: config.Config) -> Path:
    (folder / "config.json").write_text(json.dumps(settings.to_dict()))
    return folder


def test_a_run_is_used_again_by_its_directory_or_its_file(tmp_path: Path) -> None:
    settings = config.load("fast_lite0", ["seed=3"])
    _run(tmp_path, settings)
    assert config.load(tmp_path) == config.load(tmp_path / "config.json") == settings


def test_an_override_of_a_run_does_what_it_does_to_the_recipe(tmp_path: Path) -> None:
    changes = ["data.augment.policy=strong", "optim.lr_head=0.5"]
    recipe = config.load("fast_lite0")
    assert config.load(_run(tmp_path, recipe), changes) == config.load("fast_lite0", changes)
    staged = config.load("resnet50_head_layer4")
    again = config.load(_run(tmp_path, staged), ["data.batch_size=8"])
    assert [stage.data.batch_size for stage in again.stages] == [8, 8]


@pytest.mark.parametrize("content", ["[1]", "{", '{"sede": 1}', "\x00"])
def test_a_file_that_is_no_runs_configuration_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        config.load(tmp_path)


POLICY = st.sampled_from(["notebook", "none", "d4", "strong", "ring"])
STAGE = st.fixed_dictionaries(
    {"epochs": st.integers(1, 3)},
    optional={
        "data": st.fixed_dictionaries(
            {}, optional={"batch_size": st.integers(1, 9), "augment": st.fixed_dictionaries({"policy": POLICY})}
        ),
        "optim": st.fixed_dictionaries({}, optional={"lr_head": st.floats(1e-6, 1)}),
        "model": st.fixed_dictionaries({}, optional={"trainable": st.sampled_from(["head", "all"])}),
    },
)
AUGMENT = st.fixed_dictionaries(
    {}, optional={"policy": POLICY, "hflip": st.floats(0, 1), "rotation_deg": st.floats(0, 180)}
)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)


@given(augment=AUGMENT, stages=st.lists(STAGE, max_size=3), name=NAMES)
def test_what_is_written_makes_the_same_configuration(
    augment: dict[str, Any], stages: list[dict[str, Any]], name: str
) -> None:
    settings = config.parse({"data": {"augment": augment}, "stages": stages, "model": {"name": name}})
    assert config.parse(sources.given(settings)) == settings
    assert config.parse(tomllib.loads(sources.to_toml(sources.given(settings)))) == settings


def test_the_wheel_holds_the_recipes_and_no_second_copy(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel", reason="needs hatchling, which builds the wheel")
    built = next(builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(built) as wheel:
        shipped = {Path(name) for name in wheel.namelist() if name.endswith(".toml")}
        assert wheel.read("fastpath/recipes/demo.toml") == (sources.RECIPES / "demo.toml").read_bytes()
    wanted = {path.relative_to(ROOT) for path in sources.RECIPES.rglob("*.toml")}
    assert shipped == wanted
