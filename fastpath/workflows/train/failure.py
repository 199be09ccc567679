"""What a run leaves when its loss is not finite: the batch that did it, to be looked at and tried again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastpath.config import Config
from fastpath.data import order
from fastpath.data.augment import draw
from fastpath.engine.guard import NonFiniteLossError
from fastpath.engine.stages import Stage, stage_at
from fastpath.errors import FastpathError, StoreError
from fastpath.runs.run_data import RunData, run_data_of
from fastpath.store.split_table import read_split
from fastpath.system.files import write_durably
from fastpath.text import command_line

FACTS, SETTINGS = "failure.json", "failure.toml"


def record(run_dir: Path, error: NonFiniteLossError, stages: Sequence[Stage], data: RunData) -> FastpathError:
    """Write down the batch of a loss that was not finite; returns the error to end the run with.

    The batch is computed anew from its place: order and augmentation are functions of epoch and position.

    Args:
        run_dir: Where to write.
        error: Says where.
        stages: The run's stages.
        data: What it trains on.
    """
    stage = stage_at(stages, error.epoch)
    config, size = stage.config, len(data.train_rows_N)
    positions = order.step_positions(size, config.data.batch_size, error.step)
    rows_N = data.order(config, error.epoch)[positions.start : positions.stop]
    ids_N = data.patches.ids_N
    drawn = draw.draw_augmentation(config.data.augment, config.data.image_size_px, config.seed, error.epoch, positions)
    # Named as arrays are: the file is for whoever debugs the code.
    shown = {
        f"{name}_N{''.join(map(str, values_N.shape[1:]))}": values_N
        for name, values_N in draw.shown(config.data.augment, drawn).items()
    }
    samples = [
        {
            "position": position,
            "row": int(row),
            "id": str(ids_N[row]),
            "label": int(data.patches.labels_N[row]),
        }
        | {"augmentation": {name: values_N[number].tolist() for name, values_N in shown.items()}}
        for number, (position, row) in enumerate(zip(positions, rows_N, strict=True))
    ]
    fold = _fold(data, config)
    if fold is None:  # divided by something that the store does not keep: its patches can be shown, not its samples
        what = [word for name in dict.fromkeys(map(str, ids_N[rows_N])) for word in ("--ids", name)]
    else:
        place = ["--epoch", str(error.epoch), "--position", str(positions.start), "--count", str(len(positions))]
        what = [*place, *fold, "--config", str(run_dir / SETTINGS)]
    split_file = () if data.store.split_file is None else ("--split-file", data.store.split_file)
    command = command_line("fastpath", "show", data.store, *what, *split_file, "-o", run_dir / "failure")
    facts = {"epoch": error.epoch, "step": error.step, "loss": str(error.loss), "show": command, "samples": samples}
    try:
        write_durably(run_dir / SETTINGS, _toml(config).encode())
        write_durably(run_dir / FACTS, (json.dumps(facts, indent=2) + "\n").encode())
    except FastpathError as full:  # the loss is what ended the run
        problem = f"{error.problem}; its batch is not written down: {full.location} {full.problem}"
        return FastpathError(error.location, problem, error.remedy)
    return FastpathError(
        error.location,
        f"{error.problem}; its batch is in {run_dir / FACTS}",
        f"{error.remedy}; to look at the batch, run: {command}",
    )


def _fold(data: RunData, config: Config) -> tuple[str, ...] | None:
    """Return what tells `fastpath show` the run's division of the store; None where the store does not have it."""
    for option, fold in (((), None), (("--fold", str(data.split.fold)), data.split.fold)):
        with suppress(StoreError):
            if run_data_of(data.store, config, read_split(data.store, fold)).fingerprint == data.fingerprint:
                return option
    return None


def _toml(config: Config) -> str:
    """Return a configuration without stages as TOML: plain values are written as in JSON."""
    lines: list[str] = []

    def write(values: dict[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                write(value, f"{prefix}{key}.")
            elif value is not None and value != []:
                lines.append(f"{prefix}{key} = {json.dumps(value)}")

    write(config.to_dict(), "")
    return "\n".join(lines) + "\n"
