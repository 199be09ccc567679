"""A run as a folder in the Hugging Face layout that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fastpath.errors import ConfigError, UsageError
from fastpath.model.registry import BASELINE
from fastpath.runs import output_place
from fastpath.runs.trained import TrainedRun
from fastpath.system.files import read_regular

CONFIG, WEIGHTS, README, CARD = "config.json", "model.safetensors", "README.md", "card.json"
_OWN = "fastpath"  # the section of config.json that is ours; timm passes over it
_FROM_NETWORK = ("fixed_input_size", "min_input_size", "pool_size", "first_conv", "classifier")
_BYTES_MAX = 1 << 20


def check_place(folder: Path, inputs: tuple[Path | None, ...]) -> None:
    """Refuse a folder that holds anything but an earlier export: a README.md may be a project's own.

    Raises:
        UsageError: Naming what was found.
    """
    output_place.check_directory(folder, CONFIG, inputs)
    if folder.is_dir() and any(folder.iterdir()) and not _is_export(folder / CONFIG):
        problem = "found a directory with other files in it, wanted a new one or an earlier export's"
        raise UsageError(folder, problem, "choose another -o")


def check_network(trained: TrainedRun) -> None:
    """Refuse a network that timm does not make.

    Raises:
        UsageError: It is the baseline.
    """
    if trained.config.model.name == BASELINE:
        problem = f"is of {BASELINE}, which timm does not know"
        raise UsageError(trained.path, problem, "give a name that ends in .safetensors, .onnx, .pt2 or .ts")


def config(trained: TrainedRun, trunk: nn.Module, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what config.json holds: how timm makes the network, and how it is fed.

    Args:
        trained: The run.
        trunk: Its network, as timm made it.
        facts: What there is to know beside it, for the section that timm passes over.
    """
    known, side = dict(trunk.pretrained_cfg), trained.config.data.image_size_px  # type: ignore[arg-type]
    arguments = {**getattr(trunk, "_model_args", {})}  # of an encoder that came from the hub with its own
    arguments = {name: value for name, value in arguments.items() if name != "num_classes" and _plain(value)}
    if known.get("fixed_input_size"):
        arguments["img_size"] = side
    fed = {
        "input_size": [3, side, side],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": list(trained.stats.mean_3),
        "std": list(trained.stats.std_3),
        "num_classes": 1,
        "custom_load": False,
    }
    kept = {name: known[name] for name in _FROM_NETWORK if known.get(name) is not None}
    return {
        "architecture": known["architecture"],
        "num_classes": 1,
        "num_features": getattr(trunk, "num_features", None),
        "label_names": [trained.checkpoint.classes[1]],
        **({"model_args": arguments} if arguments else {}),
        "pretrained_cfg": {**kept, **fed},
        _OWN: dict(facts),
    }


def network(values: Mapping[str, Any]) -> nn.Module:
    """Return a new network as timm makes it of config.json, without its weights.

    Raises:
        ConfigError: timm does not make it of these values.
    """
    import timm

    try:
        made: nn.Module = timm.create_model(values["architecture"], num_classes=1, **values.get("model_args", {}))
    except Exception as error:  # a network's own code raises whatever it likes
        problem = f"timm does not make '{values['architecture']}' of what config.json says ({type(error).__name__})"
        raise ConfigError("model.name", problem, "export to another format") from None
    return made


def readme(card: str, values: Mapping[str, Any], trunk: nn.Module) -> str:
    """Return the model card for the hub: its front matter, how the model is used, and the card of every export."""
    base = dict(trunk.pretrained_cfg)  # type: ignore[arg-type]
    started = values[_OWN]["pretrained"]
    front = ["library_name: timm", "pipeline_tag: image-classification", "tags: [timm, histopathology, fastpath]"]
    if started and base.get("hf_hub_id"):
        front.append(f"base_model: {str(base['hf_hub_id']).rstrip('/')}")
    if started and base.get("license"):
        front.append(f"license: {base['license']}")
    return "\n".join(("---", *front, "---", "", *_usage(values), "", card))


def _usage(values: Mapping[str, Any]) -> list[str]:
    own, fed = values[_OWN], values["pretrained_cfg"]
    return [
        "```python",
        "import timm, torch",
        "from PIL import Image",
        "",
        'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # timm 1.0.16 or later',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
        'logit = model(transform(Image.open("patch.tif").convert("RGB"))[None])[0, 0]',
        "```",
        "",
        f"Patches of {own['patch_size_px']} px, resized to {fed['input_size'][1]} px. The one output is the logit of"
        f" '{values['label_names'][0]}', before calibration: {own['calibration_note']}.",
    ]


def _plain(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return value is not None


def _is_export(path: Path) -> bool:
    try:
        return _OWN in json.loads(read_regular(path, bytes_max=_BYTES_MAX, follow=False))
    except Exception:  # whatever else lies there is not ours
        return False
