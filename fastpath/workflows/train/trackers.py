"""Views of a run elsewhere: TensorBoard, MLflow. Each hears the events that the journal is written from.

A tracker is made for a run's directory and told of each epoch; it changes nothing of the run. One that was resumed
goes on where it stood: the epochs that are trained again replace what was told of them, or repeat it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpath.engine.checkpoint import flat
from fastpath.engine.journal import epoch_record, timing_record
from fastpath.engine.loop import EpochEvent
from fastpath.errors import FastpathError, UsageError
from fastpath.system.files import write_durably
from fastpath.text import brief

if TYPE_CHECKING:
    from fastpath.config import Config

Tracker = Callable[[int, Mapping[str, float]], None]
"""Told of an epoch: its 1-based number and its values by name, all finite."""

TENSORBOARD, MLFLOW = "tensorboard", "mlflow.json"
_EXPERIMENT = "fastpath"
_LEFT_OUT = ("epoch", "improved", "num_images")


@contextmanager
def listening(
    names: tuple[str, ...], run_dir: Path, config: Config, also: Callable[[Any], None] | None = None
) -> Iterator[Callable[[Any], None]]:
    """Open trackers by name; yields what is told of every event, and closes them however the block ends.

    Nothing is opened before the run has begun, so that a refused one leaves nothing.

    Args:
        names: Of `TRACKERS`.
        run_dir: The run's directory; its name is the run's.
        config: Shown beside the curves.
        also: Told of every event first.

    Raises:
        UsageError: A tracker's package is not installed.
    """
    require(names)
    with ExitStack() as stack:
        opened: list[Tracker] = []

        def tell(event: Any) -> None:  # noqa: ANN401 (a start or any event of training)
            if also is not None:
                also(event)
            if isinstance(event, EpochEvent):
                if not opened:
                    opened.extend(stack.enter_context(TRACKERS[name](run_dir, config, event.epoch)) for name in names)
                values = values_of(event)
                for tracker in opened:
                    tracker(event.epoch, values)

        yield tell


def values_of(event: EpochEvent) -> dict[str, float]:
    """Return what there is to plot of an epoch: the journal's and the timing's numbers, less those that are NaN."""
    record = epoch_record(event) | timing_record(event)
    numbers = {name: value for name, value in record.items() if name not in _LEFT_OUT}
    return {
        name: float(value) for name, value in numbers.items() if isinstance(value, int | float) and math.isfinite(value)
    }


@contextmanager
def tensorboard(run_dir: Path, config: Config, first_epoch: int) -> Iterator[Tracker]:
    """Write event files into the run; epochs from `first_epoch` on that are there already are superseded."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=first_epoch)

    def tell(epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(_title(name), value, epoch)
        writer.flush()

    try:
        settings = json.dumps(config.to_dict(), indent=2)
        writer.add_text("config", f"```\n{settings}\n```", first_epoch)
        yield tell
    finally:
        writer.close()


@contextmanager
def mlflow(run_dir: Path, config: Config, first_epoch: int) -> Iterator[Tracker]:
    """Log to the MLflow server or file that MLFLOW_TRACKING_URI names; a resumed run goes on in its MLflow run."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient()
    note = run_dir / MLFLOW
    if note.exists() and first_epoch > 1:
        run_id = str(json.loads(note.read_text(encoding="utf-8"))["run_id"])
        client.update_run(run_id, status="RUNNING")
    else:
        run_id = _new_mlflow_run(client, run_dir.name)
        write_durably(note, (json.dumps({"run_id": run_id}) + "\n").encode())
        parameters = [Param(name, str(value)) for name, value in flat(config.to_dict()).items()]
        client.log_batch(run_id, params=parameters)

    def tell(epoch: int, values: Mapping[str, float]) -> None:
        now_ms = int(time.time() * 1000)
        client.log_batch(run_id, metrics=[Metric(name, value, now_ms, epoch) for name, value in values.items()])

    try:
        yield tell
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def _new_mlflow_run(client: Any, name: str) -> str:  # noqa: ANN401 (MLflow is not typed here)
    """Make a run in fastpath's experiment."""
    try:
        experiment = client.get_experiment_by_name(_EXPERIMENT)
        number = experiment.experiment_id if experiment else client.create_experiment(_EXPERIMENT)
        return str(client.create_run(number, run_name=name).info.run_id)
    except Exception as error:
        reason = brief(error, 120)
        remedy = "set MLFLOW_TRACKING_URI to a server that answers, or drop --mlflow"
        raise FastpathError("--mlflow", f"cannot make a run ({reason})", remedy) from None


def _title(name: str) -> str:
    """Group curves as TensorBoard does, by what stands before a slash: `val_auc` is `val/auc`."""
    group, _, rest = name.partition("_")
    return f"{group}/{rest}" if group in ("train", "val", "lr") and not name.endswith("_s") else f"speed/{name}"


def require(names: tuple[str, ...]) -> None:
    """See that the packages of some trackers are there.

    Raises:
        UsageError: One is not installed.
    """
    for name in names:
        try:
            if name == "tensorboard":
                import torch.utils.tensorboard  # noqa: F401
            else:
                import mlflow  # noqa: F401
        except ImportError:
            remedy = f"install it with: pip install 'fastpath[{name}]'"
            raise UsageError(f"--{name}", f"the package '{name}' is not installed", remedy) from None


TRACKERS = {"tensorboard": tensorboard, "mlflow": mlflow}
