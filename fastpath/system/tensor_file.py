"""Tensors and plain values in torch's own file, read so that nothing of it is run and no size in it is believed.

The form is a ZIP of raw storages and a pickle that names them, or, before torch 1.6, one after the other.
`torch.load(weights_only=True)` builds nothing but tensors and plain values from it. What that leaves to an ill-meant
file is refused before or right after: pipes and devices, more bytes than this machine has memory, entries that unpack
to more than the file holds, calls that fill memory, tensors wider than their storage, lists of lists that stand for 2⁴⁰
values.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, BinaryIO

import torch
from torch import Tensor, nn

from fastpath.errors import FastpathError
from fastpath.system.files import open_regular

# The pickle holds names and numbers, a few hundred bytes a tensor: a network of 100,000 tensors stays below.
_PICKLE_BYTES_MAX = 64 << 20
_VALUES_MAX = 400_000  # an optimiser has three a parameter
_DEPTH_MAX = 16
_ZIP = b"PK\x03\x04"
_CALLED = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch\.storage (Untyped|Typed)Storage|torch Size"
    r"|torch\.nn\.parameter Parameter|torch\._utils _rebuild_(tensor|parameter)(_v2|_v3|_with_state)?"
    r"|torch [a-z]\w*"
)
"""What a pickle of tensors names. torch takes `bytearray` besides, which fills 2⁴⁰ bytes where it is asked to."""
_LEGACY_PICKLES = 5  # mark, protocol, system, values, keys; the storages follow
_PLAIN = (str, int, float, bool, type(None))


def read_tensor_file(path: Path, kind: type[FastpathError], *, checked: bool) -> object:
    """Return what a file holds: nested dictionaries, lists and tuples of tensors on the CPU and plain values.

    Args:
        path: A file that a person or a run names; a symbolic link is followed.
        kind: The class of error for what is no regular file.
        checked: Take the ZIP form only, and compare each byte with the file's own checksums.

    Raises:
        FastpathError: Of class `kind`: it is missing or no regular file.
        Exception: It is damaged, needs code to load or claims what it does not have; torch and zipfile raise a dozen
            classes over that.
    """
    with open_regular(path, follow=True, kind=kind) as file:
        size, memory = os.fstat(file.fileno()).st_size, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if size > memory:
            raise ValueError(f"it has {size >> 20:,} MiB, more than this machine has memory")
        zipped = file.read(len(_ZIP)) == _ZIP
        file.seek(0)
        if zipped:
            _check_entries(file, size, checked)
            file.seek(0)
        elif checked:
            raise zipfile.BadZipFile("it is not a ZIP file")
        else:
            for _ in range(_LEGACY_PICKLES):
                _check_pickle(file)
            file.seek(0)
        values: object = torch.load(file, map_location="cpu", weights_only=True)
    _check_values(values)
    return values


def _check_entries(file: BinaryIO, size: int, checked: bool) -> None:
    """Refuse what would take more memory than the file's size, before anything is read into memory."""
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            # torch stores its entries as they are; only a compressed one can unpack to more than it takes.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise zipfile.BadZipFile(f"'{entry.filename[:80]}' is compressed, which torch never does")
            if entry.filename.endswith(".pkl") and entry.file_size > _PICKLE_BYTES_MAX:
                raise zipfile.BadZipFile(f"'{entry.filename[:80]}' has {entry.file_size} bytes")
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as stream:
                    _check_pickle(stream)
            if entry.filename.endswith("/byteorder") and archive.read(entry).decode() != sys.byteorder:
                raise zipfile.BadZipFile("it was written on a machine of another byte order")
        if sum(entry.file_size for entry in archive.infolist()) > size:
            raise zipfile.BadZipFile("its entries overlap")
        damaged = archive.testzip() if checked else None
    if damaged is not None:
        raise zipfile.BadZipFile(f"checksum of '{damaged[:80]}' is wrong")


def _check_pickle(stream: IO[bytes]) -> None:
    """Read a pickle to its end without building anything, and refuse one that names what no table of tensors does."""
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STACK_GLOBAL" or (opcode.name == "GLOBAL" and not _CALLED.fullmatch(str(argument))):
            raise pickle.UnpicklingError(f"it names {str(argument)[:80]}")


def _check_values(values: object) -> None:
    """Refuse anything but plain values and tensors of their own size, and more of them than any network has.

    A list that holds another twice, which holds another twice …, is small in the file and endless to go through; each
    is counted as often as it is met.
    """
    pending: list[tuple[str, object, int]] = [("", values, 0)]
    count = 0
    while pending:
        name, value, depth = pending.pop()
        count += 1
        if count > _VALUES_MAX or depth > _DEPTH_MAX:
            raise ValueError("it nests values without end")
        if isinstance(value, Mapping):
            inside = value.items()
        elif isinstance(value, list | tuple):
            inside = enumerate(value)  # type: ignore[assignment]
        else:
            _check_value(name, value)
            continue
        for key, each in inside:
            if type(key) not in (str, int) or len(str(key)[:1000]) == 1000:
                raise ValueError(f"it has a key that is a {type(key).__name__} or endless")
            pending.append((f"{name}.{key}" if name else str(key), each, depth + 1))


def _check_value(name: str, value: object) -> None:
    """Refuse tensors that claim more elements than they hold: a stride of 0 makes 1 byte stand for 2⁴⁰."""
    if isinstance(value, Tensor):
        plain = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and not value.is_nested
        plain = plain and value.device.type == "cpu" and not value.is_quantized
        if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            shape = tuple(value.shape) if plain else value.layout
            raise ValueError(f"'{name[:80]}' is not a plain tensor: it claims {shape} beyond what the file holds")
    elif type(value) not in _PLAIN:
        raise ValueError(f"'{name[:80]}' is a {type(value).__name__}, wanted tensors and plain values")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"'{name[:80]}' is a number beyond 64 bits")


def not_finite(values: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity; None where there is none."""
    for name, tensor in values.items():
        if tensor.is_complex() or (tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all())):
            return name
    return None
