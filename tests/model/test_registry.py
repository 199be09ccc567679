from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError
from fastpath.model import registry
from fastpath.model.registry import build, restore


def config(name: str = "resnet10t", **values: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": name, "pretrained": False, "trainable": "all"} | values)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet10t", 32), ("baseline_cnn", 24), ("test_vit", 48), ("test_efficientnet", 33)]
)
def test_emits_one_logit_a_patch(name: str, size: int) -> None:
    model = build(config(name), size)
    assert model.training
    assert model(torch.randn(2, 3, size, size)).shape == (2,)
    assert model.eval()(torch.randn(1, 3, size, size)).shape == (1,)


def test_initial_weights_follow_the_global_seed() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(config("baseline_cnn"), 16).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_loads_local_imagenet_weights_without_their_classifier(tmp_path: Path, suffix: str) -> None:
    published = timm.create_model("resnet10t", num_classes=1000).state_dict()
    # Old files have no batch counters.
    published = {key: value for key, value in published.items() if "num_batches" not in key}
    path = tmp_path / f"weights{suffix}"
    save_file(published, path) if suffix == ".safetensors" else torch.save({"state_dict": published}, path)
    model = build(config(weights=str(path)), 32)
    own = model.trunk.state_dict()
    assert own["fc.weight"].shape == (1, 512)
    assert all(torch.equal(own[key], value) for key, value in published.items() if not key.startswith("fc."))


def test_a_classifier_of_another_name_is_dropped_too(tmp_path: Path) -> None:
    published = timm.create_model("test_efficientnet", num_classes=10).state_dict()
    published["fc.weight"], published["fc.bias"] = published.pop("classifier.weight"), published.pop("classifier.bias")
    torch.save(published, tmp_path / "weights.pth")
    build(config("test_efficientnet", weights=str(tmp_path / "weights.pth")), 32)


def test_weights_of_another_network_are_refused_by_name_and_shape(tmp_path: Path) -> None:
    state = timm.create_model("resnet10t", num_classes=1).state_dict()
    del state["layer1.0.conv1.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["layer2.0.conv1.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ConfigError) as caught:
        build(config(weights=str(tmp_path / "weights.pth")), 32)
    text = str(caught.value)
    assert "1 missing (layer1.0.conv1.weight …), 1 unknown (extra.weight …)" in text
    assert "1 of another shape (layer2.0.conv1.weight: found (3, 3), wanted (128, 64, 3, 3))" in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [b"", b"not weights", None])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.pth"
    if content is None:
        torch.save({"epoch": 3}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a plain table of tensors"):
        build(config(weights=str(path)), 32)
    with pytest.raises(ConfigError, match="does not exist"):
        build(config(weights=str(tmp_path / "none.pth")), 32)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Path("x")}, tmp_path / "weights.pth")
    with pytest.raises(ConfigError, match="needs code to load"):
        build(config(weights=str(tmp_path / "weights.pth")), 32)


def test_published_weights_that_cannot_be_fetched_point_to_a_local_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_kwargs: object) -> None:
        raise FileNotFoundError("An error happened while trying to locate the file on the Hub\nand more")

    monkeypatch.setattr(registry.published_weights, "check", lambda _name: None)  # which was answered
    monkeypatch.setattr(registry.timm, "create_model", offline)
    with pytest.raises(ConfigError, match=r"cannot be fetched.*model\.weights=FILE.*model\.pretrained=false"):
        build(config("resnet10t", pretrained=True), 32)


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"timm cannot make 'resnet5': Unknown model"):
        build(config("resnet5"), 32)
    with pytest.raises(ConfigError, match="Invalid pretrained tag"):
        build(config("resnet50.nope"), 32)


def test_the_baseline_has_no_published_weights() -> None:
    with pytest.raises(ConfigError, match="baseline_cnn has no published weights"):
        build(ModelConfig(name="baseline_cnn", trainable="all"), 32)


def test_restore_reads_no_weights_but_the_checkpoints(tmp_path: Path) -> None:
    trained = build(config("baseline_cnn"), 16)
    asked = config("baseline_cnn", pretrained=True, weights=str(tmp_path / "gone.pth"))
    restored = restore(asked, 16, trained.state_dict(), "best.pt")
    assert all(torch.equal(value, restored.state_dict()[key]) for key, value in trained.state_dict().items())
    with pytest.raises(ConfigError, match=r"best\.pt: the weights do not fit"):
        restore(asked, 24, trained.state_dict(), "best.pt")


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "test_vit", "baseline_cnn"])
def test_the_new_head_starts_small_in_every_network(name: str) -> None:
    torch.manual_seed(0)
    head = build(config(name), 32 if name != "test_vit" else 48).heads[0]
    assert isinstance(head, torch.nn.Linear)
    bound = head.in_features**-0.5
    assert 0.5 * bound < head.weight.abs().max() <= bound
