"""Why ids of a table and names of files do not meet: found out, said, and left to the user to mend."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

Key = Callable[[str], str]

_IMAGE_SUFFIX = re.compile(r"(\.ome)?\.(tiff?|png|jpe?g)$|\.ome$", re.IGNORECASE)
_NUMBER = re.compile(r"0*(\d+)(\.0*)?")
_INVISIBLE = re.compile(r"[\s\u200b-\u200d\u2060\ufeff'\"]+")


def _number(name: str) -> str:
    match = _NUMBER.fullmatch(name)
    return match[1] if match else name


# What two names that mean the same patch may differ in, and how a message tells that it is passed over.
_DIFFERENCES: dict[str, Key] = {
    "the folders before ids": lambda name: name.replace("\\", "/").rpartition("/")[2],
    "endings such as '.tif'": lambda name: _IMAGE_SUFFIX.sub("", name),
    "blanks and quotes": lambda name: _INVISIBLE.sub("", name),
    "the Unicode form (NFC or NFD)": lambda name: unicodedata.normalize("NFC", name),
    "capital letters": str.casefold,
    "zeros before numbers": _number,
}


@dataclass(frozen=True, slots=True)
class Mend:
    """What would bring ids together that are not.

    Attributes:
        differences: What they differ in.
        count: How many would be brought together.
    """

    differences: tuple[str, ...]
    count: int

    def sentence(self, among: int) -> str:
        """Return what to add to a message that `among` ids are unknown."""
        return f"; {self.count} of {among} would match but for {' and '.join(self.differences)}"


def mend(unknown: Collection[str], known: Iterable[str]) -> Mend | None:
    """Find the fewest differences that explain the most of the unknown ids; None where none explains any.

    Args:
        unknown: Ids that nothing is named by.
        known: Names of what there is.
    """
    known = list(known)
    count = _count(unknown, known, tuple(_DIFFERENCES))
    if not count:
        return None
    needed = tuple(_DIFFERENCES)
    for name in _DIFFERENCES:
        fewer = tuple(other for other in needed if other != name)
        if fewer and _count(unknown, known, fewer) >= count:
            needed = fewer
    return Mend(needed, count)


def suggestion(unknown: Collection[str], known: Iterable[str]) -> str:
    """Return what `mend` finds as the end of a message; empty where it finds nothing."""
    result = mend(unknown, known)
    return result.sentence(len(unknown)) if result else ""


def plain_key(name: str) -> str:
    """Return what is left of a name when all that names of one patch may differ in is passed over."""
    return _passing(tuple(_DIFFERENCES))(name)


def _passing(differences: tuple[str, ...]) -> Key:
    keys = [_DIFFERENCES[name] for name in differences]

    def key(name: str) -> str:
        for key_of in keys:
            name = key_of(name)
        return name

    return key


def _count(unknown: Collection[str], known: Collection[str], differences: tuple[str, ...]) -> int:
    """Count unknown ids that one known name alone becomes the same as, and no other id."""
    key = _passing(differences)
    names, ids = Counter(map(key, known)), Counter(map(key, unknown))
    return sum(1 for name, times in ids.items() if times == 1 and names[name] == 1)
