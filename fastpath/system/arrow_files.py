"""Files that Arrow reads by itself, with no Python object in its threads.

Arrow's threads hold what they read a little longer than the call that asked. Where that is a Python file, a thread that
lets go of it while Python ends is cut off amid C++ and aborts the process, after all was done: "terminate called
without an active exception". On one busy core that was one run of `fastpath pack` in five.
"""

from __future__ import annotations

from typing import Any, BinaryIO


def of_bytes(content: bytes) -> Any:  # noqa: ANN401 (Arrow is untyped)
    """Return an Arrow file of these bytes, which are not copied."""
    import pyarrow as pa

    return pa.BufferReader(content)


def of_file(file: BinaryIO) -> Any:  # noqa: ANN401
    """Return an Arrow file of what an open file holds, whatever its name stands for by now.

    Args:
        file: It has a descriptor, and may be closed afterwards.

    Raises:
        OSError: The system has no /dev/fd.
    """
    import pyarrow as pa

    return pa.OSFile(f"/dev/fd/{file.fileno()}")
