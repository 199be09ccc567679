"""The stages in order: what must be right first, then by what is worth most if time runs out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: As `--only` and `--skip` call it.
        run: `module:function`, called with the `Check`; imported in the worker, so that naming stages costs nothing.
        seconds: What it is expected to take on an H100 with 16 cores. Estimates, from published rates and from what
            start-up costs on other machines; the record says what each took.
        asks: In words, for the table.
        correctness: Whether the check has failed if this stage has.
    """

    name: str
    run: str
    seconds: float
    asks: str
    correctness: bool = False


STAGES = (
    # nvidia-smi, imports and the first touch of the card.
    Stage("facts", "benchmarks.card.facts:tell", 5, "Which card, driver, clocks and versions"),
    # 4,096 synthetic patches drawn (5 s), written and packed; an index of the notebook's 220,025 rows over them.
    Stage("patches", "benchmarks.card.patches:tell", 15, "Patches to work with"),
    # Eight policies, each on the CPU once and on the card twice: 256 patches a pass, half a second each on 16 cores.
    Stage("batches", "benchmarks.card.batches:tell", 20, "Batches against the CPU's, in grey levels", correctness=True),
    # Some 30 tests of about a second, and two starts of a process.
    Stage("tests", "benchmarks.card.suite:tell", 50, "The `gpu` tests", correctness=True),
    # Two starts, 6 GB of patches onto the card twice, the notebook's epoch (20 s), two of the fast recipe's at 96 and
    # one at 128 pixels (5 to 8 s each).
    Stage("epochs", "benchmarks.card.epochs:tell", 65, "Whole epochs of `fastpath train --amp`"),
    # Two runs of 24 steps; then one more, killed in a process of its own, and gone on with.
    Stage("repeat", "benchmarks.card.repeat:tell_repeat", 12, "Two runs, the same seed", correctness=True),
    Stage("resume", "benchmarks.card.repeat:tell_resume", 20, "A run killed and gone on with", correctness=True),
    # Five sizes of batch, three clocks each of about two seconds.
    Stage("sweep", "benchmarks.card.sweep:tell", 40, "Loader, network and both, by size of batch"),
    # Six processes that start side by side (the strong loop compiles for 40 s), then two turns of up to 7 s each.
    Stage("loops", "benchmarks.card.loops:tell", 100, "Training loops in turns on the same card"),
    # One start and a trace of five steps, which takes longer to write than to make.
    Stage("profile", "benchmarks.card.profiled:tell", 12, "One step's launches, copies and waits"),
    # Seven networks of three seconds, and one that compiles.
    Stage("variants", "benchmarks.card.variants:tell", 50, "Precisions and ways of the same step"),
    # 40 steps with four checkpoints of 214 MB.
    Stage("saves", "benchmarks.card.saves:tell", 10, "Checkpoints"),
)
