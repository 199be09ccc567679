"""Files that systems and programs leave in folders unasked: one rule of what is never a patch, a table or a slide."""

from __future__ import annotations

_NAMES = frozenset(
    name.casefold()
    for name in (
        "Thumbs.db",  # Windows' pictures of a folder, like the next two
        "ehthumbs.db",
        "desktop.ini",
        "$RECYCLE.BIN",
        "System Volume Information",
        "__MACOSX",  # AppleDouble files of archives that macOS packed
        "@eaDir",  # Synology's thumbnails, named after the pictures and ending like them
        "@Recycle",  # QNAP's bin
        "@Recently-Snapshot",
        "#recycle",  # Synology's bin
        "lost+found",
        "__pycache__",
    )
)
_FOLDERS = _NAMES | {".ipynb_checkpoints", ".trash", ".trashes", ".spotlight-v100"}
_ENDS = ("~", ".bak", ".orig", ".swp", ".swo", ".tmp", ".part", ".partial", ".crdownload")
_STARTS = (".", "~$", "#", "SYNOFILE_THUMB_", "SYNOPHOTO_THUMB_")


def is_litter(name: str) -> bool:
    """Return whether a file's or folder's name, without its path, is that of litter.

    Litter is what is hidden (its name begins with a dot: `._a.tif`, which macOS writes beside `a.tif` on shares,
    `.DS_Store`, `.ipynb_checkpoints`), thumbnails and bins of systems (`Thumbs.db`, `__MACOSX`, `@eaDir`), and what
    editors and broken downloads leave (`a.tif~`, `#a.csv#`, `a.csv.bak`).
    """
    return name.startswith(_STARTS) or name.casefold() in _NAMES or name.casefold().endswith(_ENDS)


def lies_in_litter(path: str) -> bool:
    """Return whether a path, with slashes, is one of litter: by its last name, or a folder that systems make.

    Other hidden folders on the way are fine: people keep data below `~/.cache`.
    """
    *folders, name = path.split("/")
    return is_litter(name) or any(folder.casefold() in _FOLDERS for folder in folders)
