"""What a seed means: every number that is drawn, bit for bit, as hashes of an earlier version of the code.

A random column's number is part of a seed's meaning. Whoever moves one changes every run that anybody repeats, and
this test says so. A new stage adds what it draws, and changes nothing that is here:

    PYTHONPATH=. python tests/data/augment/test_augment_seeds.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastpath.config import AugmentConfig, MixConfig
from fastpath.config.augment import POLICIES, STAGES
from fastpath.data.augment import artefacts, draw, mix
from fastpath.data.augment.stages import noise

PAGE = Path(__file__).with_name("draws.json")
DIGESTS: dict[str, dict[str, str]] = json.loads(PAGE.read_text(encoding="utf-8"))
SEED, EPOCH, POSITIONS, SIZE_PX = 11, 3, range(5, 261), 224

PROBABILITIES = [key for key in AugmentConfig.model_fields if key.endswith("_p")]
CASES: dict[str, dict[str, Any]] = {name: {"policy": name} for name in POLICIES}
CASES |= {f"{key} of one half": {key: 0.5} for key in PROBABILITIES}
CASES |= {
    "shift and zoom": {"shift_px": 6.0, "shift_p": 0.5, "zoom": (0.8, 1.2), "zoom_p": 0.5},
    "everything": {"policy": "strong", "stain": 0.2, "vflip": 0.5} | dict.fromkeys(PROBABILITIES, 0.5),
}
MIXES: dict[str, dict[str, float]] = {
    "mixup": {"mixup_p": 1.0},
    "cutmix": {"cutmix_p": 1.0},
    "both": {"mixup_p": 0.3, "mixup_alpha": 0.8, "cutmix_p": 0.4, "cutmix_alpha": 0.5},
}


def digest(values_N: NDArray[Any]) -> str:
    """Return a hash of type, shape and bytes."""
    content = f"{values_N.dtype.str}{values_N.shape}".encode() + np.ascontiguousarray(values_N).tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def parameters(settings: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Return every parameter of some samples by name."""
    drawn = draw.draw_augmentation(AugmentConfig.model_validate(settings), SIZE_PX, SEED, EPOCH, POSITIONS)
    own = {name: getattr(drawn, name) for name in drawn.__slots__ if name != "stages"}
    return own | {f"{stage}.{name}": values_N for stage, of in drawn.stages.items() for name, values_N in of.items()}


def mixing(settings: dict[str, float]) -> dict[str, NDArray[Any]]:
    """Return how some samples are mixed; SciPy's versions differ in the last bits."""
    drawn = mix.draw_mixing(MixConfig.model_validate(settings), SEED, EPOCH, POSITIONS)
    return {"blend_N": drawn.blend_N.round(9), "box_N4": drawn.box_N4.round(9)}


@pytest.mark.parametrize("case", CASES)
def test_a_seed_means_what_it_meant(case: str) -> None:
    digests = {name: digest(values_N) for name, values_N in parameters(CASES[case]).items()}
    assert digests.items() >= DIGESTS[case].items()


@pytest.mark.parametrize("case", MIXES)
def test_a_seed_mixes_what_it_mixed(case: str) -> None:
    assert {name: digest(values_N) for name, values_N in mixing(MIXES[case]).items()} == DIGESTS[case]


def test_the_field_of_noise_is_what_it_was() -> None:
    assert digest(noise.noise_field(SEED, 96)) == DIGESTS["noise"]["field"]


def test_no_two_parameters_are_made_of_the_same_random_column() -> None:
    """Two that share one are not independent."""
    stages = [artefacts.stage(name) for name in STAGES]
    for tables in ([draw.COLUMNS], [draw.MOVE_COLUMNS, *(stage.columns for stage in stages)]):
        columns = np.arange(1000)
        taken = [place for table in tables for at in table.values() for place in np.atleast_1d(columns[at]).tolist()]
        assert len(set(taken)) == len(taken)
    assert max(np.max(columns[at]) for at in draw.COLUMNS.values()) < draw.UNIFORMS_PER_SAMPLE


def test_columns_beyond_a_page_leave_those_before_them_as_they_are() -> None:
    near, far = {"gate": 9, "pair": slice(30, 32)}, {"gate": 40, "pair": slice(62, 66)}
    first_page, more = (draw._pages(columns, SEED, EPOCH, POSITIONS) for columns in ([near], [near, far]))
    assert first_page.shape == (len(POSITIONS), draw.PAGE)
    assert more.shape == (len(POSITIONS), 3 * draw.PAGE)
    np.testing.assert_array_equal(more[:, : draw.PAGE], first_page)
    assert len(np.unique(more)) == more.size
    np.testing.assert_array_equal(draw._pages([far], SEED, EPOCH, range(7, 9)), more[2:4])


def test_every_parameter_is_held_by_some_case() -> None:
    """A stage that is new here adds its parameters to draws.json: with this, it cannot forget to."""
    held = {name for case in CASES for name in DIGESTS[case]}
    assert held == set(parameters(CASES["everything"]))


if __name__ == "__main__":
    for name, settings in CASES.items():
        now = {parameter: digest(values_N) for parameter, values_N in parameters(settings).items()}
        DIGESTS[name] = now | DIGESTS.get(name, {})
    PAGE.write_text(json.dumps(DIGESTS, indent=1) + "\n", encoding="utf-8")
