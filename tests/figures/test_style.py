"""One palette: colours are told apart with any kind of colour vision, are seen on white, and are defined once."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import fastpath
from fastpath.figures import page, style

# Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision deficiency, IEEE
# Transactions on Visualization and Computer Graphics 15(6), 2009: severity 1.0, over linear red, green and blue.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
LEAST = 15.0  # CIE 1976 colour difference: 2.3 can just be noticed side by side (Mahy et al., 1994)


def _linear(colour: str) -> np.ndarray:
    share_3 = np.array(style.rgb(colour)) / 255
    return np.where(share_3 <= 0.04045, share_3 / 12.92, ((share_3 + 0.055) / 1.055) ** 2.4)


def _lab(linear_3: np.ndarray) -> np.ndarray:
    """Return CIELAB under D65 of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear_3, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    "colours",
    [(*style.CLASSES.values(), style.OPERATING_POINT), (style.CALLED, style.LESION), style.SERIES[:4]],
    ids=["classes", "outlines", "series"],
)
def test_colours_are_told_apart(vision: str, colours: tuple[str, ...]) -> None:
    seen = [_lab(np.array(VISION[vision]) @ _linear(colour)) for colour in colours]
    assert min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)) > LEAST


def _contrast(colour: str) -> float:
    """Return the contrast with white after WCAG 2, 1 to 21."""
    return float(1.05 / (_linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05))


@pytest.mark.parametrize(
    ("colours", "least"),
    [((style.INK, style.SOFT, style.NORMAL), 4.5), ((*style.CLASSES.values(), *style.SERIES[:3]), 3.0)],
    ids=["letters", "lines"],
)
def test_colours_are_seen_on_white(colours: tuple[str, ...], least: float) -> None:
    assert min(map(_contrast, colours)) >= least


def test_no_other_module_or_template_defines_a_colour() -> None:
    package = Path(fastpath.__file__).parent
    texts = {path: path.read_text() for path in package.rglob("*.*") if path.suffix in {".py", ".html", ".css"}}
    assert len(texts) > 200
    coloured = {path.name for path, text in texts.items() if re.search(r"#[0-9a-fA-F]{6}\b|tab:|viridis|RdBu", text)}
    assert coloured == {"style.py"}


def test_pages_have_the_colours_by_name() -> None:
    environment = page.environment()
    head = environment.get_template("base.html").render(colours=style.PAGE)
    assert f"--tumour: {style.TUMOUR};" in head
    used = {name for text in environment.list_templates() for name in re.findall(r"var\(--(\w+)\)", _source(text))}
    assert used <= set(style.PAGE)


def _source(template: str) -> str:
    return (Path(fastpath.__file__).parent / "figures" / "templates" / template).read_text()
