"""Stain normalisation: a patch's colours brought to those of a published reference, from the patch's own pixels.

Two methods, each as its kept library has it: Macenko's as in torchstain 1.4 (stain vectors from the patch's optical
density), Reinhard's as in HistomicsTK (mean and spread in Ruderman's lαβ, glass left out). The references are fixed, so
that stores packed apart, files and slides all meet in the same colours. A patch that does not say what its stains are
stays as it is: glass, black, one colour. So does every black pixel, such as what lies beyond a slide's edge.
docs/decisions/0019-stain-normalisation-at-pack-time.md says why it is done where patches are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import UsageError

Stain = Literal["none", "macenko", "reinhard"]
NAMED = "stain"  # the key of a manifest's `source` that tells of it; absent where it was not done
METHODS: tuple[Stain, ...] = get_args(Stain)

LIGHT = 240.0  # grey level of light that passes no tissue; Macenko's
BETA = 0.15  # optical density below which a channel is transparent; Macenko's
BLACK = 8  # grey levels: where no channel reaches it, there is no light and so no stain
MIN_TISSUE = 0.02  # share of a patch's pixels: 184 of 9,216, below which its percentiles are two or three pixels
MIN_ANGLE_DEG = 3.0  # between the two stain vectors: real patches have 11 to 39, one stain alone has none
TAIL = 1.0  # percent of angles and of amounts beyond the robust extremes; Macenko's

# Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009; the reference that
# torchstain has built in: vectors of haematoxylin and eosin, and the 99th percentiles of their amounts.
MACENKO_STAINS_32 = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
MACENKO_AMOUNTS_2 = np.array([1.9705, 1.0308])

# Reinhard et al., "Color transfer between images", 2001, in the space of Ruderman et al., 1998. The reference is
# HistomicsTK's: TCGA-A2-A3XS-DX1, an H&E slide of breast (Amgad et al., 2019).
RGB_TO_LMS_33 = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
LMS_TO_LAB_33 = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
REINHARD_MEAN_3 = np.array([8.74108109, -0.12440419, 0.0444982])
REINHARD_STD_3 = np.array([0.6135447, 0.10989545, 0.0286032])

_DENSITY = -np.log((np.arange(256) + 1) / LIGHT)  # of each byte
_TRANSPARENT = int(np.flatnonzero(_DENSITY >= BETA)[-1])  # the brightest byte that is not

Normalise = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""From uint8 [H, W, 3] to the same; the argument itself where the patch does not say what its stains are."""


def normaliser(method: str, location: object = "--stain") -> Normalise:
    """Return the function of a method.

    Args:
        method: One of `METHODS`; `none` leaves every patch as it is.
        location: Named where there is no such method, as in a store of a later version.

    Raises:
        UsageError: There is no such method.
    """
    known: dict[str, Normalise] = {"none": lambda image_HWC: image_HWC, "macenko": macenko, "reinhard": reinhard}
    if method not in known:
        problem = f"found stain normalisation '{method[:40]}', wanted one of {', '.join(METHODS)}"
        raise UsageError(location, problem, "correct the name, or use the version of fastpath that wrote it")
    return known[method]


def noted(about: Mapping[str, str | int], method: str, source: object) -> dict[str, str | int]:
    """Return what a manifest says of its source, with the normalisation of its stains.

    Args:
        about: What it says besides.
        method: The normalisation.
        source: Named where the patches have one already.

    Raises:
        UsageError: They have.
    """
    if NAMED in about:
        problem = f"holds patches of normalised stain ({about[NAMED]}) already"
        raise UsageError(source, problem, "leave out --stain, or pack the files that they came from")
    return {**about, NAMED: method}


def macenko(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the patch's two stain vectors by the reference's, and scale their amounts to its.

    Args:
        image_HWC: uint8 [H, W, 3].
    """
    pixels_K3 = image_HWC.reshape(-1, 3)
    density_K3, lit_K = _DENSITY[pixels_K3], pixels_K3.max(axis=1) >= BLACK
    tissue_K = (density_K3 >= BETA).all(axis=1) & lit_K
    if tissue_K.mean() < MIN_TISSUE:
        return image_HWC
    stains_32 = _stain_vectors(density_K3[tissue_K])
    if stains_32 is None:
        return image_HWC
    amounts_K2 = density_K3 @ np.linalg.pinv(stains_32).T
    most_2 = np.percentile(amounts_K2[lit_K], 100 - TAIL, axis=0)
    if most_2.min() <= 0:
        return image_HWC
    moved_K3 = LIGHT * np.exp(-(amounts_K2 * (MACENKO_AMOUNTS_2 / most_2)) @ MACENKO_STAINS_32.T)
    return _image(moved_K3, lit_K, image_HWC)


def _stain_vectors(density_K3: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return haematoxylin and eosin, float64 [3, 2], of unit length; None where they are one.

    They are the robust extremes of the angle in the plane that the optical densities of tissue lie nearest to.
    """
    centred_K3 = density_K3 - density_K3.mean(axis=0)
    # einsum and not BLAS, whose sums depend on the number of its threads: a store's bytes must not.
    _, vectors_33 = np.linalg.eigh(np.einsum("kc,kd->cd", centred_K3, centred_K3))
    plane_32 = vectors_33[:, 1:] * np.where(vectors_33[:, 1:].sum(axis=0) < 0, -1, 1)
    across_K, along_K = (density_K3 @ plane_32).T
    angles_2 = np.percentile(np.arctan2(along_K, across_K), [TAIL, 100 - TAIL])
    if np.degrees(np.ptp(angles_2)) < MIN_ANGLE_DEG:
        return None
    extremes_32 = plane_32 @ np.array([np.cos(angles_2), np.sin(angles_2)])
    # Haematoxylin absorbs more red than eosin does.
    stains_32: NDArray[np.float64] = extremes_32[:, np.argsort(-extremes_32[0])]
    return stains_32


def reinhard(image_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring mean and standard deviation of the tissue's pixels in lαβ to the reference's; glass stays as it is.

    Args:
        image_HWC: uint8 [H, W, 3].
    """
    pixels_K3 = image_HWC.reshape(-1, 3)
    tissue_K = (pixels_K3.min(axis=1) <= _TRANSPARENT) & (pixels_K3.max(axis=1) >= BLACK)
    if tissue_K.mean() < MIN_TISSUE:
        return image_HWC
    lms_K3 = np.maximum(pixels_K3[tissue_K] @ RGB_TO_LMS_33.T, np.spacing(1))
    lab_K3 = np.log(lms_K3) @ LMS_TO_LAB_33.T
    mean_3, std_3 = lab_K3.mean(axis=0), lab_K3.std(axis=0)
    if std_3.min() <= 1e-6:
        return image_HWC
    lab_K3 = (lab_K3 - mean_3) / std_3 * REINHARD_STD_3 + REINHARD_MEAN_3
    moved_K3 = np.zeros(pixels_K3.shape)
    moved_K3[tissue_K] = np.exp(lab_K3 @ np.linalg.inv(LMS_TO_LAB_33).T) @ np.linalg.inv(RGB_TO_LMS_33).T
    return _image(moved_K3, tissue_K, image_HWC)


def _image(
    moved_K3: NDArray[np.float64], changed_K: NDArray[np.bool_], image_HWC: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return a patch of whose pixels some have moved."""
    found_K3 = np.clip(np.rint(moved_K3), 0, 255).astype(np.uint8)
    return np.where(changed_K[:, None], found_K3, image_HWC.reshape(-1, 3)).reshape(image_HWC.shape)
