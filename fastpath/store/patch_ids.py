"""Patches as a person names them: by id, or by the beginning of one, as git takes commits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import UsageError
from fastpath.store.columns import locate

LEAST = 4
"""Characters of a beginning, git's least too."""


def rows_by_id(ids_N: NDArray[np.object_], wanted: Sequence[str], place: object) -> NDArray[np.int64]:
    """Return the rows of patches named, in the order named, each once.

    Args:
        ids_N: Ids by row.
        wanted: Ids, or beginnings of at least `LEAST` characters that one id alone has. A whole id wins.
        place: The store, for an error.

    Raises:
        UsageError: An id that no patch has, or a beginning that several have.
    """
    names = list(dict.fromkeys(wanted))
    _, unknown = locate(ids_N, names)
    if unknown:
        ids = [str(name) for name in ids_N]
        fitting = {part: [name for name in ids if name.startswith(part)] for part in unknown if len(part) >= LEAST}
        for part, fits in fitting.items():
            if len(fits) > 1:
                problem = f"'{part}' begins {len(fits):,} ids, '{fits[0]}' and '{fits[1]}' among them"
                raise UsageError("--ids", problem, "give more of the id")
        whole = {part: fits[0] for part, fits in fitting.items() if fits}
        missing = [part for part in unknown if part not in whole]
        if missing:
            problem = f"found {len(missing)} of {len(names)} ids that are not in the store, the first '{missing[0]}'"
            raise UsageError("--ids", problem, f"look in the id column of {place}")
        names = list(dict.fromkeys(whole.get(name, name) for name in names))
    return locate(ids_N, names)[0]
