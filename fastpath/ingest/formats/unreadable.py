"""Why a file gives no pixels: it is damaged, or of a kind that is not read. Each has words and a remedy of its own."""

from __future__ import annotations

import re

from fastpath.text import brief

MAX_SIDE_PX = 4096  # a patch, not a slide: a header that claims more is a bomb, refused before any memory is taken
RESTORE = "restore the file, or leave it out with --on-error skip"
CONVERT = "convert it to 8-bit RGB"
REPACK = "convert it, for example with libvips: vips copy in.tif 'out.tif[compression=deflate]'"


class UnreadableError(Exception):
    """A file's bytes give no pixels; who knows the file's name makes a `DataError` of it.

    Args:
        problem: What was found and what was wanted.
        remedy: What to do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(problem)


def damaged(reason: str) -> UnreadableError:
    """The file breaks the rules of its format."""
    return UnreadableError(f"is damaged ({reason})", RESTORE)


def truncated(result: int, wanted: int) -> UnreadableError:
    """The file ends before its pixels do."""
    return UnreadableError(f"is truncated: found {result} bytes, wanted {wanted}", RESTORE)


def unsupported(problem: str, remedy: str = CONVERT) -> UnreadableError:
    """The file is sound, as far as one can see, and of a kind that is not read."""
    return UnreadableError(problem, remedy)


def reason(error: Exception) -> str:
    """Return what a library says of a file, in one short line without addresses of its objects in memory."""
    text = brief(error, 1000)
    return re.sub(r"<[\w.]+ object at 0x[0-9a-f]+>| at 0x[0-9a-f]+", "it", text)[:120]
