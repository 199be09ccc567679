"""`fastpath models`: which networks there are."""

from __future__ import annotations

import json

import pytest
import timm
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.errors import ConfigError
from fastpath.workflows import models


def test_a_word_finds_names_that_hold_it_and_counts_their_parameters() -> None:
    model_by_name = {model.name: model for model in models.find("resnet18.")}
    assert {"resnet18.tv_in1k", "resnet18.a1_in1k"} <= set(model_by_name)
    wanted = sum(parameter.numel() for parameter in timm.create_model("resnet18", num_classes=1).parameters())
    assert model_by_name["resnet18.tv_in1k"].million_parameters == pytest.approx(wanted / 1e6)
    assert model_by_name["resnet18.tv_in1k"].pretrained
    assert model_by_name["resnet18.tv_in1k"].input_px == 224


def test_of_many_networks_no_parameters_are_counted() -> None:
    assert {model.million_parameters for model in models.find("resnet*")} == {None}


def test_networks_without_weights_are_named_unless_only_others_are_wanted() -> None:
    assert [model.pretrained for model in models.find("resnetblur101d")] == [False]
    with pytest.raises(ConfigError, match="matches no network"):
        models.find("resnetblur101d", pretrained=True)


def test_the_baseline_is_among_them() -> None:
    (baseline,) = models.find("baseline_cnn")
    assert baseline.million_parameters is not None
    assert not baseline.pretrained


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean resnet18"):
        models.find("resnet1888")


def test_json_names_every_field() -> None:
    done = CliRunner().invoke(app, ["models", "tf_efficientnet_lite0", "--json"])
    (model,) = json.loads(done.stdout)["models"]
    assert model["name"] == "tf_efficientnet_lite0.in1k"
    assert set(model) == {"name", "pretrained", "input_px", "million_parameters", "licence"}
