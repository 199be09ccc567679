"""What a slide's scores and files were made from: whoever finds some knows whether they are worth keeping."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath import __version__
from fastpath.errors import DataError
from fastpath.runs import calibration_file, training_appearance
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.store.format import hash_file
from fastpath.system.files import open_regular
from fastpath.workflows.slide.slide_grid import Grid

_ENDS_BYTES = 1 << 20  # of a slide's file that are hashed at either end: all of it may have gigabytes


def of_logits(trained: TrainedRun, grid: Grid, places_N2: NDArray[np.int64], runtime: Runtime) -> dict[str, Any]:
    """Return what the logits written down so far must be of to be worth anything."""
    facts = grid.slide.path.stat()
    return {
        "checkpoint": hash_file(trained.path, follow=True),
        "slide": [grid.slide.path.name, facts.st_size, facts.st_mtime_ns],
        "precision": runtime.precision,
        "grid": [grid.tile_px, grid.stride_px, grid.scale],
        "cells": [len(places_N2), int(places_N2[:, 0].sum()), int((places_N2[:, 0] * places_N2[:, 1]).sum())],
    }


def of_files(trained: TrainedRun, image: Path, runtime: Runtime, options: Mapping[str, Any]) -> str:
    """Return 16 hex digits that differ where a slide would be scored otherwise, or its files would hold something else.

    No path is among what they are made of, nor a time: a copy of the same files gives the same.

    Args:
        trained: The run.
        image: The slide.
        runtime: Device and precision.
        options: Plain values of `slide.SlideOptions`.

    Raises:
        FastpathError: A file that would be read cannot be.
    """
    lesions: Path | None = options["lesions"]
    beside = (trained.path.parent / name for name in (calibration_file.NAME, training_appearance.NAME))
    read = [trained.path, *beside, *([lesions] if lesions is not None else [])]
    origin = {
        "files": [hash_file(path, follow=True) if path.exists() else "" for path in read],
        "slide": [image.name, *_ends(image)],
        "options": {key: str(value) for key, value in options.items() if key != "lesions"},
        "lesions": lesions and lesions.name,
        "precision": runtime.precision,
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def _ends(path: Path) -> list[str]:
    """Return a file's size and hashes of its beginning and its end."""
    with open_regular(path, follow=True, kind=DataError) as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(_ENDS_BYTES)
        file.seek(max(0, size - _ENDS_BYTES))
        return [str(size), *(hashlib.sha256(part).hexdigest()[:16] for part in (first, file.read(_ENDS_BYTES)))]
