"""Stores that lie, of which one thing is changed and every hash and checksum made to fit: each is refused in one line.

Nothing is written outside the target, nothing waits for ever, and no claim costs the memory that it claims.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from fastpath.errors import FastpathError
from fastpath.store import format as fmt
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.workflows import merge, pack, repair
from fastpath.workflows.inspect import inspect
from fastpath.workflows.verify import verify

Forge = Callable[[Path], object]


def seal(path: Path, values: dict[str, Any]) -> None:
    """Write a document with the checksum that it should have."""
    values.pop("checksum", None)
    values["checksum"] = xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True).encode())
    path.write_text(json.dumps(values, indent=1) + "\n")


def manifest(**changes: Any) -> Forge:
    """Change keys of the manifest; a callable is given the old value."""
    return _document(fmt.MANIFEST, changes)


def split(**changes: Any) -> Forge:
    """Change keys of the split."""
    return _document(fmt.SPLIT, changes)


def _document(name: str, changes: dict[str, Any]) -> Forge:
    def forge(store: Path) -> None:
        values = json.loads((store / name).read_text())
        for key, value in changes.items():
            values[key] = value(values.get(key)) if callable(value) else value
        seal(store / name, values)

    return forge


def shard(number: int = 1, **changes: object) -> Forge:
    """Change what the manifest says of a shard."""

    def changed(shards: list[dict[str, object]]) -> list[dict[str, object]]:
        shards[number] |= changes
        return shards

    return manifest(shards=changed)


def at(row: int, value: object) -> Callable[[list[Any]], list[Any]]:
    """Change one value of a column."""
    return lambda values: [*values[:row], value, *values[row + 1 :]]


def index(retype: Callable[[pa.Table], pa.Table] | None = None, **changes: Callable[[list[Any]], list[Any]]) -> Forge:
    """Change columns of the index, and let the manifest tell of what they hold now."""

    def forge(store: Path) -> None:
        table = pq.read_table(store / fmt.INDEX)
        for name, change in changes.items():
            field = table.schema.field(name)
            values = pa.array(change(table[name].to_pylist()), field.type)
            table = table.set_column(table.column_names.index(name), field, values)
        write_index(store, retype(table) if retype else table)

    return forge


def write_index(store: Path, table: pa.Table, **options: Any) -> None:
    """Write an index, and let the manifest have its hash, fingerprint and counts as far as there are any."""
    pq.write_table(table, store / fmt.INDEX, compression="zstd", **options)
    known = dict[str, Any](index_hash=fmt.hash_file(store / fmt.INDEX))
    try:
        labels = table["label"].to_pylist()
        counts = {"0": labels.count(0), "1": labels.count(1), "unlabelled": labels.count(-1)}
        groups = table["group"].to_pylist() if table["group"].null_count == 0 else None
        ids, hashes = table["id"].to_pylist(), b"".join(table["hash"].to_pylist())
        known["fingerprint"] = fmt.fingerprint(ids, np.array(labels, np.int8), groups, hashes)
        if sum(counts.values()) == len(labels):
            known["class_counts"] = counts
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    manifest(**known)(store)
    if (store / fmt.SPLIT).exists() and "fingerprint" in known:
        split(store=known["fingerprint"])(store)


def pixels(change: Callable[[bytes], bytes], number: int = 1) -> Forge:
    """Change the bytes of a shard, and give the manifest their hash."""

    def forge(store: Path) -> None:
        path = store / fmt.shard_name(number)
        path.write_bytes(change(path.read_bytes()))
        shard(number, hash=fmt.hash_file(path))(store)

    return forge


def link(name: str) -> Forge:
    """Put a link to the same content in a file's place."""

    def forge(store: Path) -> None:
        (store / name).rename(store.parent / f"elsewhere-{name}")
        (store / name).symlink_to(store.parent / f"elsewhere-{name}")

    return forge


def pipe(name: str) -> Forge:
    """Put a pipe that nobody writes to in a file's place."""
    return _instead(name, os.mkfifo)


def folder(name: str) -> Forge:
    """Put a directory in a file's place."""
    return _instead(name, Path.mkdir)


def device(name: str) -> Forge:
    """Put a link to an endless device in a file's place."""
    return _instead(name, lambda path: path.symlink_to("/dev/zero"))


def listener(name: str) -> Forge:
    """Put a socket in a file's place."""

    def bind(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))  # a socket's name has 107 bytes at most

    return _instead(name, bind)


def vast(name: str) -> Forge:
    """Put a file of a tebibyte, all of it hole, in a file's place."""
    return _instead(name, lambda path: (path.touch(), os.truncate(path, 1 << 40)))


def empty(name: str) -> Forge:
    """Put a file of nothing in a file's place."""
    return _instead(name, Path.touch)


def _instead(name: str, make: Callable[[Path], object]) -> Forge:
    def forge(store: Path) -> None:
        (store / name).unlink()
        make(store / name)

    return forge


NAMES = [
    "../evil.npy",
    "../../victim/canary",
    "/etc/passwd",
    "shard-00000.npy",
    "shard-00002.npy",
    "shard-1.npy",
    "shard-00001.npy\0",
    "shard-00001.npy\n",
    "shard-00001.npy/../canary",
    "./shard-00001.npy",
    "SHARD-00001.NPY",
    "shard-0000\u0661.npy",
    "",
    ".",
    "..",
    "index.parquet",
    "manifest.json",
    "~/canary",
    "file:///etc/passwd",
    "https://example.org/shard-00001.npy",
    7,
    None,
    ["shard-00001.npy"],
]
NUMBERS = [-1, 2**31, 2**62, 2**64, "4", None, 4.5, True]
MOMENTS = [float("nan"), float("inf"), -0.1, 1.1, 1e300, "0.5", None]
ESCAPE = "\x1b]0;title\x07"
IDS = [
    "",
    ".",
    "..",
    "../..",
    "../../victim/canary",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    ESCAPE,
    "a\u202eb",
    "p01",
]

# What opening refuses, so that no command goes on.
AT_OPEN: dict[str, Forge] = {
    **{f"shard named {name!r}": shard(file=name) for name in NAMES},
    **{f"shard of {rows!r} rows": shard(rows=rows) for rows in NUMBERS},
    **{f"{number!r} patches": manifest(num_patches=number) for number in [*NUMBERS, 0, 19, 21]},
    **{f"{number!r} groups": manifest(num_groups=number) for number in [*NUMBERS, 21, 0]},
    **{
        f"patches of {shape}": manifest(patch_shape=shape)
        for shape in (
            [0, 0, 3],
            [-16, -16, 3],
            [2**31, 2**31, 3],
            [2**62, 2**62, 3],
            [4097, 4097, 3],
            [16, 16, 1],
            [16, 16, 4],
            [16, 16, 0],
            [16, 8, 3],
            [16, 16],
            [16.5, 16.5, 3],
            ["16", "16", "3"],
        )
    },
    **{f"mean of {value!r}": manifest(mean_3=at(0, value)) for value in MOMENTS},
    **{f"deviation of {value!r}": manifest(std_3=at(2, value)) for value in MOMENTS},
    "two means": manifest(mean_3=lambda mean: mean[:2]),
    "counts of -1": manifest(class_counts={"0": -1, "1": 21, "unlabelled": 0}),
    "counts of 19": manifest(class_counts={"0": 9, "1": 10, "unlabelled": 0}),
    "counts the other way": manifest(class_counts={"0": 11, "1": 9, "unlabelled": 0}),
    "counts of another class": manifest(class_counts={"0": 10, "1": 10, "unlabelled": 0, "2": 0}),
    "counts without a class": manifest(class_counts={"0": 10, "1": 10}),
    **{f"hash {text!r}": shard(hash=text) for text in ("", "0" * 31, "A" * 32, "../" * 8, "0" * 32 + "\n")},
    **{f"index hash {text!r}": manifest(index_hash=text) for text in ("", "0" * 32, "../" * 8)},
    **{
        f"fingerprint {text!r}": manifest(fingerprint=text)
        for text in ("", "../../../../../../../../../../..", "g" * 32)
    },
    "flag counts below 0": manifest(flag_counts={"black": -1}),
    "flag counts above all": manifest(flag_counts={"black": 21}),
    "a flag that a terminal obeys": manifest(flag_counts={ESCAPE: 1}),
    "a class that a terminal obeys": manifest(source={"kind": "classes", "class_0": ESCAPE}),
    "a class of 5,000 letters": manifest(source={"kind": "classes", "class_0": "a" * 5000}),
    "software that a terminal obeys": manifest(software={"numpy": ESCAPE}),
    **{f"version {number!r}": manifest(format_version=number) for number in (0, -1, 2, 2**62, "1", None)},
    "another format": manifest(format="fastpath-run"),
    "an unknown key": manifest(**{ESCAPE: 1}),
    "no shards": manifest(shards=[]),
    "shards that are a number": manifest(shards=7),
    "half a million shards": manifest(shards=[{}] * 500_000),
    "a manifest of brackets": lambda store: (store / fmt.MANIFEST).write_text("[" * 1_000_000),
    "a manifest of one number": lambda store: (store / fmt.MANIFEST).write_text("9" * 1_000_000),
    "a manifest that is a list": lambda store: (store / fmt.MANIFEST).write_text("[]"),
    "a manifest of no JSON": lambda store: (store / fmt.MANIFEST).write_bytes(bytes(range(256))),
    **{
        f"{make.__name__} for {name}": make(name)
        for make in (link, pipe, folder, device, listener, vast, empty)
        for name in (fmt.MANIFEST, fmt.INDEX)
    },
    **{f"label {value}": index(label=at(3, value)) for value in (7, 2, -2, -128, None)},
    **{f"id {name!r}": index(id=at(3, name)) for name in [*IDS, "a" * 2000, None]},
    **{f"shard number {value}": index(shard=at(3, value)) for value in (-1, 5, 2**31 - 1, -(2**31), None)},
    **{f"row {value}": index(row=at(3, value)) for value in (-1, 4, 2**31 - 1, -(2**31), None)},
    "a group of 5,000 letters": index(group=at(3, "g" * 5000)),
    "a group of two megabytes for all": index(group=lambda groups: ["g" * ((2 << 20) - 100)] * len(groups)),
    "an id of 3 megabytes": index(id=at(3, "a" * (3 << 20))),
    "a hundred million rows in no file": manifest(
        num_patches=10**8,
        class_counts={"0": 10**8, "1": 0, "unlabelled": 0},
        shards=lambda shards: [shards[0] | {"rows": 10**8}],
    ),
    "a row without a group": index(group=at(3, None)),
    "labels as text": index(lambda table: table.set_column(1, "label", pa.array(["0"] * len(table)))),
    "labels as 64 bits": index(lambda table: table.set_column(1, "label", table["label"].cast(pa.int64()))),
    "labels as fractions": index(lambda table: table.set_column(1, "label", table["label"].cast(pa.float64()))),
    "rows as 64 bits": index(lambda table: table.set_column(4, "row", table["row"].cast(pa.int64()))),
    "hashes of any length": index(lambda table: table.set_column(5, "hash", table["hash"].cast(pa.binary()))),
    "sharpness as 64 bits": index(
        lambda table: table.set_column(12, "sharpness", table["sharpness"].cast(pa.float64()))
    ),
    "ids as bytes": index(lambda table: table.set_column(0, "id", table["id"].cast(pa.binary()))),
    "ids that are not UTF-8": index(
        lambda table: table.set_column(0, "id", pa.array([b"\xff%d" % row for row in range(20)]).view(pa.string()))
    ),
    "a column less": index(lambda table: table.drop_columns(["flags"])),
    "a column more": index(lambda table: table.append_column("path", pa.array(["/etc/passwd"] * len(table)))),
    "columns in another order": index(lambda table: table.select(table.column_names[::-1])),
    "a row less": index(lambda table: table.slice(1)),
    "no row": index(lambda table: table.slice(0, 0)),
    "a row twice": index(lambda table: pa.concat_tables([table, table.slice(0, 1)])),
    "an index of Arrow's": lambda store: (store / fmt.INDEX).write_bytes(b"ARROW1"),
}

# What only `verify` can tell, and what must not be written on.
BY_VERIFY: dict[str, Forge] = {
    "a row without a hash": index(hash=at(3, None)),
    "a place twice": index(row=at(3, 2)),
    "a row without a sum": index(sum_r=at(3, None)),
    "a mean a little off": manifest(mean_3=lambda mean: [mean[0] + 1e-9, *mean[1:]]),
    "a deviation a little off": manifest(std_3=lambda std: [*std[:2], std[2] - 1e-9]),
    "a group fewer": manifest(num_groups=4),
    "a group more": manifest(num_groups=6),
    "another fingerprint": manifest(fingerprint="0" * 32),
    "an unknown flag": manifest(flag_counts=lambda flags: flags | {"unheard-of": 0}),
    "a flag counted twice": manifest(flag_counts=lambda flags: flags | {"black": 1}),
    "rows dropped that are there": manifest(source=lambda source: source | {"dropped": 3}),
    "another size than resized to": manifest(source=lambda source: source | {"resize_px": 96}),
    "sums of another": index(sum_r=at(3, 16 * 16 * 255 + 1)),
    "sums below 0": index(sum_g=at(3, -1)),
    "squares of no patch": index(squares_b=at(3, 2**62)),
    "sharpness of nothing": index(sharpness=at(3, float("nan"))),
    "sharpness below 0": index(sharpness=at(3, -1.0)),
    "flags that there are not": index(flags=at(3, 2**20)),
    "a flag that is not so": index(flags=at(3, 16)),
    "flags below 0": index(flags=at(3, -1)),
    "a hash of other pixels, twice": index(hash=lambda hashes: [hashes[1], *hashes[1:]]),
}

# What is false of pixels alone.
OF_PIXELS: dict[str, Forge] = {
    "a pixel changed": pixels(lambda data: data[:-1] + bytes([data[-1] ^ 1])),
    "all pixels changed": pixels(lambda data: data[:128] + bytes(len(data) - 128)),
    "a perceptual hash of another": index(phash=lambda values: [values[0] ^ 1, *values[1:]]),
    "a sharpness of another": index(sharpness=lambda values: [values[0] + 200, *values[1:]]),
    "hashes of other pixels": index(hash=lambda hashes: [hashes[0][::-1], *hashes[1:]]),
}

# Shards that cannot be read as the manifest tells.
OF_SHARDS: dict[str, Forge] = {
    "a byte cut": pixels(lambda data: data[:-1]),
    "a byte more": pixels(lambda data: data + b"\0"),
    "nothing but a header": pixels(lambda data: data[:128]),
    "a header of another shape": pixels(lambda data: fmt.npy_header((4, 3, 16, 16)) + data[128:]),
    "a header of Python objects": pixels(lambda data: data[:128].replace(b"|u1", b"|O ") + data[128:]),
    "a header in column order": pixels(lambda data: data[:128].replace(b"False", b"True ") + data[128:]),
    **{f"{make.__name__}": make("shard-00001.npy") for make in (link, pipe, folder, device, listener, vast, empty)},
    "absent": lambda store: (store / "shard-00001.npy").unlink(),
}

OF_SPLITS: dict[str, Forge] = {
    "a row in no part": split(rows=lambda rows: "x" + rows[1:]),
    "a row that is a digit": split(rows=lambda rows: "7" + rows[1:]),
    "a row beyond ASCII": split(rows=lambda rows: "\u0442" + rows[1:]),
    "a row less": split(rows=lambda rows: rows[1:]),
    "a row more": split(rows=lambda rows: rows + "t"),
    "no rows": split(rows=""),
    "rows as a list": split(rows=list),
    "a slide on both sides": split(rows=lambda rows: ("v" if rows[0] == "t" else "t") + rows[1:]),
    "all in training": split(rows="t" * 20),
    "a mean a little off": split(mean_3=lambda mean: [mean[0] + 1e-9, *mean[1:]]),
    "a deviation a little off": split(std_3=lambda std: [*std[:2], std[2] - 1e-9]),
    **{f"a mean of {value!r}": split(mean_3=at(0, value)) for value in MOMENTS},
    **{f"a deviation of {value!r}": split(std_3=at(0, value)) for value in MOMENTS},
    **{f"fold {value!r}": split(fold=value) for value in (-1, 1, 36, 2**62, "0")},
    **{f"{value!r} folds": split(num_folds=value) for value in (-1, 5, 37, 2**62)},
    "folds of no number": split(folds="0" * 20),
    "folds that are not the rows": split(folds="0" * 20, num_folds=2, rows="t" * 20),
    "a fold beyond all": split(folds="z" * 20, num_folds=2),
    "folds cut": split(folds="01", num_folds=2),
    "another kind": split(kind="magic"),
    "official of others": split(kind="official"),
    "random of another seed": split(kind="random"),
    "a seed below 0": split(seed=-1),
    "a share of 2": split(val=2.0),
    "a share of nothing": split(val=float("nan")),
    "of another store": split(store="0" * 32),
    "of a version to come": split(format_version=2),
    "an unknown key": split(path="/etc/passwd"),
    "no JSON": lambda store: (store / fmt.SPLIT).write_bytes(b"\xff"),
    "brackets": lambda store: (store / fmt.SPLIT).write_text("[" * 50_000),
    **{f"{make.__name__}": make(fmt.SPLIT) for make in (link, pipe, folder, device, listener, vast, empty)},
}


@pytest.fixture(scope="module")
def made(labelled_source: Callable[[], Path]) -> tuple[Path, Path]:
    """A source of 20 small labelled patches of 5 slides and its store of 5 shards, divided by slide."""
    source = labelled_source()
    store, groups = source.with_name("store"), source.with_name("groups.csv")
    groups.write_text("id,wsi\n" + "".join(f"p{number:02},s{number % 5}\n" for number in range(20)))
    pack.pack_source(source, store, pack.PackOptions(shard_bytes=4 * 768, groups=groups), workers=1)
    return source, store


@pytest.fixture
def store(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the store, in a directory of its own beside a file that nobody may touch."""
    shutil.copytree(made[1], tmp_path / "place" / "store")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "canary").write_text("sings")
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place" / "store"


@pytest.fixture(autouse=True)
def bounds() -> Iterator[None]:
    """End a test that waits for ever, and fail one that takes a gibibyte."""

    def give_up(*_: object) -> None:
        raise AssertionError("it waits for ever")

    before, peak = signal.signal(signal.SIGALRM, give_up), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 1 << 20, "KiB"


def outside(store: Path) -> dict[str, bytes]:
    """What lies around a store."""
    around = store.parent.parent
    paths = [path for path in around.rglob("*") if path.is_file() and store not in path.parents]
    return {str(path.relative_to(around)): path.read_bytes() for path in paths if not path.is_symlink()}


def refused(call: Callable[[], object]) -> str:
    """Return the one line that an error is, with a status that says so."""
    with pytest.raises(FastpathError) as caught:
        call()
    assert caught.value.exit_status in (1, 2)
    line = str(caught.value)
    assert line.isprintable(), line
    assert len(line) < 1500, line[:2000]
    return line


def damages(store: Path) -> set[str]:
    """The files that `verify` names; that of the error, where nothing can be said of the rest."""
    try:
        open_store(store, checked=False)
    except FastpathError:
        refused(lambda: verify.verify_store(store, workers=1))
        return {fmt.MANIFEST}
    named = verify.verify_store(store, workers=1).damages
    assert all(damage.problem.isprintable() and len(damage.problem) < 1000 for damage in named), named
    return {damage.file for damage in named}


COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "open": lambda store, _: open_store(store),
    "merge": lambda store, _: merge.merge_stores([store], store.parent / "merged"),
    "repair": lambda store, source: repair.repair_store(store, source, workers=1),
    "inspect": lambda store, _: inspect.inspect_store(store, store.parent / "report"),
    "pack": lambda store, _: pack.pack_source(store, store.parent / "packed", workers=1),
}


@pytest.mark.parametrize("case", AT_OPEN)
def test_what_lies_in_manifest_or_index_is_refused_by_all(made: tuple[Path, Path], store: Path, case: str) -> None:
    AT_OPEN[case](store)
    before = outside(store)
    for command in COMMANDS.values():
        refused(lambda command=command: command(store, made[0]))  # type: ignore[misc]
    assert damages(store) & {fmt.MANIFEST, fmt.INDEX}
    assert outside(store) == before
    assert sorted(path.name for path in store.parent.iterdir() if not path.name.startswith("elsewhere")) == ["store"]


@pytest.mark.parametrize("case", BY_VERIFY)
def test_what_is_false_of_the_index_is_found_and_not_written_on(
    made: tuple[Path, Path], store: Path, case: str
) -> None:
    BY_VERIFY[case](store)
    before = outside(store)
    assert damages(store) & {fmt.MANIFEST, fmt.INDEX}
    refused(lambda: COMMANDS["merge"](store, made[0]))
    refused(lambda: COMMANDS["repair"](store, made[0]))
    assert outside(store) == before


@pytest.mark.parametrize("case", OF_PIXELS)
def test_what_is_false_of_pixels_is_found(store: Path, case: str) -> None:
    OF_PIXELS[case](store)
    assert damages(store) == {fmt.INDEX}


@pytest.mark.parametrize("case", OF_SHARDS)
def test_a_shard_of_another_kind_is_named_and_replaced_in_its_place(
    made: tuple[Path, Path], store: Path, case: str
) -> None:
    OF_SHARDS[case](store)
    before = outside(store)
    assert damages(store) == {"shard-00001.npy"}
    refused(lambda: open_store(store).gather(np.arange(20)))
    refused(lambda: COMMANDS["merge"](store, made[0]))
    if (store / "shard-00001.npy").is_dir():
        return
    repaired = repair.repair_store(store, made[0], workers=1)
    if json.loads((store / fmt.MANIFEST).read_text()) == json.loads((made[1] / fmt.MANIFEST).read_text()):
        assert (repaired.repaired, repaired.damages, damages(store)) == (["shard-00001.npy"], [], set())
        assert (store / "shard-00001.npy").read_bytes() == (made[1] / "shard-00001.npy").read_bytes()
    else:  # its hash is of what it was changed to
        assert [damage.file for damage in repaired.damages] == ["shard-00001.npy"]
    assert outside(store) == before
    assert not (store / "shard-00001.npy").is_symlink()


@pytest.mark.parametrize("case", OF_SPLITS)
def test_what_lies_in_a_split_is_found(made: tuple[Path, Path], store: Path, case: str) -> None:
    OF_SPLITS[case](store)
    before = outside(store)
    assert damages(store) == {fmt.SPLIT}
    assert [damage.file for damage in repair.repair_store(store, made[0], workers=1).damages] == [fmt.SPLIT]
    merge.merge_stores([store], store.parent / "merged")  # which divides anew
    assert read_split(open_store(store.parent / "merged")).num_folds == 0
    assert outside(store).keys() - before.keys() == {
        f"place/merged/{path.name}" for path in made[1].iterdir() if path.is_file()
    }


def test_repair_clears_what_a_killed_one_left(made: tuple[Path, Path], store: Path) -> None:
    ours = [f".shard-00001.npy.{'0' * 16}.tmp", f".split.json.{'a' * 16}.tmp"]
    former = ["shard-00001.npy.rebuilt", "shard-00001.npy.rebuilt.4711.tmp"]
    others = ["shard-00001.npy.rebuilt.mine", ".shard-00099.npy.0000.tmp", "notes.txt"]
    for name in ours:
        (store / name).write_bytes(b"half a file")
    assert damages(store) == set(), "what the next writer removes is no damage"
    for name in [*former, *others]:
        (store / name).write_bytes(b"half a file")
    assert damages(store) == {*former, *others}
    (store / "shard-00001.npy").unlink()
    repaired = repair.repair_store(store, made[0], workers=1)
    assert repaired.repaired == ["shard-00001.npy"]
    assert {damage.file for damage in repaired.damages} == set(others)
    assert {path.name for path in store.iterdir()} == {*(path.name for path in made[1].iterdir()), *others}


def test_a_repair_that_cannot_write_leaves_all_as_it_was(
    made: tuple[Path, Path], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "shard-00001.npy").write_bytes(b"half a file")
    before = {path.name: path.read_bytes() for path in store.iterdir()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "no space is left" in refused(lambda: repair.repair_store(store, made[0], workers=1))
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before
    assert repair.repair_store(store, made[0], workers=1).repaired == ["shard-00001.npy"]
    assert damages(store) == set()
