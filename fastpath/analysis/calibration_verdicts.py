"""What a calibration came to on patches that it was not fitted on, in words."""

from __future__ import annotations

from fastpath.analysis.calibration import Calibrator
from fastpath.analysis.intervals import Interval
from fastpath.analysis.verdicts import Sampled, Verdict, interval_text


def gain(used: Calibrator, change: Interval, num_patches: int, sampled: Sampled) -> Verdict:
    """Tell whether a calibration helped.

    The rule: the change of the log loss, after less before on the same patches, decides where its 95 % interval leaves
    out 0. A caution is given, too, where the log loss rose and the patches cannot tell whether by chance.

    Args:
        used: The calibration.
        change: Of the log loss, in nats, with its interval; not read where nothing was applied.
        num_patches: Patches judged.
        sampled: How they were sampled.
    """
    about = "calibration"
    if used.method == "none":
        return Verdict(about, "none", False, "none was asked for: probabilities are as the network gives them")
    if not used.kept:
        text = f"{used.method} is not applied, as it does not lower the loss of the patches it was fitted on: "
        return Verdict(about, "not applied", True, f"{text}probabilities are as the network gives them")
    changed = interval_text(change, signed=True, digits=4)
    numbers = f"{used.method} changes the log loss of {num_patches:,} patches by {changed}{sampled.optimistic}"
    if not sampled.decides:
        return Verdict(about, "undecided", True, f"whether it helped cannot be told: {sampled.few} ({numbers})")
    if change.high < 0:
        return Verdict(about, "better", False, f"it helped ({numbers})")
    if change.low > 0:
        text = f"it made these patches worse ({numbers}); leave it out with --calibration none"
        return Verdict(about, "worse", True, text)
    return Verdict(about, "undecided", change.value > 0, f"these patches cannot tell whether it helps ({numbers})")


def in_the_large(before: Interval, after: Interval | None, sampled: Sampled) -> Verdict:
    """Tell whether there are as many positives as the probabilities promise.

    The rule: observed over expected is wrong where its 95 % interval leaves out 1.

    Args:
        before: Observed over expected of the scores as the network gives them.
        after: Of calibrated ones; None where no calibration is used.
        sampled: How the patches were sampled.
    """
    about, used = "calibration in the large", before if after is None else after
    numbers = f"observed over expected {interval_text(used)}{sampled.optimistic}"
    if after is not None:
        numbers += f"; before calibration {interval_text(before)}"
    if not sampled.decides:
        return Verdict(about, "undecided", True, f"whether it is right cannot be told: {sampled.few} ({numbers})")
    if used.high < 1:
        return Verdict(about, "too high", True, f"probabilities promise more tumour than there is ({numbers})")
    if used.low > 1:
        return Verdict(about, "too low", True, f"there is more tumour than probabilities promise ({numbers})")
    if not (used.low <= 1 <= used.high):
        return Verdict(about, "undecided", True, f"these patches cannot tell whether it is right ({numbers})")
    return Verdict(about, "agrees", False, f"probabilities promise as much tumour as there is ({numbers})")
