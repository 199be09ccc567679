"""Curves as TensorBoard's event files, in the run's own directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastpath.config import Config

TENSORBOARD = "tensorboard"


def title(name: str) -> str:
    """Group curves as TensorBoard and W&B do, by what stands before a slash: `val_auc` is `val/auc`."""
    group, _, rest = name.partition("_")
    return f"{group}/{rest}" if group in ("train", "val", "lr") and not name.endswith("_s") else f"speed/{name}"


class TensorBoard:
    """Event files in the run; epochs from the first on that are there already are superseded."""

    @staticmethod
    def check() -> None:
        """See that the package is there."""
        import torch.utils.tensorboard  # noqa: F401

    @classmethod
    def open(cls, run_dir: Path, config: Config, first_epoch: int) -> TensorBoard:
        """Begin a file beside those of earlier parts of the run."""
        return cls(run_dir, config, first_epoch)

    def __init__(self, run_dir: Path, config: Config, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=first_epoch)
        settings = json.dumps(config.to_dict(), indent=2)
        self._writer.add_text("config", f"```\n{settings}\n```", first_epoch)

    def tell(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write an epoch's values; see `Tracker`."""
        for name, value in values.items():
            self._writer.add_scalar(title(name), value, epoch)
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Close the file; see `Tracker`."""
        self._writer.close()
