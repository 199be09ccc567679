"""Where patches are from: a column beside the slide that pack, merge and split keep, and folds that leave one out."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastpath.errors import DataError
from fastpath.ingest.check_split import wrong_in_split
from fastpath.ingest.split import leak_notice, write_split
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import merge, pack
from fastpath.workflows.verify import verify

SITES = ("Ost", "Süd", "West")


def _slides(folder: Path) -> list[tuple[str, str]]:
    with (folder / "groups.csv").open(newline="") as file:
        return [(line["id"], line["wsi"]) for line in csv.DictReader(file)]


def _groups_with_sites(folder: Path, path: Path, column: str = "site") -> Path:
    """Write a table of groups in which two slides each are of one site."""
    slides = _slides(folder)
    names = sorted({slide for _, slide in slides})
    lines = [f"{name},{slide},{SITES[names.index(slide) // 2]}" for name, slide in slides]
    path.write_text("\n".join([f"id,wsi,{column}", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def stores(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain`, of 96 patches of 6 slides, and `sites`, the same with three sites."""
    root = tmp_path_factory.mktemp("sites")
    pack.pack_source(kaggle_folder, root / "plain", workers=1)
    groups = _groups_with_sites(kaggle_folder, root / "groups.csv")
    pack.pack_source(kaggle_folder, root / "sites", pack.PackOptions(groups=groups), workers=1)
    return root


def test_sites_are_kept_and_are_part_of_what_a_store_is(stores: Path, kaggle_folder: Path) -> None:
    plain, sites = open_store(stores / "plain"), open_store(stores / "sites")
    assert plain.sites_N is None
    assert plain.fingerprint != sites.fingerprint
    slide_of = dict(_slides(kaggle_folder))
    names = sorted(set(slide_of.values()))
    assert sites.sites_N is not None
    assert sites.sites_N.tolist() == [SITES[names.index(slide_of[name]) // 2] for name in sites.ids_N]
    assert verify.verify_store(stores / "sites").damages == []


@pytest.mark.parametrize("column", ["Site", "center", "CENTRE"])
def test_a_column_of_sites_goes_by_several_names(kaggle_folder: Path, tmp_path: Path, column: str) -> None:
    groups = _groups_with_sites(kaggle_folder, tmp_path / "groups.csv", column)
    pack.pack_source(kaggle_folder, tmp_path / "store", pack.PackOptions(groups=groups), workers=1)
    sites_N = open_store(tmp_path / "store").sites_N
    assert sites_N is not None
    assert set(sites_N) == set(SITES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line.replace("Ost", ""), "found no site for id"),
        (lambda line: line + "\n" + line.replace("Ost", "West"), "in sites 'Ost' and 'West', wanted one"),
    ],
)
def test_a_patch_has_one_site(kaggle_folder: Path, tmp_path: Path, change: object, message: str) -> None:
    groups = _groups_with_sites(kaggle_folder, tmp_path / "groups.csv")
    lines = groups.read_text(encoding="utf-8").splitlines()
    at = next(at for at, line in enumerate(lines) if line.endswith("Ost"))
    lines[at] = change(lines[at])  # type: ignore[operator]
    groups.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        pack.pack_source(kaggle_folder, tmp_path / "store", pack.PackOptions(groups=groups), workers=1)


def test_packing_a_store_again_or_a_part_of_it_keeps_sites(stores: Path, tmp_path: Path) -> None:
    store = open_store(stores / "sites")
    assert store.sites_N is not None
    pack.pack_source(stores / "sites", tmp_path / "again", workers=1)
    assert open_store(tmp_path / "again").fingerprint == store.fingerprint
    only = tmp_path / "only.csv"
    only.write_text("id\n" + "\n".join(store.ids_N[::5]) + "\n")
    pack.pack_source(stores / "sites", tmp_path / "part", pack.PackOptions(only=only), workers=1)
    sites_N = open_store(tmp_path / "part").sites_N
    assert sites_N is not None
    assert sites_N.tolist() == store.sites_N[::5].tolist()


def test_stores_of_sites_merge_and_one_without_is_named(stores: Path, tmp_path: Path) -> None:
    store = open_store(stores / "sites")
    assert store.sites_N is not None
    halves = []
    for number, site in enumerate(SITES):
        only = tmp_path / f"{number}.csv"
        only.write_text("id\n" + "\n".join(store.ids_N[store.sites_N == site]) + "\n")
        halves.append(tmp_path / f"of-{number}")
        pack.pack_source(stores / "sites", halves[-1], pack.PackOptions(only=only), workers=1)
    merge.merge_stores(halves, tmp_path / "merged")
    merged = open_store(tmp_path / "merged")
    assert merged.sites_N is not None
    assert dict(zip(merged.ids_N, merged.sites_N, strict=True)) == dict(zip(store.ids_N, store.sites_N, strict=True))
    without = tmp_path / "without"
    pack.pack_source(stores / "plain", without, pack.PackOptions(only=tmp_path / "0.csv"), workers=1)
    with pytest.raises(DataError, match="without: found no sites, wanted them as the other stores have"):
        merge.merge_stores([halves[1], without], tmp_path / "refused")


def test_each_fold_leaves_one_site_out(stores: Path, tmp_path: Path) -> None:
    shutil.copytree(stores / "sites", tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.sites_N is not None
    table = write_split(store, "site")
    assert (table.kind, table.num_folds) == ("site", 3)
    assert leak_notice(store, table) == ""
    assert wrong_in_split(store) == ""
    for fold, site in enumerate(SITES):
        part = read_split(store, fold)
        assert set(store.sites_N[part.rows(Split.VAL)]) == {site}
        assert set(store.sites_N[part.rows(Split.TRAIN)]) == set(SITES) - {site}
        assert len(part.rows(Split.VAL)) + len(part.rows(Split.TRAIN)) == len(store)


def test_what_cannot_be_left_out_in_turn_is_refused(stores: Path) -> None:
    with pytest.raises(DataError, match=r"found no sites, .*pack with --groups CSV \(id,wsi,site\)"):
        write_split(open_store(stores / "plain"), "site")
    with pytest.raises(DataError, match="found 2 folds for 3 sites"):
        write_split(open_store(stores / "sites"), "site", folds=2)


def test_a_split_by_site_that_is_none_is_found(stores: Path, tmp_path: Path) -> None:
    from fastpath.store import format as fmt
    from fastpath.store import split_document

    shutil.copytree(stores / "sites", tmp_path / "store")
    store = open_store(tmp_path / "store")
    write_split(store, "random", folds=3)
    document = split_document.read_document(store).model_copy(update={"kind": "site"})
    (tmp_path / "store" / fmt.SPLIT).write_bytes(fmt.dump_document(document))
    assert wrong_in_split(store) == "found a site with rows in two parts of a division by site"
    assert len(np.unique(list(document.folds))) == 3
