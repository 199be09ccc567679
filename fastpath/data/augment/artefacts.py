"""Stages that change the patch's own pixels before colour and geometry: what a stage is, and which are asked for.

A file of `stages` each: out of focus, noisy, compressed belong to the stored pixels. Then the ring, all but the centre
third that decides the label, may be another patch's, blurred or restained. `config.augment.STAGES` lists them in the
order they are applied in; docs/extending.md adds one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.config.augment import STAGES

Floats = NDArray[np.float64]
Parameters = Mapping[str, NDArray[Any]]
"""What was drawn for a stage, N entries each, by name."""

Columns = dict[str, NDArray[Any]]
"""N entries each, by name: what lies ready, made by whichever process came first."""

Kind = tuple[str, type[np.generic]]
"""The layout and type of one sample's entry: `HWC` of an image, empty of a number, a flag or a matrix."""

NUMBER, FLAG, WHOLE_NUMBER = ("", np.float32), ("", np.bool_), ("", np.int32)


class Stage:
    """One change of a patch's pixels. It is applied with the probability `<name>_p` of `AugmentConfig`.

    Nothing here may import torch or DALI when it is imported: parameters are drawn in a process that has neither.

    Attributes:
        columns: Its random columns by name, numbers or slices, `gate` among them: what a seed means, so that no number
            may change, and no two stages may have one in common. 0 to 8 are `draw.MOVE_COLUMNS`.
        inputs: What its operators are fed, by name.
        on_ring: Whether it changes all but the centre third; such stages come last.
        shown: What files call a parameter, where it is not `<name>_<parameter>`.
    """

    columns: ClassVar[Mapping[str, int | slice]]
    inputs: ClassVar[Mapping[str, Kind]]
    on_ring: ClassVar[bool] = False
    shown: ClassVar[Mapping[str, str]] = {}

    def draw(self, policy: AugmentConfig, asked_N: NDArray[np.bool_], uniform: Mapping[str, Floats]) -> Parameters:
        """Return the parameters of N samples.

        Args:
            policy: The distributions.
            asked_N: Which samples the stage changes; parameters of the others say that it does not.
            uniform: From 0 to 1, by the names of `columns`.
        """
        raise NotImplementedError

    def prepare(self, drawn: Parameters, probes_NK3: NDArray[np.float32]) -> Columns:
        """Return what `inputs` are made of, N entries each, by the names of `inputs`.

        Args:
            drawn: From `draw`.
            probes_NK3: float32 [N, K, 3] in 0..1, some pixels of the patches; of those that the rings come from, where
                rings are swapped.
        """
        raise NotImplementedError

    def finisher(self, seed: int, patch_px: int) -> Callable[[Columns], dict[str, Any]]:
        """Return the function from `prepare`'s columns of a step to its inputs; here, the columns themselves.

        Args:
            seed: The run's seed.
            patch_px: Side of a patch.
        """
        return dict

    def apply(self, dali: Any, images: Any, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401 (DALI's DataNodes)
        """Add its operators to the graph.

        An `if` on a node is DALI's conditional execution: its branch runs for the samples of which it is true.

        Args:
            dali: `fn` and `types` of nvidia.dali.
            images: uint8 [N, H, W, 3].
            inputs: Nodes by the names of `inputs`, on the host; `partners`, the images that lend the rings, as well,
                where rings are swapped.

        Returns:
            uint8 [N, H, W, 3].
        """
        raise NotImplementedError


@cache
def stage(name: str) -> Stage:
    """Return a stage by its name in `STAGES`."""
    module: Stage = importlib.import_module(f"fastpath.data.augment.stages.{name}").STAGE
    return module


def asked_for(policy: AugmentConfig) -> dict[str, Stage]:
    """Return the stages that a policy asks for, in the order they are applied in."""
    return {name: stage(name) for name in STAGES if getattr(policy, f"{name}_p") > 0}


def shown(policy: AugmentConfig, drawn: Mapping[str, Parameters], num: int) -> Parameters:
    """Return the parameters of every stage by the names that files have for them.

    A stage that is not asked for has those of a sample that it does not change.

    Args:
        policy: What is asked for.
        drawn: The samples' parameters by stage.
        num: Samples.
    """
    values: dict[str, NDArray[Any]] = {}
    for name in STAGES:
        artefact = stage(name)
        widths = np.zeros((num, 1 + max(last_column(place) for place in artefact.columns.values())))
        without = artefact.draw(policy, np.zeros(num, bool), named(widths, artefact.columns))
        for key, values_N in drawn.get(name, without).items():
            values[artefact.shown.get(key, f"{name}_{key}")] = values_N
    return values


def last_column(place: int | slice) -> int:
    """Return the last column of a place in a table of random numbers."""
    return int(place.stop) - 1 if isinstance(place, slice) else place


def named(uniform_NW: Floats, columns: Mapping[str, int | slice]) -> dict[str, Floats]:
    """Return columns of random numbers by name."""
    return {name: uniform_NW[:, place] for name, place in columns.items()}


def columns(policy: AugmentConfig, drawn: Mapping[str, Parameters], probes_NK3: NDArray[np.float32]) -> Columns:
    """Return `Stage.prepare` of all stages that are asked for, as `stage.input`.

    Args:
        policy: What is asked for.
        drawn: The samples' parameters by stage.
        probes_NK3: float32 [N, K, 3] in 0..1, pixels of the patches that the rings come from.
    """
    return {
        f"{name}.{key}": values_N
        for name, reader in asked_for(policy).items()
        for key, values_N in reader.prepare(drawn[name], probes_NK3).items()
    }


def kinds(policy: AugmentConfig) -> dict[str, Kind]:
    """Return the layout and type of all stages' inputs, as `stage.input`."""
    return {
        f"{name}.{key}": kind
        for name, stage_module in asked_for(policy).items()
        for key, kind in stage_module.inputs.items()
    }


def of_stage(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what belongs to one stage of values that are named `stage.input`, by the names of its inputs."""
    return {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}


def finisher(policy: AugmentConfig, seed: int, patch_px: int) -> Callable[[Columns], dict[str, Any]]:
    """Return the function from `columns` of a step to the inputs that `kinds` names; see `Stage.finisher`."""
    by_stage = {name: stage_module.finisher(seed, patch_px) for name, stage_module in asked_for(policy).items()}

    def finish(columns: Columns) -> dict[str, Any]:
        return {
            f"{name}.{key}": value
            for name, finished in by_stage.items()
            for key, value in finished(of_stage(name, columns)).items()
        }

    return finish


def between(ends: tuple[float, float], uniform: Floats) -> Floats:
    """Return numbers from 0 to 1 as numbers from one end to the other."""
    return ends[0] + uniform * (ends[1] - ends[0])
