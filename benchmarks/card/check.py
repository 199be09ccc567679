"""What every stage is given: where to compute, how much of it, and where results go."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the driver needs neither torch nor a configuration, and is not to wait for them
    from fastpath.config import Config
    from fastpath.runtime import Runtime

RESULTS = "results.jsonl"
# A rehearsal's network and sizes: what runs on one core in a minute.
TINY = ("model.name=test_resnet", "data.image_size_px=32", "data.batch_size=8")


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        device: `cuda`, one of several (`cuda:1`), or `cpu`, which rehearses.
        tiny: With a network and patches so small that it proves nothing but that everything runs.
        out: The folder of what the check leaves behind.
        scratch: The folder of what it needs meanwhile: patches, runs.
        began: `time.time()` of its start.
    """

    device: str
    tiny: bool
    out: Path
    scratch: Path
    began: float

    def tell(self, stage: str, **values: Any) -> None:  # noqa: ANN401 (whatever JSON or str can say)
        """Write one result to the disk, and print it. Safe in several processes: a line is one write."""
        row = {"at_s": round(time.time() - self.began, 1), "stage": stage, **values}
        line = json.dumps(row, default=str)
        descriptor = os.open(self.out / RESULTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        print(line, flush=True)

    def rows(self) -> list[dict[str, Any]]:
        """Return what has been told so far; a last line that a crash cut short is left out."""
        return list(read_rows(self.out))

    def runtime(self, *, amp: bool = True) -> Runtime:
        """Return the device and precision: mixed, as far as the device has it, or float32."""
        from fastpath import runtime

        return runtime.resolve(self.device, amp=amp, num_threads=1 if self.tiny else None)

    def config(self, *changes: str, recipe: str = "notebook") -> Config:
        """Return a recipe with changes. Rates do not depend on the weights, so none are fetched."""
        from fastpath import config as configuration

        return configuration.load(configuration.recipe(recipe), self._all(changes))

    def words(self, *changes: str, recipe: str = "notebook") -> list[str]:
        """Return the same configuration as options of the command line."""
        from fastpath import config as configuration

        settings = [word for change in self._all(changes) for word in ("--set", change)]
        return ["--config", str(configuration.recipe(recipe)), *settings]

    def _all(self, changes: tuple[str, ...]) -> list[str]:
        return ["model.pretrained=false", *(TINY if self.tiny else ()), *changes]


def read_rows(out: Path) -> Iterator[dict[str, Any]]:
    """Yield the results in a check's folder."""
    path = out / RESULTS
    *whole, _torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for line in whole:
        yield json.loads(line)
