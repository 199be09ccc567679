"""What a table of predictions says of its patches: a word each, of what networks have done with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastpath.runs.row_history import (
    COLUMN,
    EPOCH,
    HELD_OUT,
    SLIDE,
    TRAINED,
    UNKNOWN,
    RowHistory,
)

if TYPE_CHECKING:
    import pandas as pd


def of_words(words_N: NDArray[np.object_]) -> RowHistory:
    """Return what a table says of its patches by the words of its column `COLUMN`; any other word is none it knows."""
    trained_N, slide_N, epoch_N = (np.asarray(words_N == word, bool) for word in (TRAINED, SLIDE, EPOCH))
    num_unknown = int((~(trained_N | slide_N | epoch_N) & (words_N != HELD_OUT)).sum())
    unknown = f"the table does not know it of {num_unknown:,} of them" if num_unknown else ""
    nobody_N = np.zeros(len(words_N), bool)
    return RowHistory(trained_N, slide_N, epoch_N, nobody_N, num_epochs=0, unknown=unknown)


def of_table(frame: pd.DataFrame) -> list[str]:
    """Return what the reader of numbers on a table's patches must know, by its column `COLUMN`."""
    if COLUMN not in frame:
        return [
            f"the table has no column '{COLUMN}', so nothing tells whether its patches were trained on or chosen by"
        ]
    return of_words(frame[COLUMN].fillna(UNKNOWN).astype(str).to_numpy(object)).notices()


def worst(histories: Sequence[RowHistory]) -> NDArray[np.object_]:
    """Return the worst word that is true of each patch for any of several runs: an average of them knows it too."""
    found_N = np.full(len(histories[0].trained_N), HELD_OUT, object)
    for word in (UNKNOWN, EPOCH, SLIDE, TRAINED):
        for history in histories:
            found_N[history.words_N == word] = word
    return found_N
