"""`pack`, `verify` and `split` as a user meets them: results, exit statuses, one line at each fault."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

pytestmark = pytest.mark.e2e


def fastpath(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastpath", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_pack_verify_split(kaggle_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    packed = fastpath("pack", kaggle_folder, "-o", store, "--json")
    assert packed.returncode == 0, packed.stderr
    values = json.loads(packed.stdout)
    assert (values["patches"], values["groups"], values["split"]) == (96, 6, "group")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    verified = fastpath("verify", store, "--source", kaggle_folder, "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["compared_with_source"] == 96
    divided = fastpath("split", store, "--kind", "random", "--seed", "3", "--json")
    assert divided.returncode == 0
    assert "this split leaks" in divided.stderr
    assert json.loads(divided.stdout)["num_val"] == 20
    again = fastpath("pack", kaggle_folder, "-o", store)
    assert again.returncode == 2
    assert "found a store there" in again.stderr


def test_damage_is_named(kaggle_folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert fastpath("pack", kaggle_folder, "-o", store, "-q").returncode == 0
    shard = store / "shard-00000.npy"
    content = bytearray(shard.read_bytes())
    content[128 + 3 * 96 * 96 * 3 + 5] ^= 16
    shard.write_bytes(content)
    verified = fastpath("verify", store, "--json", "-q")
    assert verified.returncode == 1
    damages = json.loads(verified.stdout)["damages"]
    assert [(damage["file"], damage["rows"]) for damage in damages] == [("shard-00000.npy", [3])]
    assert damages[0]["ids"][0] in verified.stderr


Spoil = Callable[[Path], None]


def _labels(change: Callable[[list[str]], list[str]]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "train_labels.csv"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return spoil


def _patch(change: Callable[[Path], object]) -> Spoil:
    return lambda folder: change(sorted((folder / "train").iterdir())[40]) and None


BLACK = np.zeros((96, 96, 3), np.uint8)
FAULTS: dict[str, tuple[Spoil, str]] = {
    "unknown id": (_labels(lambda lines: [*lines, "f" * 40 + ",1"]), "found 1 ids without a file"),
    "missing id": (_labels(lambda lines: lines[:-1]), "lacks 1 ids of files"),
    "duplicate id": (_labels(lambda lines: [*lines, lines[-1]]), "twice, wanted each id once"),
    "label 2": (_labels(lambda lines: [*lines[:-1], lines[-1][:-1] + "2"]), "found label '2'"),
    "label NaN": (_labels(lambda lines: [*lines[:-1], lines[-1][:-1] + "nan"]), "found label 'nan'"),
    "label 1.0": (_labels(lambda lines: [*lines[:-1], lines[-1][:-1] + "1.0"]), "found label '1.0'"),
    "no columns": (_labels(lambda lines: lines[1:]), "wanted 'id,label'"),
    "truncated": (_patch(lambda path: path.write_bytes(path.read_bytes()[:9000])), "is truncated"),
    "empty file": (_patch(lambda path: path.write_bytes(b"") or 1), "found an empty file"),
    "not RGB": (_patch(lambda path: tifffile.imwrite(path, BLACK[..., 0])), "wanted RGB"),
    "16 bits": (_patch(lambda path: tifffile.imwrite(path, BLACK.astype("u2"), photometric="rgb")), "16-bit"),
    "other size": (_patch(lambda path: tifffile.imwrite(path, BLACK[:64, :64])), "found 64 by 64 pixels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_line_and_leaves_nothing(fault: str, kaggle_folder: Path, tmp_path: Path) -> None:
    spoil, message = FAULTS[fault]
    folder = tmp_path / "source"
    shutil.copytree(kaggle_folder, folder)
    spoil(folder)
    (tmp_path / "out").mkdir()
    refused = fastpath("pack", folder, "-o", tmp_path / "out" / "store", "-q")
    assert refused.returncode == 2
    assert message in refused.stderr
    assert refused.stderr.startswith("fastpath: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    for command in ("verify", "split"):
        refused = fastpath(command, tmp_path)
        assert refused.returncode == 2
        assert "is not a packed store" in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_unreadable_patches_can_be_left_out(kaggle_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(kaggle_folder, folder)
    bad = sorted((folder / "train").iterdir())[0]
    bad.write_bytes(b"II*\0 not a TIFF")
    packed = fastpath("pack", folder, "-o", tmp_path / "store", "--on-error", "skip", "--json")
    assert packed.returncode == 0, packed.stderr
    values = json.loads(packed.stdout)
    assert values["patches"] == 95
    assert [skip["file"] for skip in values["skipped"]] == [f"train/{bad.name}"]
    assert fastpath("verify", tmp_path / "store", "--source", folder, "-q").returncode == 0


def test_every_real_patch_reads_back_as_tifffile_and_pillow_read_it(sample_folder: Path, tmp_path: Path) -> None:
    from fastpath.store.reader import open_store

    assert fastpath("pack", sample_folder, "-o", tmp_path / "store", "-q").returncode == 0
    store = open_store(tmp_path / "store")
    assert len(store) == 5000
    for row, name in enumerate(store.ids_N):
        path = sample_folder / "train" / f"{name}.tif"
        stored = store.gather(np.array([row]))[0]
        with Image.open(path) as image:
            assert np.array_equal(stored, np.asarray(image)), name
        assert np.array_equal(stored, tifffile.imread(path)), name


def test_parts_merge_and_damage_is_repaired(kaggle_folder: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        packed = fastpath(
            "pack", kaggle_folder, "-o", tmp_path / f"part{number}", "--part", f"{number}/2", "--shard-mb", "1", "-q"
        )
        assert packed.returncode == 0, packed.stderr
    store = tmp_path / "store"
    merged = fastpath("merge", tmp_path / "part2", tmp_path / "part1", "-o", store, "--json")
    assert merged.returncode == 0, merged.stderr
    values = json.loads(merged.stdout)
    assert (values["num_patches"], values["num_shards"], values["split"]) == (96, 3, "group")
    (store / "shard-00001.npy").write_bytes(b"")
    repaired = fastpath("repair", store, "--source", kaggle_folder, "--json", "-q")
    assert repaired.returncode == 0, repaired.stderr
    assert json.loads(repaired.stdout)["repaired"] == ["shard-00001.npy"]
    assert fastpath("verify", store, "--source", kaggle_folder, "-q").returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "3/2"], "found '3/2', wanted I/N"),
        (["--drop", "foggy"], "found 'foggy', wanted one of duplicate"),
        (["--source-kind", "zip"], "found 'zip', wanted one of kaggle"),
        (["--dask", "nonsense://address"], "--dask: found no"),
        (["--labels", "absent.csv"], "absent.csv: found nothing"),
    ],
)
def test_a_wrong_option_is_one_line(options: list[str], message: str, kaggle_folder: Path, tmp_path: Path) -> None:
    refused = fastpath("pack", kaggle_folder, "-o", tmp_path / "store", *options)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert list(tmp_path.iterdir()) == []
