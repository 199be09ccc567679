"""Checkpoints of this format version and of others: read, migrated, or refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import checkpoint_writer
import pytest
import torch

from fastpath.engine import migrations
from fastpath.engine.archive import read_archive
from fastpath.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fastpath.errors import CheckpointError

WRITERS = {2: checkpoint_writer.version_2}
"""By format version. Whoever raises `migrations.VERSION` adds a writer of that version; those that are here stay."""
newest = WRITERS[max(WRITERS)]


def oldest(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a made-up version 0 of the same run: another name, another unit, a field fewer."""
    values = {**values, "version": 0, "best_auc_percent": 100 * values["best_auc"]}
    return {name: value for name, value in values.items() if name not in ("best_auc", "num_averaged")}


def from_0(values: dict[str, Any]) -> dict[str, Any]:
    best_auc = values.pop("best_auc_percent") / 100
    return {**values, "best_auc": best_auc}


def from_1(values: dict[str, Any]) -> dict[str, Any]:
    num_steps = values.pop("num_steps")
    return {**values, "num_averaged": num_steps}


def same(migrated: Any, wanted: Any) -> bool:
    if isinstance(wanted, torch.Tensor):
        return torch.equal(migrated, wanted)
    if isinstance(wanted, dict):
        return migrated.keys() == wanted.keys() and all(same(migrated[key], wanted[key]) for key in wanted)
    return bool(migrated == wanted)


@pytest.mark.parametrize("version", WRITERS)
def test_a_checkpoint_of_every_released_version_is_read(version: int, tmp_path: Path) -> None:
    read = load_checkpoint(checkpoint_writer.write(WRITERS[version](), tmp_path / "last.pt"))
    assert isinstance(read, Checkpoint)
    assert read.store_fingerprint == "aaaa"
    assert torch.equal(read.model["weight"], torch.arange(4.0))


def test_the_newest_version_is_what_the_frozen_writer_says_field_for_field(tmp_path: Path) -> None:
    """Another field, another name or another type is another version: raise it, and migrate."""
    assert migrations.VERSION in WRITERS
    frozen = WRITERS[migrations.VERSION]()
    read = load_checkpoint(checkpoint_writer.write(frozen, tmp_path / "frozen.pt"))
    for field in fields(Checkpoint):
        assert same(getattr(read, field.name), frozen[field.name]), field.name
    save_checkpoint(read, tmp_path / "now.pt")
    now = read_archive(tmp_path / "now.pt")
    assert list(now) == list(frozen)
    assert same(now, frozen)
    assert {name: type(value) for name, value in now.items()} == {name: type(value) for name, value in frozen.items()}


def test_migrations_are_applied_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "VERSION", 2)
    monkeypatch.setattr(migrations, "MIGRATIONS", {0: from_0, 1: from_1})
    monkeypatch.setattr(migrations, "ADDED", {1: {"num_steps": 135}})  # which a version 1 got in its lifetime
    frozen = newest()
    read = load_checkpoint(checkpoint_writer.write(oldest(frozen), tmp_path / "last.pt"))
    for field in fields(Checkpoint):
        assert same(getattr(read, field.name), frozen[field.name]), field.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": -1}, "found format version -1, wanted 1; use the release that wrote it"),  # nothing leads from it
        ({"version": 2}, "found format version 2, wanted 1; use the release that wrote it"),
        ({"version": False}, "found format version a bool, wanted 1"),
        ({"version": None}, "found format version a NoneType, wanted 1"),
        ({"best_auc_percent": "high"}, "is not what format version 0 holds"),
        ({"best_auc_percent": 700}, "'best_auc' is not what a checkpoint holds there, wanted a number of 0 to 1"),
        ({"unheard_of": 1}, "'unheard_of' is not what a checkpoint holds there"),
    ],
)
def test_what_no_migration_makes_a_checkpoint_of_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "VERSION", 1)
    monkeypatch.setattr(migrations, "MIGRATIONS", {0: lambda values: from_0(values) | {"num_averaged": 135}})
    monkeypatch.setattr(migrations, "ADDED", {})
    values = oldest(newest()) | change
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(checkpoint_writer.write(values, tmp_path / "last.pt"))


def test_a_field_that_a_version_got_later_need_not_be_there(tmp_path: Path) -> None:
    values = checkpoint_writer.version_2()
    del values["stain"]
    assert load_checkpoint(checkpoint_writer.write(values, tmp_path / "last.pt")).stain == "none"
