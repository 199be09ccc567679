"""What numbers come to, in words: each verdict is a function from measures with their intervals to one sentence.

A verdict never says more than an interval does. Where the interval holds both answers, the verdict is that these
patches cannot tell, and where nothing allows an interval (slides known, but fewer than five), that nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fastpath.analysis.intervals import MIN_SLIDES, Interval
from fastpath.analysis.pixels.appearance import LOOKS

WIDE = 0.1
"""Width of an AUC's 95 % interval above which a study is too small to tell how good a model is: what Riley et al. aim
at, "Minimum sample size for external validation of a clinical prediction model with a binary outcome", Statistics in
Medicine 40 (2021) 4230-4251."""

USUAL_ERRORS, FOUND_WRONG = 0.033, 0.51
"""Share of labels confirmed to be wrong, on average of ten well-known data sets, and the share of suspects by confident
learning that people confirmed: Northcutt, Athalye and Mueller, "Pervasive label errors in test sets destabilize machine
learning benchmarks", NeurIPS 2021 Datasets and Benchmarks."""

FALSE_ALARMS, HALF = 0.05, 0.5
CENTRAL = 1 - FALSE_ALARMS * HALF / len(LOOKS)
"""Share of training patches within the range of one measure. At most `FALSE_ALARMS` of the slides like those trained on
have half of their patches outside in any measure, however alike the patches of a slide are: the mean share outside is
at most the sum over measures (Bonferroni), and the share of slides that reach a half at most twice that (Markov)."""


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
    def few(self) -> str:
        """Why an interval of them decides nothing, where it does not."""
        return f"patches are of {self.num_slides} of the at least {MIN_SLIDES} slides wanted"

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
    numbers = f"AUC of the centre alone less that of the ring alone {interval_text(centre_over_ring, signed=True)}"
    if not sampled.decides:
        return Verdict(
            about, "undecided", True, f"whether centre or ring decides cannot be told: {sampled.few} ({numbers})"
        )
    if centre_over_ring.high < 0:
        wrong = "it ranks patches better by the ring than by the centre, where the label is decided: it has learned"
        return Verdict(about, "ring", True, f"{wrong} the wrong place ({numbers}{sampled.optimistic})")
    if not centre_over_ring.low > 0:
        text = f"these patches cannot tell whether centre or ring decides ({numbers}{sampled.optimistic})"
        return Verdict(about, "undecided", True, text)
    ring_text = "something too" if ring.value > ring.high else "nothing that can be told from chance"
    text = f"the centre decides, and the ring tells {ring_text}"
    return Verdict(about, "centre", False, f"{text} ({numbers}{sampled.optimistic})")


def ranking(auc: Interval, sampled: Sampled) -> Verdict:
    """Tell what an AUC says of how well tumour and normal are told apart.

    The rule: an interval that holds 0.5 is chance, one wholly below 0.5 says that something is the wrong way round, and
    one wider than `WIDE` does not tell how good the ranking is. A perfect AUC has no interval and decides nothing.

    Args:
        auc: With its interval.
        sampled: How the patches were sampled.
    """
    about, numbers = "how well tumour and normal are told apart", f"AUC {interval_text(auc)}"
    if not sampled.decides:
        return Verdict(about, "undecided", True, f"not told by so few slides: {sampled.few} ({numbers})")
    if not (math.isfinite(auc.low) and math.isfinite(auc.high)):
        return Verdict(about, "undecided", True, f"not told by these patches ({numbers})")
    if auc.high < 0.5:
        text = f"worse than by chance, so labels or scores may be the wrong way round ({numbers}{sampled.optimistic})"
        return Verdict(about, "reversed", True, text)
    if auc.low <= 0.5:
        return Verdict(about, "chance", True, f"no better than chance may do ({numbers}{sampled.optimistic})")
    if auc.high - auc.low > WIDE:
        text = f"better than by chance, but how much better is not told: the interval is wider than {WIDE}"
        return Verdict(about, "imprecise", True, f"{text} ({numbers}{sampled.optimistic})")
    return Verdict(about, "better than chance", False, f"better than by chance ({numbers}{sampled.optimistic})")


@dataclass(frozen=True, slots=True)
class Aim:
    """A share that a threshold was chosen to reach, and what it reaches on patches that did not choose it.

    Attributes:
        name: Of the operating point.
        wanted: The share.
        reached: The same on other patches, with its interval.
    """

    name: str
    wanted: float
    reached: Interval


def aims(reached: Sequence[Aim], sampled: Sampled) -> Verdict:
    """Tell which operating points keep what they were chosen for, on patches that did not choose them.

    The rule: missed where the interval lies below the aim, kept where it does not reach below it; else undecided.

    Args:
        reached: Points with an aim; one at least.
        sampled: How the other patches were sampled.
    """
    phrases, findings = [], []
    for result in reached:
        finding = "undecided"
        if sampled.decides and result.reached.high < result.wanted:
            finding = "missed"
        elif sampled.decides and result.reached.low >= result.wanted:
            finding = "kept"
        findings.append(finding)
        phrases.append(f"'{result.name}' {finding} ({interval_text(result.reached)})")
    worst = next(word for word in ("missed", "undecided", "kept") if word in findings)
    text = f"on patches that did not choose the thresholds: {', '.join(phrases)}{sampled.optimistic}"
    return Verdict("whether thresholds keep their aim", worst, worst != "kept", text)


def suspects(num: int, num_labelled: int, auc: float, overlap: Interval, *, out_of_fold: bool) -> Verdict:
    """Tell whether labels that a network contradicts may be left out of training unseen.

    The rule: no more of them than labels are usually wrong, `USUAL_ERRORS`, may be; of more, most are likely patches
    that the network cannot tell. How many it would suspect of labels that are all right is told beside it. Losses of
    patches that the network was trained on say too little for either.

    Args:
        num: Labels suspected.
        num_labelled: Of these.
        auc: Of the predictions, by the labels given.
        overlap: Share that would be suspected if every label were right.
        out_of_fold: Whether the predictions are of networks that did not see the labels.
    """
    about, share = "likely label errors", num / num_labelled
    problem = f"{num:,} of {num_labelled:,} labels ({share:.1%}) are called wrong by predictions of AUC {auc:.3f}"
    if not out_of_fold:
        text = f"{problem} on their own training patches, which a network fits, wrong labels included"
        return Verdict(about, "not out of fold", True, f"{text}: look at each before you leave it out")
    right = f"were every label right, they would still call {overlap.low:.1%} to {overlap.high:.1%} wrong"
    if share <= USUAL_ERRORS:
        usual = f"about {FOUND_WRONG:.0%} of such suspects prove wrong where people look"
        return Verdict(about, "few", False, f"{problem}; {usual}, and {right}")
    text = f"{problem}, more than the {USUAL_ERRORS:.1%} that are usually wrong; {right}, as classes overlap for them"
    advice = "they get weight 0: look at them before you train without them, or list fewer with --errors"
    return Verdict(about, "too many", True, f"{text}; {advice}")


@dataclass(frozen=True, slots=True)
class Outside:
    """How the patches of one slide lie in a measure, beside the patches that were trained on.

    Attributes:
        name: Of the measure (`appearance.LOOKS`).
        below: Share of patches below the range of training patches.
        above: Share above it.
        median: Of the slide's patches; NaN where none has the measure.
        training_low: Lower end of the range that holds the central `CENTRAL` of training patches.
        training_median: Their median.
        training_high: Upper end.
    """

    name: str
    below: float
    above: float
    median: float
    training_low: float
    training_median: float
    training_high: float


def foreign(measures: Sequence[Outside], anywhere: float) -> Verdict:
    """Tell whether tissue looks like that which a network was trained on.

    The rule: it is foreign where half of its patches lie outside the range of training patches in at least one measure
    of stain, brightness and sharpness, which happens to at most one in twenty slides like those trained on (see
    `CENTRAL`). Named is every measure in which a quarter of the patches do, or else the one in which most do.

    Args:
        measures: By measure; empty where nothing is known of the training patches.
        anywhere: Share of patches that are outside in any measure.
    """
    about = "whether the tissue looks like that trained on"
    if not measures:
        text = "not known: the run keeps no appearance.json, and its store is not at hand"
        return Verdict(about, "unknown", True, text)
    if anywhere < HALF:
        text = f"nothing says otherwise: {anywhere:.0%} of its patches lie outside the range of training patches"
        return Verdict(about, "alike", False, text)
    worst = sorted(measures, key=lambda looks: -max(looks.below, looks.above))
    named = [looks for looks in worst if max(looks.below, looks.above) >= HALF / 2] or worst[:1]
    phrases = []
    for looks in named:
        words = LOOKS[looks.name]
        direction, share = (words.more, looks.above) if looks.above >= looks.below else (words.less, looks.below)
        phrases.append(f"{share:.0%} of them {direction}")
    text = f"it is foreign: {anywhere:.0%} of its patches look like hardly any trained on, {', '.join(phrases)}"
    return Verdict(about, "foreign", True, f"{text}; nothing is known of how the network does on such tissue")


def interval_text(interval: Interval, *, signed: bool = False, digits: int = 3) -> str:
    """Return a measure with its 95 % interval, as sentences show it."""
    form = f"{'+' if signed else ''}.{digits}f"
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return f"{interval.value:{form}}, no interval"
    return f"{interval.value:{form}}, 95 % interval {interval.low:{form}} to {interval.high:{form}}"
