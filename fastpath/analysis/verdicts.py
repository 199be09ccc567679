"""What numbers come to, in words: each verdict is a function from measures with their intervals to one sentence.

A verdict never says more than an interval does. Where the interval holds both answers, the verdict is that these
patches cannot tell, and where nothing allows an interval (slides known, but fewer than five), that nothing is decided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastpath.analysis.intervals import MIN_SLIDES, Interval

WIDE = 0.1
"""Width of an AUC's 95 % interval above which a study is too small to tell how good a model is: what Riley et al. aim
at, "Minimum sample size for external validation of a clinical prediction model with a binary outcome", Statistics in
Medicine 40 (2021) 4230-4251."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One finding.

    Attributes:
        about: What is judged.
        finding: What was found: one of a few fixed words, for programs.
        caution: Whether the reader should think twice before relying on the numbers.
        text: The finding as a sentence, with the numbers that it rests on.
    """

    about: str
    finding: str
    caution: bool
    text: str


@dataclass(frozen=True, slots=True)
class Sampled:
    """How the patches were sampled that an interval is of.

    Attributes:
        num_slides: Slides; 0 where they are unknown.
    """

    num_slides: int

    @property
    def decides(self) -> bool:
        """Whether an interval of them can decide anything: not where patches stand in for too few slides."""
        return not 0 < self.num_slides < MIN_SLIDES

    @property
    def optimistic(self) -> str:
        """What to add to a finding of patches whose slides are unknown."""
        return "" if self.num_slides else "; slides are unknown, so the interval is optimistic"


def where_it_looks(centre_over_ring: Interval, ring: Interval, sampled: Sampled) -> Verdict:
    """Tell whether a network ranks patches by their centre, where the label is decided, or by what surrounds it.

    The rule: the difference of two AUCs of the same patches, of what is told by the centre alone (ring masked) less
    that of the ring alone (centre masked), decides where its 95 % interval leaves out 0. Paint disturbs either score,
    so nothing is said of how much is lost to it.

    Args:
        centre_over_ring: The difference with its interval.
        ring: AUC of the ring alone; low and high are the band of chance.
        sampled: How the patches were sampled.
    """
    about = "where the network looks"
    numbers = f"AUC of the centre alone less that of the ring alone {told(centre_over_ring, signed=True)}"
    if not sampled.decides:
        few = f"patches are of {sampled.num_slides} of the at least {MIN_SLIDES} slides wanted"
        return Verdict(about, "undecided", True, f"whether centre or ring decides cannot be told: {few} ({numbers})")
    if centre_over_ring.high < 0:
        wrong = "it ranks patches better by the ring than by the centre, where the label is decided: it has learned"
        return Verdict(about, "ring", True, f"{wrong} the wrong place ({numbers}{sampled.optimistic})")
    if not centre_over_ring.low > 0:
        text = f"these patches cannot tell whether centre or ring decides ({numbers}{sampled.optimistic})"
        return Verdict(about, "undecided", True, text)
    tells = "something too" if ring.value > ring.high else "nothing that can be told from chance"
    text = f"the centre decides, and the ring tells {tells}"
    return Verdict(about, "centre", False, f"{text} ({numbers}{sampled.optimistic})")


def told(one: Interval, *, signed: bool = False) -> str:
    """Return a measure with its 95 % interval, as sentences show it."""
    form = "+.3f" if signed else ".3f"
    if not (math.isfinite(one.low) and math.isfinite(one.high)):
        return f"{one.value:{form}}, no interval"
    return f"{one.value:{form}}, 95 % interval {one.low:{form}} to {one.high:{form}}"
