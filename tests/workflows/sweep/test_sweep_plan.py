"""Grids: how values are told apart, and what is refused before anything is trained."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath.errors import ConfigError
from fastpath.workflows.sweep.sweep_plan import make_plan, parse_axis

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a.b=1,2", ["a.b=1", "a.b=2"]),
        ("a= 1e-4 , x", ["a=1e-4", "a=x"]),
        ("a=[0.8,1.0],[1.0,1.0]", ["a=[0.8,1.0]", "a=[1.0,1.0]"]),
        ('a="x,y",z', ['a="x,y"', "a=z"]),
        ("a={b=1,c=[2,3]},4", ["a={b=1,c=[2,3]}", "a=4"]),
    ],
)
def test_values_are_told_apart_by_outer_commas(text: str, wanted: list[str]) -> None:
    assert parse_axis(text) == wanted


@given(st.lists(st.from_regex(r"[a-z0-9.+-]{1,6}|\[[0-9],[0-9]\]", fullmatch=True), min_size=1, max_size=5))
def test_joined_values_come_apart_again(values: list[str]) -> None:
    assert parse_axis("key=" + ",".join(values)) == [f"key={value}" for value in values]


def test_every_combination_with_the_same_seeds() -> None:
    grid = ("optim.lr_head=1e-3,1e-4", "data.augment.crop_scale=[0.8,1.0],[1.0,1.0]")
    plan = make_plan(None, grid, overrides=["seed=7", "train.epochs=2"], repeats=3)
    assert plan.seeds == (7, 8, 9)
    assert [setting.name for setting in plan.settings][:2] == [
        "optim.lr_head=1e-3, data.augment.crop_scale=[0.8,1.0]",
        "optim.lr_head=1e-3, data.augment.crop_scale=[1.0,1.0]",
    ]
    assert [setting.config.optim.lr_head for setting in plan.settings] == [1e-3, 1e-3, 1e-4, 1e-4]
    assert plan.settings[3].config.data.augment.crop_scale == (1.0, 1.0)
    assert all(setting.config.train.epochs == 2 for setting in plan.settings)
    assert len({setting.slug for setting in plan.settings}) == 4


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_sweeps_are_the_notebooks(path: Path) -> None:
    plan = make_plan(None, grid_file=path)
    assert len(plan.seeds) == 3
    decays = ("optim.weight_decay=1e-05", "optim.weight_decay=0.0001", "optim.weight_decay=0.001")
    tried = {
        "weight_decay": [(name, "cosine") for name in decays],
        "scheduler": [("schedule.kind=step", "step"), ("schedule.kind=cosine", "cosine")],
    }[path.stem]
    assert [(setting.name, setting.config.schedule.kind) for setting in plan.settings] == tried
    for setting in plan.settings:
        assert (setting.config.data.limit, setting.config.data.val_limit, setting.config.train.epochs) == (1000, 200, 3)
        assert setting.config.model.name == "resnet50.tv_in1k"


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((), "found nothing to try"),
        (("optim.lr_head",), "wanted key=value,value"),
        (("optim.lr_head=1,,2",), "wanted key=value,value"),
        (("optim.lr_haed=1,2",), "unknown key 'optim.lr_haed'; did you mean 'optim.lr_head'"),
        (("optim.lr_head=1,-2",), r"optim.lr_head: found -2"),
        (("seed=1,2",), "use --repeats"),
        (("optim.lr_head=0.1,1e-1",), "is the same as"),
    ],
)
def test_a_wrong_grid_is_refused(grid: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(None, grid)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid = 1", "'grid' is not what a grid file holds"),
        ("more = 1", "'more' is not what a grid file holds"),
        ("[grid]\n'optim.lr_head' = 1", r"grid.optim.lr_head: found 1, wanted a list"),
        ("[grid", "is not TOML"),
    ],
)
def test_a_wrong_grid_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        make_plan(None, grid_file=path)
