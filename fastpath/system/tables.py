"""Tables of one row a patch, Parquet or CSV by the name's suffix, as data frames."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpath.errors import DataError
from fastpath.system import arrow_files, checked_table
from fastpath.system.files import read_regular
from fastpath.text import brief, from_cell, to_csv

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".csv")
TEXTS = ("id", "group", "slide", "wsi", "kind", "store", "store_fingerprint", "split_fingerprint")
"""Columns of text, also where they look like numbers or like a missing value: '007' and 'NA' are names."""
_MISSING = ("", "NA", "NaN", "nan", "None", "null")


def read(path: Path, remedy: str) -> tuple[pd.DataFrame, bytes]:
    """Read a table.

    Args:
        path: The file; a symbolic link is followed.
        remedy: What to do about one that cannot be read.

    Returns:
        The frame and the file's bytes.

    Raises:
        DataError: It is no regular file, too large, damaged, or its values are not those that were written.
    """
    content = read_regular(path, bytes_max=checked_table.BYTES_MAX, follow=True, kind=DataError)
    try:
        return parse(content, path), content
    except Exception as error:
        # pandas and Arrow raise what they like over a damaged file.
        raise DataError(path, f"cannot be read as a table ({brief(error, 120)})", remedy) from None


def parse(content: bytes, path: Path) -> pd.DataFrame:
    """Return a table from a file's content; raises whatever pandas and Arrow do over one that is damaged.

    Args:
        content: The file's bytes.
        path: Its name, whose suffix tells the format.
    """
    import pandas as pd

    if path.suffix != ".csv":
        checked_table.check(content)
        return pd.read_parquet(arrow_files.of_bytes(content))
    names = pd.read_csv(io.BytesIO(content), nrows=0).columns
    missing = {name: _MISSING for name in names if name not in TEXTS}
    types = dict.fromkeys(TEXTS, "object")
    frame = pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False, na_values=missing)
    for name in set(TEXTS).intersection(names):
        frame[name] = pd.Series([from_cell(text) or None for text in frame[name]], frame.index, "object")
    return frame


def render(frame: pd.DataFrame, path: Path) -> bytes:
    """Return a table as the content of a file of this name; `parse` returns it."""
    if path.suffix == ".csv":
        return to_csv(list(frame.columns), cells(frame))
    import pyarrow as pa

    return checked_table.to_bytes(pa.Table.from_pandas(frame, preserve_index=False))


def cells(frame: pd.DataFrame) -> list[list[object]]:
    """Return a table's rows as they stand in a CSV, before quoting."""
    return [[_cell(value) for value in row] for row in frame.itertuples(index=False)]


def _cell(value: Any) -> object:  # noqa: ANN401 (whatever a column holds)
    return f"{value:.9g}" if isinstance(value, float) else value
