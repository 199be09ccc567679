"""What is said of patches that were trained on, or chose the epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastpath.runs.row_history import RowHistory


def test_words_and_sizes() -> None:
    def history(**changes: Any) -> RowHistory:
        nobody = np.zeros(4, bool)
        fields = dict.fromkeys(("trained_N", "slide_N", "epoch_N", "calibrated_N"), nobody)
        return RowHistory(**{**fields, **changes})

    half, every = np.arange(4) < 2, np.ones(4, bool)
    assert history().notices() == []
    (notice,) = history(epoch_N=every, num_epochs=15).notices(auc_error=0.0097)
    assert "all 4 patches chose the epoch, the best of 15 by their AUC" in notice
    assert "the AUC by about 0.006 where the epochs are equally good" in notice
    (notice,) = history(epoch_N=half, num_epochs=15).notices()
    assert "2 of 4 patches chose the epoch" in notice
    assert "about" not in notice
    (notice,) = history(trained_N=every, epoch_N=every, num_epochs=2).notices(auc_error=0.01)
    assert notice.startswith("all 4 patches were trained on (train.include_val)")
    assert history(epoch_N=half, num_epochs=15).of(~half).notices() == []
