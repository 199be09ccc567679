"""Pictures of patches have names of their own, and an older set's are known by its show.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastpath.errors import UsageError
from fastpath.workflows.explain import explain
from fastpath.workflows.show import show


def test_no_picture_takes_the_place_of_another() -> None:
    taken: dict[str, bytes] = {}
    ids = ["a", "a-4x", "a-4x-4x", "overview", "show", "row-5", "no name for a file/", "../up", "b" * 300]
    for row, name in enumerate(ids):
        stem = show._free_stem({"id": name, "row": row}, taken)
        files = {f"{stem}.png", f"{stem}-4x.png"}
        assert not files & {show.OVERVIEW, *taken}
        assert "/" not in stem
        taken |= dict.fromkeys(files, b"")
    assert len(taken) == 2 * len(ids)


def test_no_explained_patch_takes_the_place_of_another() -> None:
    names = explain._pictures(["a/b", "a_b", "a_b-3", "a b", "c", "d" * 100 + "1", "d" * 100 + "2", "ä", ".."])
    assert len(set(names)) == len(names) == 9
    assert names[4] == "patches/c.png"
    assert all(name.count("/") == 1 for name in names)


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "3", '{"patches": 3}', '{"patches": [{"files": 3}]}', "[" * 100_000),
        *('{"patches": [{"files": {"a": "../x.png"}}]}', '{"patches": [{"files": {"a": "x.txt", "b": 5}}]}'),
    ],
)
def test_a_strange_show_json_names_nothing_to_be_removed(tmp_path: Path, content: str) -> None:
    (tmp_path / show.FACTS).write_text(content)
    assert show._named(tmp_path / show.FACTS) == []


def test_the_pictures_of_an_older_set_go_with_it(tmp_path: Path) -> None:
    older = [{"files": {"stored": "a[1].png", "enlarged": "a[1]-4x.png"}}]
    show.write(tmp_path, {"a[1].png": b"1", "a[1]-4x.png": b"2", show.OVERVIEW: b"3"}, {"patches": older}, [])
    (tmp_path / "a1.png").write_bytes(b"somebody's own")
    newer = [{"files": {"seen": "b.png", "stored": "b-stored.png"}}]
    show.write(tmp_path, {"b.png": b"1", "b-stored.png": b"2", show.OVERVIEW: b"3"}, {"samples": newer}, [])
    assert {path.name for path in tmp_path.iterdir()} == {
        *("b.png", "b-stored.png", "overview.png", "show.json", "a1.png")
    }
    assert json.loads((tmp_path / show.FACTS).read_text()) == {"samples": newer}


def test_a_picture_of_somebody_elses_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a patch")
    with pytest.raises(UsageError, match="no 'fastpath show' wrote it"):
        show.write(tmp_path, {"a.png": b"1", show.OVERVIEW: b"3"}, {}, [])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.png": b"a patch"}
    show.write(tmp_path, {"a.png": b"a patch", show.OVERVIEW: b"3"}, {}, [])  # as a killed run has left it


def test_a_folder_of_patches_is_not_explained_into(tmp_path: Path) -> None:
    (tmp_path / "patches").mkdir()
    with pytest.raises(UsageError, match="holds 'patches' that no"):
        explain.explain_run(tmp_path / "run", tmp_path, None)  # type: ignore[arg-type]
