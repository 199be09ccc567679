"""What whoever receives a model should know of it: data, split, measures, intended use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastpath.analysis.measures import TILES
from fastpath.config import Config
from fastpath.errors import FastpathError
from fastpath.runs import run_choices
from fastpath.runs.trained import TrainedRun
from fastpath.system.files import read_regular
from fastpath.types import CENTRE, Split
from fastpath.workflows.export import model_card_data, model_card_items

INTENDED_USE = (
    "Research only. Not a medical device, not validated for diagnosis; no decision about a patient may rest on it."
)
MEASURES = ("accuracy", *(measure.name for measure in TILES))
_BYTES_MAX = 1 << 26
WORST_SLIDES = 5
WORST_SUBGROUPS = 3


def files(card: Path) -> tuple[Path, Path]:
    """Return the two files of a card: facts and page."""
    return card.with_name(f"{card.name}.json"), card.with_name(f"{card.name}.md")


def describe(
    trained: TrainedRun,
    artefact: Mapping[str, Any],
    measured: Sequence[Mapping[str, Any]],
    fitted_on: Split | None = None,
) -> dict[str, Any]:
    """Gather what is known of a run.

    Args:
        trained: Its checkpoint.
        artefact: What was exported: plain values.
        measured: From `evaluations`.
        fitted_on: The part of the store that the calibration within was fitted on; None where there is none.
    """
    checkpoint, config = trained.checkpoint, trained.config
    result = model_card_data.population(trained)
    card: dict[str, Any] = {
        "intended_use": INTENDED_USE,
        "predicts": _prediction(checkpoint.patch_size_px),
        "classes": list(checkpoint.classes),
        "artefact": dict(artefact),
        "network": config.model.name,
        "image_size_px": config.data.image_size_px,
        "patch_size_px": checkpoint.patch_size_px,
        "data": {
            "store_fingerprint": checkpoint.store_fingerprint,
            "split_fingerprint": checkpoint.split_fingerprint,
            "split_kind": result.get("split_kind", "unknown"),
            "notice": result.get("unknown", result.get("leak", "")),
            "mean_3": list(checkpoint.mean_3),
            "std_3": list(checkpoint.std_3),
            "stain_normalisation": checkpoint.stain,
        },
        "population": result,
        "label_definition": model_card_data.label_definition(result, checkpoint.patch_size_px),
        "selection": model_card_data.selection(trained, fitted_on),
        "training": {
            "epochs": run_choices.epochs_trained(trained),
            "epoch_of_weights": checkpoint.epoch,
            "pretrained": config.model.pretrained,
            "sampling": config.data.sampling,
            "best_validation_auc": checkpoint.best_auc,
            "seed": config.seed,
            "config_fingerprint": Config.fingerprint(config),
        },
        "evaluations": list(measured),
        "software": dict(checkpoint.software),
    }
    return card | {"reporting": model_card_items.checklist(card)}


def evaluations(run_dir: Path, epoch: int | None = None) -> tuple[list[dict[str, Any]], str]:
    """Return the measures of each evaluation in a run's directory: value, and interval where there is one.

    Also what is left out, as a sentence; empty where nothing is.

    Args:
        run_dir: The run.
        epoch: The epoch of the weights that the card is of; None takes evaluations of any.
    """
    reports, left_out, trained_on, of_others = [], [], [], []
    for folder in sorted([*run_dir.glob("evaluation*"), *run_dir.glob("external-*")]) if run_dir.is_dir() else []:
        try:
            measured = _measured(folder / "metrics.json")
            if _on_trained(measured):
                trained_on.append(folder.name)
            elif epoch is not None and measured.get("epoch", epoch) != epoch:
                of_others.append(folder.name)
            else:
                reports.append({"from": folder.name, **measured})
        except (FastpathError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            left_out.append(folder.name)
    notices = []
    if left_out:
        notices.append(f"{', '.join(left_out)}, which has no whole metrics.json: run 'fastpath evaluate' again")
    if trained_on:
        notices.append(f"{', '.join(trained_on)}, of patches that were trained on")
    if of_others:
        notices.append(f"{', '.join(of_others)}, of the weights of another epoch")
    return reports, "; ".join(f"the card leaves out {text}" for text in notices)


def _on_trained(measured: Mapping[str, Any]) -> bool:
    """Whether patches were trained on that an evaluation is of: no number on them describes a model."""
    return measured.get("split") == Split.TRAIN or bool(measured.get("history", {}).get("num_trained_on"))


def _measured(path: Path) -> dict[str, Any]:
    values = json.loads(read_regular(path, bytes_max=_BYTES_MAX, follow=False))
    nested = {**values, **values.get("intervals", {})}
    measures = {name: _measure(nested[name]) for name in MEASURES if _known(nested.get(name))}
    kept = [*("split", "split_kind", "checkpoint", "epoch", "tta_views", "num_patches", "num_positive", "notices")]
    kept += ["history", "resampling", "external"]
    return {
        **{key: values[key] for key in kept if key in values},
        "held": values.get("parts", {}).get("held"),
        "measures": measures,
        "thresholds": [_threshold(point) for point in values.get("operating_points", [])],
        "subgroups": _subgroups(values.get("subgroups")),
        "failures": _failures(values, gallery=path.with_name("gallery.csv").is_file()),
        "cautions": [verdict["text"] for verdict in values.get("verdicts", []) if verdict["caution"]],
    }


def _threshold(point: Mapping[str, Any]) -> dict[str, Any]:
    measures = {name: dict(point[name]) for name in ("sensitivity", "specificity")}
    return {"name": str(point["name"]), "probability": float(point["probability"]), **measures}


def _subgroups(subgroups: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the subgroups with the lowest AUC, of those that are large enough to tell it."""
    reliable = [
        subgroup
        for subgroup in (subgroups or {}).get("groups", [])
        if not subgroup["warnings"] and _known(subgroup["auc"])
    ]
    kept = ("variable", "value", "num_patches", "below_whole")
    return [
        {**{name: subgroup[name] for name in kept}, "auc": _measure(subgroup["auc"])}
        for subgroup in reliable[:WORST_SUBGROUPS]
    ]


def _failures(values: Mapping[str, Any], *, gallery: bool) -> dict[str, Any]:
    """Return what went wrong at one threshold, and on which slides most; empty where an evaluation does not tell."""
    counts = values.get("confusion")
    if not counts:
        return {}
    slides = [
        {**slide, "num_wrong": slide["false_positive"] + slide["false_negative"]} for slide in values.get("slides", [])
    ]
    worst = sorted((slide for slide in slides if slide["num_wrong"]), key=lambda value: -value["num_wrong"])[
        :WORST_SLIDES
    ]
    return {
        "threshold": values["threshold"],
        "false_negative": counts["false_negative"],
        "num_tumour": counts["false_negative"] + counts["true_positive"],
        "false_positive": counts["false_positive"],
        "num_normal": counts["false_positive"] + counts["true_negative"],
        "worst_slides": [{name: each[name] for name in ("slide", "num_patches", "num_wrong")} for each in worst],
        "gallery": gallery,
    }


def _known(value: Any) -> bool:  # noqa: ANN401 (JSON)
    """Whether a measure has a value: undefined ones are null."""
    return isinstance(value.get("value") if isinstance(value, Mapping) else value, int | float)


def _measure(value: Any) -> dict[str, float]:  # noqa: ANN401 (JSON)
    """Return value, low and high of a number or of a measure with its interval."""
    if not isinstance(value, Mapping):
        return {"value": float(value)}
    known = {key: float(value[key]) for key in ("value", "low", "high") if isinstance(value.get(key), int | float)}
    return known if {"low", "high"} <= known.keys() else {"value": known["value"]}


def _prediction(patch_px: int) -> str:
    middle = CENTRE.pixels(patch_px)
    num = middle.stop - middle.start
    return f"whether the middle {num} by {num} pixels of a {patch_px} by {patch_px} patch hold the second class"
