"""What whoever receives a model should know of it: data, split, measures, intended use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastpath.config import Config
from fastpath.errors import FastpathError
from fastpath.files import read_regular
from fastpath.ingest.split import leak_notice, read_split
from fastpath.types import Split
from fastpath.workflows.trained import TrainedRun

INTENDED_USE = (
    "Research only. Not a medical device, not validated for diagnosis; no decision about a patient may rest on it."
)
MEASURES = ("auc", "average_precision", "accuracy", "brier", "log_loss", "ece", "calibration_slope")
_BYTES_MAX = 1 << 26
UNMEASURED = "none: run 'fastpath evaluate' on the run, then export again"


def files(card: Path) -> tuple[Path, Path]:
    """Return the two files of a card: facts and page."""
    return card.with_name(f"{card.name}.json"), card.with_name(f"{card.name}.md")


def describe(trained: TrainedRun, artefact: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gather what is known of a run.

    Args:
        trained: Its checkpoint.
        artefact: What was exported: plain values.
        measured: From `evaluations`.
    """
    checkpoint, config = trained.checkpoint, trained.config
    kind, notice = _split(trained)
    return {
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
            "split_kind": kind,
            "notice": notice,
            "mean_3": list(checkpoint.mean_3),
            "std_3": list(checkpoint.std_3),
        },
        "training": {
            "epochs": checkpoint.epoch,
            "best_validation_auc": checkpoint.best_auc,
            "seed": config.seed,
            "config_fingerprint": Config.fingerprint(config),
        },
        "evaluations": list(measured),
        "software": dict(checkpoint.software),
    }


def evaluations(run_dir: Path) -> tuple[list[dict[str, Any]], str]:
    """Return the measures of each evaluation in a run's directory: value, and interval where there is one.

    Also what is left out, as a sentence; empty where nothing is.
    """
    found, left_out, trained_on = [], [], []
    for folder in sorted(run_dir.glob("evaluation*")) if run_dir.is_dir() else []:
        try:
            measured = _measured(folder / "metrics.json")
            if _on_trained(measured):
                trained_on.append(folder.name)
            else:
                found.append({"from": folder.name, **measured})
        except (FastpathError, ValueError, TypeError, AttributeError, RecursionError):
            left_out.append(folder.name)
    told = []
    if left_out:
        told.append(f"{', '.join(left_out)}, which has no whole metrics.json: run 'fastpath evaluate' again")
    if trained_on:
        told.append(f"{', '.join(trained_on)}, of patches that were trained on")
    return found, "; ".join(f"the card leaves out {text}" for text in told)


def _on_trained(measured: Mapping[str, Any]) -> bool:
    """Whether patches were trained on that an evaluation is of: no number on them describes a model."""
    return measured.get("split") == Split.TRAIN or bool(measured.get("history", {}).get("num_trained_on"))


def _measured(path: Path) -> dict[str, Any]:
    values = json.loads(read_regular(path, bytes_max=_BYTES_MAX, follow=False))
    nested = {**values, **values.get("intervals", {})}
    measures = {name: _measure(nested[name]) for name in MEASURES if _known(nested.get(name))}
    facts = {key: values[key] for key in ("split", "split_kind", "num_patches", "notices", "history") if key in values}
    return {**facts, "measures": measures}


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
    third = round(patch_px / 3)
    return f"whether the middle {third} by {third} pixels of a {patch_px} by {patch_px} patch hold the second class"


def _split(trained: TrainedRun) -> tuple[str, str]:
    """Return the kind of the split trained on and what makes it optimistic, where the store still tells."""
    try:
        store = trained.open_store()
        table = read_split(store)
    except FastpathError:
        return "unknown", "the store is not at hand"
    if store.fingerprint != trained.checkpoint.store_fingerprint:
        return "unknown", "the store was packed anew since"
    return str(table.kind), leak_notice(store, table) or ""


def markdown(card: Mapping[str, Any]) -> str:
    """Return a card as a page to read."""
    lines = ["# Model card", "", f"**Intended use: {card['intended_use']}**", "", "| | |", "|---|---|"]
    artefact, data, training = card["artefact"], card["data"], card["training"]
    lines += [
        f"| predicts | {card['predicts']} ({' / '.join(card['classes'])}) |",
        f"| network | {card['network']}, input {card['image_size_px']} px |",
        *(f"| {key.replace('_', ' ')} | {value} |" for key, value in artefact.items()),
        f"| data | store {data['store_fingerprint']}, split {data['split_fingerprint']} |",
        f"| split | {data['split_kind']}{'; ' + data['notice'] if data['notice'] else ''} |",
        f"| training | {training['epochs']} epochs, seed {training['seed']}, "
        f"best validation AUC {training['best_validation_auc']:.4f} |",
        f"| software | {', '.join(f'{name} {version}' for name, version in card['software'].items())} |",
        "",
        "## Measured",
        "",
    ]
    if not card["evaluations"]:
        return "\n".join([*lines, UNMEASURED, ""])
    for evaluation in card["evaluations"]:
        lines += [f"{evaluation['from']}: {evaluation.get('num_patches', '?')} patches", ""]
        lines += ["| measure | value | 95 % interval |", "|---|---|---|"]
        for name, measure in evaluation["measures"].items():
            interval = f"{measure['low']:.4f} to {measure['high']:.4f}" if "low" in measure else "not given"
            lines.append(f"| {name.replace('_', ' ')} | {measure['value']:.4f} | {interval} |")
        lines += ["", *(f"- {text}" for text in evaluation.get("notices", [])), ""]
    return "\n".join(lines)
