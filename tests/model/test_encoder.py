from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import tiny_encoder
import torch
from safetensors.torch import save_file

from fastpath.errors import ConfigError
from fastpath.model.encoder import MAP, POOLED, TOKENS, load_encoder, state_hash

IMAGES = torch.randn(3, 3, tiny_encoder.SIZE_PX, tiny_encoder.SIZE_PX, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_folder_is_loaded_as_its_authors_state(tmp_path: Path) -> None:
    encoder = load_encoder(tiny_encoder.write_encoder(tmp_path / "vit"))
    assert (encoder.name, encoder.image_size_px, encoder.num_features) == (
        "local-dir:vit",
        32,
        tiny_encoder.NUM_FEATURES,
    )
    assert (encoder.stats.mean_3, encoder.stats.std_3) == (tiny_encoder.MEAN, tiny_encoder.STD)
    assert (encoder.licence, encoder.pooling) == ("apache-2.0", POOLED)
    assert torch.equal(encoder.network(IMAGES), tiny_encoder.make()(IMAGES))
    assert not encoder.network.training
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())


def test_a_licence_that_is_not_stated_is_not_made_up(tmp_path: Path) -> None:
    assert load_encoder(tiny_encoder.write_encoder(tmp_path / "vit", licence=None)).licence == ""


def test_tokens_become_the_class_token_beside_the_mean_of_the_rest(tmp_path: Path) -> None:
    name = tiny_encoder.write_encoder(tmp_path / "vit", global_pool="", reg_tokens=2)
    encoder, tokens = load_encoder(name), tiny_encoder.make(global_pool="", reg_tokens=2)(IMAGES)
    assert tokens.shape == (3, 1 + 2 + 4, tiny_encoder.NUM_FEATURES)
    assert (encoder.pooling, encoder.num_features) == (TOKENS, 2 * tiny_encoder.NUM_FEATURES)
    torch.testing.assert_close(encoder.network(IMAGES), torch.cat([tokens[:, 0], tokens[:, 3:].mean(1)], 1))


def test_a_map_becomes_its_mean(tmp_path: Path) -> None:
    about = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"architecture": "test_resnet", "model_args": {"global_pool": ""}, "pretrained_cfg": about}
    made = timm.create_model("test_resnet", pretrained=False, num_classes=0, global_pool="").eval()
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(made.state_dict(), tmp_path / "model.safetensors")
    encoder, images = load_encoder(f"local-dir:{tmp_path}"), torch.randn(2, 3, 64, 64)
    assert encoder.pooling == MAP
    torch.testing.assert_close(encoder.network(images), made(images).mean((2, 3)))


def test_a_file_stands_in_for_published_weights_and_its_classifier_is_left_out(tmp_path: Path) -> None:
    made = timm.create_model("test_vit", pretrained=False, num_classes=7).eval()
    torch.save(made.state_dict(), tmp_path / "vit.pth")
    encoder, images = load_encoder("test_vit", tmp_path / "vit.pth"), torch.randn(2, 3, 160, 160)
    wanted = made.forward_head(made.forward_features(images), pre_logits=True)
    torch.testing.assert_close(encoder.network(images), wanted)
    assert encoder.licence == "apache-2.0"


def test_a_hash_tells_values_shapes_and_names() -> None:
    state = {"a": torch.arange(6.0), "b": torch.tensor(3)}
    others = (
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)},
        {"a": torch.arange(6.0), "c": torch.tensor(3)},
        {"a": torch.arange(6.0), "b": torch.tensor(3.0)},
        {"a": torch.arange(6.0).flip(0), "b": torch.tensor(3)},
    )
    assert state_hash(state) == state_hash(dict(reversed(state.items())))
    assert len({state_hash(weights) for weights in (state, *others)}) == 5


REFUSED = {
    "no such model": ("nothing_of_the_kind", "timm cannot make"),
    "no weights published": ("vit_tiny_patch16_224.no_such_tag", "timm"),
    "hub without a network": ("hf-hub:nobody/nothing", "cannot be fetched"),
    "no folder": ("local-dir:{folder}/nowhere", "does not exist"),
    "no configuration": ("local-dir:{folder}/garbage", "is not a model's configuration"),
    "unknown architecture": ("local-dir:{folder}/strange", "which timm has not"),
    "wrong arguments": ("local-dir:{folder}/arguments", "timm cannot make"),
    "no weights": ("local-dir:{folder}/bare", "found none of model.safetensors"),
    "weights of another": ("local-dir:{folder}/other", "do not fit"),
    "another size": ("local-dir:{folder}/size", "does not take its own inputs"),
    "one channel": ("local-dir:{folder}/grey", "wanted three channels"),
    "NaN": ("local-dir:{folder}/spoilt", "NaN"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    for name in ("garbage", "strange", "arguments", "bare", "other", "size", "grey", "spoilt"):
        tiny_encoder.write_encoder(folder / name, **({"in_chans": 1} if name == "grey" else {}))
        config = json.loads((folder / name / "config.json").read_text())
        config["architecture"] = "what\nis" if name == "strange" else config["architecture"]
        config["model_args"] |= {"arguments": {"no_such": 1}, "other": {"depth": 2}}.get(name, {})
        config["pretrained_cfg"] |= {"size": {"input_size": [3, 48, 48]}, "grey": {"input_size": [1, 32, 32]}}.get(
            name, {}
        )
        (folder / name / "config.json").write_text("[" if name == "garbage" else json.dumps(config))
    (folder / "bare" / "model.safetensors").unlink()
    state = tiny_encoder.make().state_dict()
    state["norm.weight"] = torch.full_like(state["norm.weight"], torch.nan)
    save_file(state, folder / "spoilt" / "model.safetensors")
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_encoder_is_one_line(case: str, folders: Path) -> None:
    name, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message) as refused:
        load_encoder(name.format(folder=folders))
    assert str(refused.value).isprintable()
    assert refused.value.remedy
