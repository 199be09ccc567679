"""Curves and settings in Weights & Biases; with WANDB_MODE=offline in files of the run, for `wandb sync`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpath.engine.checkpoint import flat
from fastpath.errors import FastpathError, UsageError
from fastpath.system.files import write_durably
from fastpath.text import brief
from fastpath.workflows.train.tensorboard_tracker import title

if TYPE_CHECKING:
    from fastpath.config import Config

NOTE, FOLDER = "wandb.json", "wandb"
PROJECT = "fastpath"
_REMEDY = "run 'wandb login', or set WANDB_MODE=offline, or drop --wandb"


class Wandb:
    """A run of the project that WANDB_PROJECT names, `fastpath` without it; a resumed training goes on in its run.

    Args:
        run: W&B's, begun.
    """

    @staticmethod
    def check() -> None:
        """See that W&B lets a run begin: at once where it is offline, by its key where it is not.

        Raises:
            UsageError: There is no key.
            FastpathError: The server does not answer, or refuses the key.
        """
        import wandb

        if wandb.setup().settings.mode in ("offline", "dryrun", "disabled"):
            return
        try:
            known = wandb.login()
        except wandb.errors.Error as error:
            raise FastpathError("--wandb", f"W&B does not let a run begin ({brief(error, 160)})", _REMEDY) from None
        if not known:
            raise UsageError("--wandb", "W&B knows no key of yours", _REMEDY)

    @classmethod
    def open(cls, run_dir: Path, config: Config, first_epoch: int) -> Wandb:
        """Make a run, or go on with the one that the run's directory names."""
        import wandb

        settings = wandb.setup().settings
        run = wandb.init(
            project=settings.project or PROJECT,
            name=run_dir.name,
            dir=run_dir,
            id=_run_id(run_dir / NOTE),
            resume="allow",
            config=flat(config.to_dict()),
            allow_val_change=True,
            reinit="finish_previous",
            settings=wandb.Settings(console="off"),  # it would stand between the progress bar and the terminal
        )
        run.config.update({"first_epoch": first_epoch}, allow_val_change=True)
        # W&B's own counter of steps takes no step twice, which epochs that are trained again are.
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return cls(run)

    def __init__(self, run: Any) -> None:  # noqa: ANN401 (W&B may not be installed where this is checked)
        self._run = run

    def tell(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch's values; see `Tracker`."""
        self._run.log({"epoch": epoch} | {title(name): value for name, value in values.items()})

    def close(self, *, failed: bool) -> None:
        """Give the run its status and wait until it is written or sent; see `Tracker`."""
        self._run.finish(exit_code=int(failed))


def _run_id(note: Path) -> str:
    """Return the id that the run's directory keeps, made where there is none."""
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, TypeError, KeyError):
        run_id = uuid.uuid4().hex[:8]
        write_durably(note, (json.dumps({"run_id": run_id}) + "\n").encode())
        return run_id
