"""Curves and settings in MLflow: on the server or in the database that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpath.engine.checkpoint import flat
from fastpath.errors import FastpathError, UsageError
from fastpath.system.files import write_durably
from fastpath.text import brief
from fastpath.urls import redacted

if TYPE_CHECKING:
    from fastpath.config import Config

MLFLOW = "mlflow.json"
EXPERIMENT = "fastpath"
# MLflow's own seven retries double their pause and come to four minutes, in which nothing would be trained.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_SERVER = "start one with 'mlflow server', or name one that answers in MLFLOW_TRACKING_URI, or drop --mlflow"


class Mlflow:
    """A run of MLflow's experiment `fastpath`; a resumed training goes on in its run, be it of other settings.

    Args:
        client: MLflow's.
        run_id: Of a run that is there.
    """

    @staticmethod
    def check() -> None:
        """See that runs can be made where MLflow is pointed at, by making the experiment where it is not there.

        Raises:
            UsageError: It is pointed at something that this installation of MLflow does not write to.
            FastpathError: It does not answer, or refuses.
        """
        from mlflow import MlflowClient, get_tracking_uri
        from mlflow.exceptions import MlflowException

        try:
            _experiment(MlflowClient())
        except Exception as error:
            uri, reason = get_tracking_uri(), redacted(brief(error, 240), foreign=True)
            problem = f"MLflow cannot write to {redacted(uri)} ({reason})"
            if isinstance(error, MlflowException | ImportError) and not uri.startswith("http"):
                raise UsageError("--mlflow", problem, _SERVER) from None
            raise FastpathError("--mlflow", problem, _SERVER) from None

    @classmethod
    def open(cls, run_dir: Path, config: Config, first_epoch: int) -> Mlflow:
        """Make a run, or go on with the one that the run's directory names, where the server still has it."""
        client, note = _client(), run_dir / MLFLOW
        settings = {name: str(value) for name, value in flat(config.to_dict()).items()}
        with _patience():
            run = _standing(client, note)
            if run is None:
                run = client.create_run(_experiment(client), run_name=run_dir.name)
                write_durably(note, (json.dumps({"run_id": run.info.run_id}) + "\n").encode())
            else:
                client.update_run(run.info.run_id, status="RUNNING")
            _log_settings(client, run, settings, first_epoch)
        return cls(client, run.info.run_id)

    def __init__(self, client: Any, run_id: str) -> None:  # noqa: ANN401 (MLflow is not typed here)
        self._client, self._run_id = client, run_id

    def tell(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log an epoch's values; see `Tracker`."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        with _patience():
            self._client.log_batch(
                self._run_id, metrics=[Metric(name, value, now_ms, epoch) for name, value in values.items()]
            )

    def close(self, *, failed: bool) -> None:
        """Give the run its status; see `Tracker`."""
        with _patience():
            self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")


def _client() -> Any:  # noqa: ANN401
    from mlflow import MlflowClient

    return MlflowClient()


def _experiment(client: Any) -> str:  # noqa: ANN401
    """Return the number of fastpath's experiment, made where it is not there."""
    with _patience():
        experiment = client.get_experiment_by_name(EXPERIMENT)
        return str(experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT))


def _standing(client: Any, note: Path) -> Any:  # noqa: ANN401
    """Return the run that a training before this one told, None where there was none or it is gone."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(str(json.loads(note.read_text(encoding="utf-8"))["run_id"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if run.info.lifecycle_stage == "active" else None


def _log_settings(client: Any, run: Any, settings: Mapping[str, str], first_epoch: int) -> None:  # noqa: ANN401
    """Log settings; those that a resumed training changed as tags, since MLflow lets no parameter change."""
    from mlflow.entities import Param, RunTag

    known = run.data.params
    new = [Param(name, value) for name, value in settings.items() if name not in known]
    changed = {name: value for name, value in settings.items() if known.get(name, value) != value}
    tags = [RunTag(f"from_epoch_{first_epoch}.{name}", value) for name, value in changed.items()]
    if new or tags:
        client.log_batch(run.info.run_id, params=new, tags=tags)


@contextmanager
def _patience() -> Iterator[None]:
    """Let MLflow wait for seconds and not for minutes, where the user has not said how long."""
    added = [name for name in _PATIENCE if name not in os.environ]
    os.environ.update({name: _PATIENCE[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            with suppress(KeyError):
                del os.environ[name]
