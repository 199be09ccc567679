"""The warp matrices: exact symmetries, pinned directions, and coverage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath.config import AugmentConfig
from fastpath.config.augment import POLICIES
from fastpath.data.augment import draw, geometry

STILL = AugmentConfig(
    hflip=0, rotation_deg=0, crop_scale=(1, 1), crop_ratio=(1, 1), brightness=0, contrast=0, saturation=0, hue=0
)


def augmentation(output_px: int = 96, **values: object) -> draw.Augmentation:
    drawn = draw.draw_augmentation(STILL, output_px, 0, 0, range(1))
    return dataclasses.replace(drawn, **{name: np.array([value]) for name, value in values.items()})


def shows(drawn: draw.Augmentation, layout: geometry.WarpLayout, x: float, y: float) -> tuple[float, float]:
    """The point of the warped array that output point (x, y) shows."""
    point = geometry.warp_matrices(drawn, layout)[0].astype(float) @ [x, y, 1.0]
    return float(point[0]), float(point[1])


PLAIN = geometry.warp_layout(96, 96, framed=False)


def test_nothing_drawn_is_the_identity() -> None:
    np.testing.assert_array_equal(geometry.warp_matrices(augmentation(), PLAIN)[0], np.eye(3))


def test_a_resize_scales_about_the_corner_of_the_corner_pixel() -> None:
    layout = geometry.warp_layout(96, 224, framed=False)
    assert shows(augmentation(224), layout, 0, 0) == (0, 0)
    assert shows(augmentation(224), layout, 224, 224) == pytest.approx((96, 96), abs=1e-4)


def test_directions() -> None:
    assert shows(augmentation(hflip_N=True), PLAIN, 10, 20) == (86, 20)
    assert shows(augmentation(vflip_N=True), PLAIN, 10, 20) == (10, 76)
    # After a quarter turn counter-clockwise the top left shows what was at the top right.
    assert shows(augmentation(turns_N=1), PLAIN, 0, 0) == (96, 0)
    # After a small turn counter-clockwise the top of the image shows what was to the right of it.
    x, y = shows(augmentation(angle_deg_N=10.0), PLAIN, 48, 0)
    assert x > 55
    assert y > 0
    assert shows(augmentation(crop_N4=[8, 24, 48, 60]), PLAIN, 0, 0) == (24, 8)
    assert shows(augmentation(crop_N4=[8, 24, 48, 60]), PLAIN, 96, 96) == (84, 56)


def test_quarter_turns_and_rotation_by_ninety_degrees_agree() -> None:
    for turns in range(4):
        ours = geometry.warp_matrices(augmentation(turns_N=turns), PLAIN)
        np.testing.assert_allclose(
            ours, geometry.warp_matrices(augmentation(angle_deg_N=90.0 * turns), PLAIN), atol=1e-4
        )
        np.testing.assert_array_equal(ours, np.rint(ours))


def test_flips_and_turns_are_the_group_d4() -> None:
    matrices = {
        geometry.warp_matrices(augmentation(hflip_N=flip, turns_N=turn), PLAIN)[0].tobytes()
        for flip in (False, True)
        for turn in range(4)
    }
    assert len(matrices) == 8

    def as_3x3(flat: bytes) -> np.ndarray:
        return np.frombuffer(flat, np.float32).reshape(3, 3)

    products = {(as_3x3(a) @ as_3x3(b)).tobytes() for a in matrices for b in matrices}
    assert {np.frombuffer(p, np.float32).tobytes() for p in products} == {
        (np.frombuffer(m, np.float32) + 0.0).tobytes() for m in matrices
    }


@given(st.integers(8, 300), st.integers(8, 300), st.booleans())
def test_the_patch_fills_the_output_whatever_the_frame_and_the_shrinking(patch: int, output: int, framed: bool) -> None:
    layout = geometry.warp_layout(patch, output, framed=framed)
    scale = layout.size_px / layout.framed_px
    edge = layout.frame_px * scale
    assert shows(augmentation(output, crop_N4=[0, 0, output, output]), layout, 0, 0) == pytest.approx(
        (edge, edge), abs=1e-3
    )
    far = shows(augmentation(output, crop_N4=[0, 0, output, output]), layout, output, output)
    assert far == pytest.approx((edge + patch * scale,) * 2, abs=1e-3)
    assert (layout.frame_px > 0) == framed
    if framed:
        assert edge >= 0.95


def test_coverage_is_the_share_that_is_not_black() -> None:
    layout = geometry.warp_layout(96, 224, framed=True)
    drawn = draw.draw_augmentation(AugmentConfig(crop_scale=(1, 1), crop_ratio=(1, 1)), 224, 0, 0, range(50))
    shown = geometry.coverage(geometry.warp_matrices(drawn, layout), layout)
    y, x = (np.mgrid[0:400, 0:400] + 0.5) / 400 - 0.5
    for angle, share in zip(np.deg2rad(drawn.angle_deg_N), shown, strict=True):
        u, v = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
        assert share == pytest.approx(((abs(u) <= 0.5) & (abs(v) <= 0.5)).mean(), abs=0.01)


@pytest.mark.parametrize("output_px", [224, 96, 48])
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_no_policy_cuts_into_the_centre_that_decides_the_label(policy: str, output_px: int) -> None:
    assert geometry.centre_lost_share(AugmentConfig.model_validate({"policy": policy}), 96, output_px) == 0


def test_the_share_of_samples_that_lose_their_centre_is_that_of_brute_force() -> None:
    policy = STILL.model_copy(update={"crop_scale": (0.2, 0.4)})
    drawn = draw.draw_augmentation(policy, 96, 1, 0, range(20_000))
    top, left, height, width = drawn.crop_N4.T
    lost = (top > 32) | (left > 32) | (top + height < 64) | (left + width < 64)
    assert 0.1 < lost.mean() < 0.9
    assert geometry.centre_lost_share(policy, 96, 96) == pytest.approx(lost.mean(), abs=0.015)


@pytest.mark.parametrize("shift_p", [1.0, 0.3])
def test_a_shift_loses_the_centre_as_often_as_it_moves_an_edge_of_it_out_of_the_crop(shift_p: float) -> None:
    policy = STILL.model_copy(update={"shift_px": 48.0, "shift_p": shift_p})
    # Uniform in ±48: an edge of the centre is 32 pixels from the patch's.
    assert geometry.centre_lost_share(policy, 96, 96) == pytest.approx(shift_p * (1 - (32 / 48) ** 2), abs=0.015)
    assert geometry.centre_lost_share(STILL.model_copy(update={"shift_px": 31.9}), 96, 224) == 0


def test_a_zoom_loses_the_centre_where_it_exceeds_three() -> None:
    policy = STILL.model_copy(update={"zoom": (2.0, 4.0)})
    assert geometry.centre_lost_share(policy, 96, 96) == pytest.approx(0.5, abs=0.015)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.5, 2.0), st.floats(-180, 180))
def test_shift_and_zoom_follow_the_rotation(right: float, down: float, zoom: float, angle: float) -> None:
    moved = augmentation(shift_px_N2=[right, down], zoom_N=zoom, angle_deg_N=angle)
    # The patch's middle is shown where the shift has brought it, whatever the rotation and zoom.
    assert shows(moved, PLAIN, 48 + right, 48 + down) == pytest.approx((48, 48), abs=1e-3)
    x, y = np.subtract(shows(moved, PLAIN, 58 + right, 48 + down), 48)
    assert np.hypot(x, y) == pytest.approx(10 / zoom, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "framed", "reflected"),
    [
        ({}, True, False),
        ({"border": "clamp"}, False, False),
        ({"border": "reflect"}, False, True),
        ({"rotation_deg": 0.0}, False, False),
        ({"rotation_p": 0.0}, False, False),
        ({"rotation_deg": 0.0, "shift_px": 2.0}, True, False),
        ({"rotation_deg": 0.0, "zoom": (0.9, 1.0)}, True, False),
        ({"rotation_deg": 0.0, "zoom": (1.0, 1.2)}, False, False),
    ],
)
def test_there_is_a_frame_only_where_something_black_can_be_seen(
    values: dict[str, object], framed: bool, reflected: bool
) -> None:
    layout = geometry.training_warp_layout(AugmentConfig.model_validate(values), 96, 96)
    assert (layout.frame_px > 0, layout.reflected) == (framed, reflected)
