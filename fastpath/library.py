"""The library's doors that need a whole command behind them: pack, train, and a trained run to score with.

Each calls what the command of its name calls, so files and numbers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fastpath.analysis import metrics
from fastpath.analysis.calibration import Calibrator
from fastpath.analysis.combine import combine
from fastpath.config import Config
from fastpath.errors import DataError
from fastpath.ingest.stain import Normalise, normaliser
from fastpath.runs import calibration_file, trained
from fastpath.runs.score_views import score_views
from fastpath.runs.trained import CheckpointName, TrainedRun
from fastpath.runtime import Runtime, resolve
from fastpath.store.reader import Store, open_store
from fastpath.types import Samples, Tta
from fastpath.workflows.pack import PackOptions, pack_source
from fastpath.workflows.train.train import train_run

AnyPath = str | PathLike[str]


def pack(source: AnyPath, output: AnyPath, options: PackOptions | None = None, *, overwrite: bool = False) -> Store:
    """Pack patches once, as `fastpath pack` does, and return the store.

    Args:
        source: A folder of patches, in the Kaggle layout or not.
        output: The store to write.
        options: What decides its content; None takes the command's defaults.
        overwrite: Replace a store that is there.

    Raises:
        UsageError: Source, tables, patches or target are not as they should be.
        FastpathError: The disk is full, or a worker died.
    """
    pack_source(Path(source), Path(output), options, overwrite=overwrite)
    return open_store(Path(output))


def train(
    store: Store | AnyPath,
    output: AnyPath,
    config: Config | None = None,
    runtime: Runtime | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
) -> Run:
    """Train on a store's training split, as `fastpath train` does, and return the run.

    Args:
        store: A packed store with a split, or its path.
        output: The run's directory; must not hold a run, unless resuming.
        config: Everything that decides the result; None is the defaults.
        runtime: Device and precision; None decides by `device`, in float32.
        resume: Go on from the directory's `last.pt`.
        device: `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:1`; read where no runtime is given.

    Raises:
        UsageError: The store, configuration or directory is not what it should be.
    """
    path = store.path if isinstance(store, Store) else Path(store)
    train_run(path, Path(output), config or Config(), runtime or resolve(device), resume=resume)
    return open_run(output)


def open_run(run: AnyPath, checkpoint: CheckpointName = "best") -> Run:
    """Open a trained run: its directory, or a checkpoint's file, which may lie alone.

    Args:
        run: What `fastpath train -o` wrote.
        checkpoint: The weights of the epoch with the best validation AUC, or of the last.

    Raises:
        UsageError: The directory is not a run's.
        CheckpointError: The checkpoint is missing or damaged.
    """
    return Run(trained.open_run(Path(run), checkpoint))


@dataclass(frozen=True, slots=True)
class Run:
    """A trained run, ready to score with.

    Attributes:
        trained: Its checkpoint, configuration and normalisation.
    """

    trained: TrainedRun

    @property
    def config(self) -> Config:
        """What the run was trained with."""
        return self.trained.config

    @property
    def calibration(self) -> Calibrator:
        """The calibration of patches scored as they are, from `fastpath evaluate`; the identity where there is none."""
        return calibration_file.load(self.trained.path, "none", "logits").calibrator

    def open_store(self) -> Store:
        """Open the store that the run was trained on, divided as it was.

        Raises:
            UsageError: It is not known where that lies.
            StoreError: It is there no more.
        """
        return self.trained.open_store()

    def network(self) -> nn.Module:
        """Return the network on the CPU, in evaluation mode: normalised float32 [N, 3, H, W] to logits [N].

        Its `state_dict` has timm's own names below `trunk.`; `fastpath export --format timm` writes them alone.
        """
        return self.trained.network()

    def score(
        self, samples: Samples, *, tta: Tta = "none", runtime: Runtime | None = None, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Return logits of samples in their order, float32 [N], not calibrated.

        Args:
            samples: From `Store.split`; normalised as the run's training patches were, whatever their own statistics.
            tta: `d4` takes the mean logit of the eight views of the square.
            runtime: Device and precision; None decides by `device`.
            device: As in `train`.

        Raises:
            DataError: Another patch size or stain than was trained on, or a logit is not finite.
        """
        views_NV = score_views(self.trained, samples.patches, samples.rows_N, runtime or resolve(device), tta)
        return combine(views_NV).astype(np.float32)

    def predict(
        self, images_NHWC: NDArray[np.uint8], *, runtime: Runtime | None = None, device: str = "auto"
    ) -> NDArray[np.float64]:
        """Return the probability of tumour of each image, float64 [N], calibrated where the run is.

        Args:
            images_NHWC: uint8 [N, P, P, 3], RGB, of the size and magnification of the patches trained on; their stains
                are normalised where those were.
            runtime: Device and precision; None decides by `device`.
            device: As in `train`.

        Raises:
            DataError: Other than such images, or of another size.
        """
        normalise = normaliser(self.trained.checkpoint.stain, self.trained.path)
        patches = _Images(_checked(images_NHWC), normalise)
        samples = Samples(patches, np.arange(len(patches.images_NHWC)), self.trained.stats)
        logits_N = self.score(samples, runtime=runtime, device=device)
        return metrics.probabilities(self.calibration.apply(logits_N))


@dataclass(frozen=True, slots=True, eq=False)
class _Images:
    """Images in memory, as patches; their stains normalised as those of the network's patches were."""

    images_NHWC: NDArray[np.uint8]
    normalise: Normalise

    @property
    def labels_N(self) -> NDArray[np.int8]:
        return np.full(len(self.images_NHWC), -1, np.int8)

    @property
    def patch_size_px(self) -> int:
        return int(self.images_NHWC.shape[1])

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        if out_NHWC is None:
            out_NHWC = np.empty((len(indices_N), *self.images_NHWC.shape[1:]), np.uint8)
        for place, index in enumerate(indices_N):
            out_NHWC[place] = self.normalise(self.images_NHWC[index])
        return out_NHWC


def _checked(images_NHWC: Any) -> NDArray[np.uint8]:  # noqa: ANN401 (whatever was given)
    images = np.asarray(images_NHWC)
    shape = images.shape
    if images.dtype != np.uint8 or images.ndim != 4 or shape[3] != 3 or shape[1] != shape[2]:
        problem = f"found {images.dtype} {list(shape)}, wanted uint8 [N, P, P, 3]"
        raise DataError("images", problem, "give square RGB images of bytes, channels last")
    checked: NDArray[np.uint8] = images
    return checked
