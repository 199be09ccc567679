"""The configuration: round trips, overrides, and errors that name the nearest key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath import config
from fastpath.config import Config, DataConfig
from fastpath.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@given(
    seed=st.integers(0, 2**32 - 1),
    batch_size=st.integers(1, 4096),
    sampling=st.sampled_from(["natural", "weighted", "systematic"]),
    rotation=st.floats(0, 180),
    low=st.floats(0.1, 0.5),
)
def test_a_configuration_survives_the_round_trip(
    seed: int, batch_size: int, sampling: str, rotation: float, low: float
) -> None:
    augment = {"rotation_deg": rotation, "crop_scale": [low, 1.0]}
    values = {"seed": seed, "data": {"batch_size": batch_size, "sampling": sampling, "augment": augment}}
    first = config.parse(values)
    second = config.parse(first.to_dict())
    assert second == first
    assert second.fingerprint() == first.fingerprint()


def test_the_fingerprint_differs_when_any_value_differs() -> None:
    prints = {config.load(None, [override]).fingerprint() for override in ("seed=1", "seed=2", "optim.lr_head=0.5")}
    assert len(prints | {config.Config().fingerprint()}) == 4


def test_overrides_win_over_the_file_and_are_read_as_toml_or_as_text(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[train]\nepochs = 3\n[model]\nname = 'resnet18'\n")
    loaded = config.load(path, ["train.epochs=5", "model.weights=some/file.pth", "data.augment.crop_scale=[0.5, 1]"])
    assert loaded.train.epochs == 5
    assert loaded.model.name == "resnet18"
    assert loaded.model.weights == Path("some/file.pth")
    assert loaded.data.augment.crop_scale == (0.5, 1.0)


@pytest.mark.parametrize(
    ("override", "phrase"),
    [
        ("train.epoch=3", "did you mean 'train.epochs'?"),
        ("data.augment.rotation_degree=3", "did you mean 'data.augment.rotation_deg'?"),
        ("trian.epochs=3", "unknown key 'trian'"),
        ("train.epochs=0", "train.epochs: found 0"),
        ("data.sampling=balanced", "data.sampling: found 'balanced'"),
        ("data.augment.crop_scale=[1.0, 0.5]", "crop_scale"),
        ("train.epochs", "wanted key=value"),
        ("seed.value=3", "seed"),
    ],
)
def test_a_wrong_key_or_value_is_one_clear_line(override: str, phrase: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(None, ["seed=1", override])
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_toml_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[train\n")
    for path in (tmp_path / "absent.toml", broken):
        with pytest.raises(ConfigError, match=path.name):
            config.load(path)


def test_every_key_is_documented_in_the_models_and_on_its_page() -> None:
    page = (ROOT / "docs" / "config.md").read_text()
    for key, sentence in config.keys().items():
        assert sentence.endswith((".", ".)")), key
        assert f"`{key}`" in page


@pytest.mark.parametrize("path", sorted((ROOT / "fastpath" / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_loads(path: Path) -> None:
    assert config.load(path).train.epochs >= 1


HEAD_THEN_LAYER4 = {
    "optim": {"lr_head": 1e-3},
    "data": {"batch_size": 32, "augment": {"policy": "d4"}},
    "stages": [
        {"epochs": 2, "model": {"trainable": "head"}},
        {"epochs": 3, "data": {"image_size_px": 96, "augment": {"hue": 0.05}}, "optim": {"lr_trunk": 1e-4}},
    ],
}


def test_a_stage_takes_what_it_does_not_give_from_the_run() -> None:
    settings = config.parse(HEAD_THEN_LAYER4)
    first, second = (settings.of_stage(stage) for stage in settings.stages)
    assert settings.train.epochs == 5
    assert (first.model.trainable, second.model.trainable) == ("head", "layer4")
    assert (first.data.image_size_px, second.data.image_size_px, second.data.batch_size) == (224, 96, 32)
    assert (second.optim.lr_head, second.optim.lr_trunk) == (1e-3, 1e-4)
    assert (second.data.augment.policy, second.data.augment.quarter_turns, second.data.augment.hue) == (
        "d4",
        True,
        0.05,
    )
    assert (first.train.epochs, first.stages, first.model.name) == (2, (), settings.model.name)
    assert config.parse(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        (
            {"train": {"epochs": 4}},
            "train.epochs: found 4, wanted 5, the sum of the stages' epochs, or --set stages=[]",
        ),
        ({"stages": [{"epochs": 1, "optim": {"lr": 1}}]}, "unknown key 'stages.0.optim.lr'; did you mean 'optim.lr"),
        ({"stages": [{"model": {}}]}, "'stages.0.epochs' is missing"),
        ({"stages": [{"epochs": 1, "model": {"name": "resnet18"}}]}, "unknown key 'stages.0.model.name'"),
        ({"stages": [{"epochs": 1, "data": {"eval_batch_size": 9}}]}, "unknown key 'stages.0.data.eval_batch_size'"),
        ({"stages": 3}, "stages: found 3"),
        ({"stages": [3]}, "stages.0: found 3"),
        ({"stages": [{"epochs": 1, "optim": 3}]}, "stages.0.optim: found 3"),
        ({"stages": [{"epochs": "x"}]}, "stages.0.epochs: found 'x'"),
    ],
)
def test_a_wrong_stage_is_named(changes: dict[str, object], phrase: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(HEAD_THEN_LAYER4 | changes)
    assert phrase in str(caught.value)


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: Config(seed=-1), "Config: seed: found -1; Input should be greater than or equal to 0"),
        (lambda: Config(data={"batch_size": 0}), "Config: data.batch_size: found 0; "),
        (lambda: Config(dta=DataConfig()), "Config: unknown key 'dta'; did you mean 'data'?"),
        (lambda: DataConfig(batch_size=0), "DataConfig: batch_size: found 0; "),
        (lambda: DataConfig(batchsize=8), "DataConfig: unknown key 'batchsize'; did you mean 'batch_size'?"),
    ],
)
def test_a_table_made_by_name_raises_the_houses_error(make: Callable[[], object], wanted: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        make()
