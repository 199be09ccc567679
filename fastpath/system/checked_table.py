"""Parquet with a checksum of its own values, looked at when it is read.

A table without one is another program's, or was edited and saved by one: it is taken for what it says.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from fastpath.system import arrow_files

CHECKSUM = b"fastpath_checksum"
BYTES_MAX = 4 << 30
ROWS_MAX = 50_000_000  # twenty times the patches of 64 GB; what few bytes can claim by repeating one


def to_bytes(table: Any) -> bytes:  # noqa: ANN401 (Arrow is untyped)
    """Return an Arrow table as a Parquet file with its checksum."""
    import pyarrow.parquet as pq

    content = io.BytesIO()
    metadata = {**(table.schema.metadata or {}), CHECKSUM: checksum(table).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), content)
    return content.getvalue()


def check(content: bytes) -> None:
    """Refuse a Parquet file that claims more than memory holds, or whose checksum is another."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(arrow_files.of_bytes(content)) as file:
        about = file.metadata
        unpacked = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
        if about.num_rows > ROWS_MAX or unpacked > BYTES_MAX:
            raise ValueError(f"it claims {about.num_rows:,} rows in {unpacked:,} bytes")
        wanted = (file.schema_arrow.metadata or {}).get(CHECKSUM)
        if wanted is None:
            return
        result = checksum(file.read())
    if result.encode() != wanted:
        raise ValueError(f"its values have checksum {result}, wanted {wanted.decode(errors='replace')[:16]}")


def checksum(table: Any) -> str:  # noqa: ANN401 (Arrow is untyped)
    """Return 16 hex digits of a table's columns and values, whatever types they are stored as."""
    import pyarrow as pa

    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}\0".encode())
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            values = np.asarray(column.to_pandas(), np.float64)
            digest.update(np.where(np.isnan(values), np.nan, values).astype("<f8").tobytes())
        else:
            texts = ("\1" if value is None else str(value) for value in column.to_pylist())
            digest.update("\0".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]
