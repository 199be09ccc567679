"""Attribution maps of a run's patches, and how much of them lies in the centre: learned, and by mere build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastpath.model import attribution
from fastpath.model.attribution import Method
from fastpath.model.registry import build
from fastpath.runs.inference import all_logits
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.store.reader import Store
from fastpath.types import Batch

Maps = dict[Method, NDArray[np.float32]]
UNTRAINED_NETWORKS, UNTRAINED_PATCHES = 3, 16
"""What the reference of untrained networks is a mean over: single networks differ more than patches do."""


@dataclass(frozen=True, slots=True)
class CentreMass:
    """How much of the maps of one method lies in the middle third by middle third.

    Attributes:
        mean: Over patches.
        median: Over patches.
        num_undefined: Patches whose map is zero everywhere, left out of both.
    """

    mean: float
    median: float
    num_undefined: int


def explain_rows(
    trained: TrainedRun,
    model: nn.Module,
    store: Store,
    rows_N: NDArray[np.int64],
    methods: Sequence[Method],
    runtime: Runtime,
) -> tuple[Maps, NDArray[np.float64]]:
    """Return the maps of these rows by method, float32 [N, H, W], and their logits float64 [N]."""
    maps: dict[Method, list[NDArray[np.float32]]] = {method: [] for method in methods}

    def attribute(batch: Batch) -> None:
        for method in methods:
            maps[method].append(attribution.attribute(model, batch.images_NCHW, method))

    logits_N = all_logits(trained, model, store, rows_N, runtime, each=attribute)
    return {method: np.concatenate(parts) for method, parts in maps.items()}, logits_N.astype(np.float64)


def untrained_masses(
    trained: TrainedRun, store: Store, rows_N: NDArray[np.int64], methods: Sequence[Method], runtime: Runtime
) -> dict[str, CentreMass]:
    """Return the centre mass of networks of the run's build with random weights, on some of the same patches.

    An even map is not what a method gives where nothing was learned: borders are padded, so the middle counts for more
    in most networks (the sanity check of Adebayo et al., NeurIPS 2018).

    Args:
        trained: The run.
        store: What is explained.
        rows_N: int64, its rows; the first `UNTRAINED_PATCHES` of an even spread are taken.
        methods: Ways to attribute.
        runtime: Device and precision.
    """
    some_N = rows_N[np.unique(np.linspace(0, len(rows_N) - 1, UNTRAINED_PATCHES).astype(np.int64))]
    by_method: dict[str, list[NDArray[np.float64]]] = {method: [] for method in methods}
    for network in _untrained(trained):
        maps, _ = explain_rows(trained, runtime.prepare(network), store, some_N, methods, runtime)
        for method, maps_NHW in maps.items():
            by_method[method].append(attribution.centre_mass(maps_NHW))
    return {method: summary(np.concatenate(masses)) for method, masses in by_method.items()}


def _untrained(trained: TrainedRun) -> Iterator[nn.Module]:
    config = trained.config.model.model_copy(update={"pretrained": False, "weights": None})
    for number in range(UNTRAINED_NETWORKS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            network = build(config, trained.config.data.image_size_px)
        yield network.eval()


def summary(mass_N: NDArray[np.float64]) -> CentreMass:
    """Return what masses of single patches come to."""
    defined = mass_N[np.isfinite(mass_N)]
    mean, median = (float(np.mean(defined)), float(np.median(defined))) if len(defined) else (float("nan"),) * 2
    return CentreMass(mean, median, int(len(mass_N) - len(defined)))
