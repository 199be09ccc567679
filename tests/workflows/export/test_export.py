"""`fastpath export`: every format computes what the run does, and the card says what it is."""

from __future__ import annotations

import json
import re
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result

from fastpath.cli.main import app
from fastpath.config import parse
from fastpath.errors import FastpathError, IntegrityError, UsageError
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.model import export_formats
from fastpath.runs import inference
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import resolve
from fastpath.store.format import hash_file
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.evaluate import evaluate
from fastpath.workflows.export import export, model_card, model_card_items, model_card_page
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

converts = pytest.mark.skipif(
    torch.__version__.startswith("2.6."), reason="torch 2.6 converts no network of ours to ONNX and says so"
)


def _config(name: str, size: int) -> object:
    return parse(
        {
            "data": {"image_size_px": size, "batch_size": 32, "sampling": "natural"},
            "model": {"name": name, "pretrained": False, "trainable": "all"},
            "train": {"epochs": 1},
        }
    )


@pytest.fixture(scope="module")
def run_dir(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    pack.pack_source(kaggle_folder, folder / "store", workers=1)
    train.train_run(folder / "store", folder / "run", _config("baseline_cnn", 40), resolve("cpu"))  # type: ignore[arg-type]
    return folder / "run"


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def _refusal(result: Result, kind: type[FastpathError]) -> str:
    assert isinstance(result.exception, kind), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.mark.parametrize("name", [pytest.param("model.onnx", marks=converts), "model.pt2", "model.ts"])
@pytest.mark.parametrize("tta", ["none", "d4"])
def test_a_file_computes_what_the_run_does(run_dir: Path, tmp_path: Path, name: str, tta: str) -> None:
    outcome = _invoke(run_dir, "-o", tmp_path / name, "--tta", tta, "--json")
    assert outcome.exit_code == 0, outcome.output
    exported = json.loads(outcome.stdout)
    assert exported["max_difference"] < 1e-4
    assert exported["num_checked"] == 96
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.card.json", f"{name}.card.md"])


@converts
def test_onnx_is_used_without_fastpath(run_dir: Path, tmp_path: Path) -> None:
    assert _invoke(run_dir, "-o", tmp_path / "model.onnx").exit_code == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("patches", "tensor(uint8)", [96, 96, 3])
    store = open_store(run_dir.parent / "store")
    for count in (1, 2, 77):
        rows_N = np.arange(count)
        logits_N, probability_N = session.run(None, {"patches": store.gather(rows_N)})
        wanted_N = score(open_run(run_dir), store, rows_N, resolve("cpu"))
        np.testing.assert_allclose(logits_N, wanted_N, atol=1e-4)
        np.testing.assert_allclose(probability_N, 1 / (1 + np.exp(-wanted_N)), atol=1e-5)


@converts
def test_onnx_says_of_itself_what_it_is(run_dir: Path, tmp_path: Path) -> None:
    assert _invoke(run_dir, "-o", tmp_path / "model.onnx").exit_code == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    metadata, trained = session.get_modelmeta(), open_run(run_dir)
    assert (metadata.producer_name, metadata.version) == ("fastpath", trained.checkpoint.epoch)
    assert metadata.description == model_card.INTENDED_USE
    facts = metadata.custom_metadata_map
    assert json.loads(facts["classes"]) == list(trained.checkpoint.classes)
    assert json.loads(facts["mean"]) == list(trained.stats.mean_3)
    assert json.loads(facts["std"]) == list(trained.stats.std_3)
    assert json.loads(facts["calibration"])["method"] == "none"
    assert "not a calibrated probability" in facts["calibration_note"] or "within" in facts["calibration_note"]
    assert "pkg.torch" not in " ".join(facts)
    graph = onnx.load(tmp_path / "model.onnx").graph
    documented = {value.name: value.doc_string for value in (*graph.input, *graph.output)}
    assert "uint8, N x 96 x 96 x 3" in documented["patches"]
    assert str(list(trained.checkpoint.classes)[1]) in documented["logit"]
    assert documented["probability"] == "sigmoid(logit)."


@converts
def test_averaged_weights_are_those_of_every_command(run_dir: Path, tmp_path: Path) -> None:
    """A run that averages is validated on the average: what is explained and exported must be that network too."""
    config = parse(_config("baseline_cnn", 40).to_dict() | {"train": {"epochs": 1, "ema_decay": 0.9}})  # type: ignore[attr-defined]
    runtime, store = resolve("cpu"), open_store(run_dir.parent / "store")
    train.train_run(store.path, tmp_path / "run", config, runtime)
    trained, rows_N = open_run(tmp_path / "run"), np.arange(20)
    assert trained.checkpoint.average is not None
    wanted_N = score(trained, store, rows_N, runtime)
    passed_N = inference.all_logits(trained, runtime.prepare(trained.network()), store, rows_N, runtime)
    np.testing.assert_array_equal(passed_N, wanted_N)
    assert _invoke(tmp_path / "run", "-o", tmp_path / "model.onnx").exit_code == 0
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    logits_N, _ = session.run(None, {"patches": store.gather(rows_N)})
    np.testing.assert_allclose(logits_N, wanted_N, atol=1e-4)


@pytest.mark.parametrize(
    "calibration",
    [
        {"method": "temperature", "temperature": 2.0, "kept": True},
        {"method": "isotonic", "knots": [-1.0, -0.2, 0.4], "heights": [-3.0, 0.1, 2.0], "kept": True},
    ],
)
def test_a_calibration_travels_with_the_model(run_dir: Path, tmp_path: Path, calibration: dict[str, object]) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    calibration |= {"weights": hash_file(tmp_path / "run" / "best.pt"), "tta": "none"}
    (tmp_path / "run" / "calibration.json").write_text(json.dumps(calibration))
    for flag, method in (("--calibrated", calibration["method"]), ("--raw", "none")):
        outcome = _invoke(tmp_path / "run", "-o", tmp_path / "model.ts", flag, "--json")
        assert outcome.exit_code == 0, outcome.output
        assert json.loads(outcome.stdout)["calibration"] == method
    # One of other weights, or of other views, would be wrong here.
    for stranger, why in (({"weights": "0" * 16}, "belongs to other weights"), ({"tta": "d4"}, "fitted with --tta d4")):
        (tmp_path / "run" / "calibration.json").write_text(json.dumps(calibration | stranger))
        outcome = _invoke(tmp_path / "run", "-o", tmp_path / "model.ts", "--check", 0, "--json")
        assert json.loads(outcome.stdout)["calibration"] == "none"
        assert why in json.loads(outcome.stdout)["notice"]


def test_a_file_that_computes_something_else_is_not_kept(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(content: bytes, module: object) -> Any:
        return lambda patches: np.zeros(len(patches), np.float32)

    monkeypatch.setitem(export_formats.READERS, "pt2", shifted)
    message = _refusal(_invoke(run_dir, "-o", tmp_path / "model.pt2"), IntegrityError)
    assert "wanted at most 0.001" in message
    assert list(tmp_path.iterdir()) == []


def test_a_torch_that_cannot_convert_is_told_in_one_line(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object, **__: object) -> None:
        raise RuntimeError("no decomposition\nfor this operator")

    monkeypatch.setattr(torch.onnx, "export", unable)
    message = _refusal(_invoke(run_dir, "-o", tmp_path / "model.onnx"), FastpathError)
    assert "cannot convert this network (no decomposition for this operator)" in message
    assert not list(tmp_path.iterdir())


def test_an_unknown_ending_is_refused(run_dir: Path, tmp_path: Path) -> None:
    assert ".onnx, .pt2, .ts" in _refusal(_invoke(run_dir, "-o", tmp_path / "model.bin"), UsageError)


def test_the_card_names_data_split_measures_and_use(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    (tmp_path / "run" / "evaluation-val").mkdir()
    auc = {"value": 0.91, "low": 0.88, "high": 0.94}
    intervals = {"auc": auc, "calibration_slope": {"value": None, "low": None, "high": None}}
    facts = {"split": "val", "num_patches": 19, "notices": ["slides are unknown"], "auc": 0.91, "brier": 0.1}
    facts |= {"intervals": intervals}
    (tmp_path / "run" / "evaluation-val" / "metrics.json").write_text(json.dumps(facts))
    assert _invoke(tmp_path / "run", "-o", tmp_path / "model.ts").exit_code == 0
    card = json.loads((tmp_path / "model.ts.card.json").read_text())
    assert card["intended_use"] == model_card.INTENDED_USE
    store = open_store(run_dir.parent / "store")
    assert card["data"]["store_fingerprint"] == store.fingerprint
    assert card["data"]["split_kind"] == "group"
    assert card["evaluations"][0]["measures"] == {"auc": auc, "brier": {"value": 0.1}}
    assert card["evaluations"][0]["thresholds"] == []
    assert {item["reported"] for item in card["reporting"] if item["topic"] == "output and thresholds"} == {
        model_card_items.NOT_REPORTED
    }
    page = (tmp_path / "model.ts.card.md").read_text()
    for text in ("Research only", store.fingerprint, "| auc | 0.9100 | 0.8800 to 0.9400 |", "slides are unknown"):
        assert text in page


def test_the_card_tells_population_selection_thresholds_failures_and_what_is_not_reported(
    run_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    evaluated = evaluate.evaluate_run(tmp_path / "run", resolve("cpu"), store_path=run_dir.parent / "store").facts
    large = [subgroup for subgroup in evaluated["subgroups"]["groups"] if subgroup["auc"]["value"] is not None][:2]
    for subgroup in large:  # as on a set of some size
        subgroup["warnings"] = []
    (tmp_path / "run" / "evaluation-val" / "metrics.json").write_text(json.dumps(evaluated))
    assert _invoke(tmp_path / "run", "-o", tmp_path / "model.ts", "--check", 0).exit_code == 0
    card = json.loads((tmp_path / "model.ts.card.json").read_text())
    store = open_store(run_dir.parent / "store")
    rows_N = read_split(store).rows(Split.TRAIN)
    assert card["population"]["parts"]["trained on"] == {
        "num_patches": len(rows_N),
        "num_tumour": int(store.labels_N[rows_N].sum()),
        "prevalence": pytest.approx(store.labels_N[rows_N].mean()),
        "num_slides": len(set(store.groups_N[rows_N].tolist())) if store.groups_N is not None else None,
    }
    assert "the middle 32 by 32 of 96 by 96 pixels" in card["label_definition"]
    assert card["selection"]["told"][0] == "no epoch was chosen"  # of one
    (evaluation,) = card["evaluations"]
    assert [(threshold["name"], threshold["probability"]) for threshold in evaluation["thresholds"]] == [
        (point["name"], point["probability"]) for point in evaluated["operating_points"]
    ]
    assert evaluation["failures"]["false_negative"] == evaluated["confusion"]["false_negative"]
    assert evaluation["failures"]["num_tumour"] == evaluated["num_positive"]
    assert evaluation["failures"]["gallery"]
    assert [subgroup["auc"]["value"] for subgroup in evaluation["subgroups"]] == [
        subgroup["auc"]["value"] for subgroup in large
    ]
    reported = {item["topic"]: item["reported"] for item in card["reporting"]}
    for topic in ("ethical approval", "funding", "who labelled, how qualified, with what tools"):
        assert reported[topic] == model_card_items.NOT_REPORTED
    for topic in (
        "division of the data",
        "output and thresholds",
        "analysis of failures",
        "performance with intervals",
        "performance in subgroups",
    ):
        assert reported[topic] != model_card_items.NOT_REPORTED
    page = (tmp_path / "model.ts.card.md").read_text()
    for heading in ("Population", "Selection", "Measured", "Thresholds", "Subgroups", "Failures"):
        assert f"## {heading}\n" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert page.count(model_card_items.NOT_REPORTED) > 10
    assert "| funding | 18a | 42 | 30 | not reported |" in page


def test_the_card_holds_evaluations_of_other_stores_too(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    other = tmp_path / "other"
    write_kaggle_folder(tmp_path / "kaggle", num_train=48, num_test=0, num_slides=6, seed=23)
    pack.pack_source(tmp_path / "kaggle", other, workers=1)
    evaluate.evaluate_run(tmp_path / "run", resolve("cpu"), store_path=other)
    evaluations, _ = model_card.evaluations(tmp_path / "run")
    assert [evaluation["from"] for evaluation in evaluations if evaluation.get("external")] == ["external-other"]


def test_files_of_one_stem_have_a_card_each(run_dir: Path, tmp_path: Path) -> None:
    names = ("model.pt2", "model.ts")
    for name, tta in zip(names, ("none", "d4"), strict=True):
        assert _invoke(run_dir, "-o", tmp_path / name, "--tta", tta, "--check", 0).exit_code == 0
    cards = [json.loads((tmp_path / f"{name}.card.json").read_text())["artefact"] for name in names]
    assert [(card["file"], card["tta"]) for card in cards] == [("model.pt2", "none"), ("model.ts", "d4")]


@pytest.mark.parametrize(("best", "words"), [(2, "3 epochs, of which the weights are those after epoch 2"), (3, "")])
def test_the_card_tells_how_long_was_trained_and_of_which_epoch_the_weights_are(
    run_dir: Path, best: int, words: str
) -> None:
    trained = open_run(run_dir)
    checkpoint = replace(trained.checkpoint, epoch=best, best_epoch=best)
    config = trained.config.model_copy(update={"train": trained.config.train.model_copy(update={"epochs": 3})})
    longer = replace(trained, path=Path("alone") / "best.pt", checkpoint=checkpoint, config=config)
    card = model_card.describe(longer, {"file": "model.ts"}, [])
    assert (card["training"]["epochs"], card["training"]["epoch_of_weights"]) == (3, best)
    assert f"| training | {words or '3 epochs'}, seed" in model_card_page.markdown(card)


def test_an_evaluation_of_the_weights_of_another_epoch_is_left_out(tmp_path: Path) -> None:
    for name, epoch in (("evaluation-val", 2), ("evaluation-val-last", 3), ("evaluation-old", None)):
        (tmp_path / name).mkdir()
        facts = {"auc": 0.9, "tta_views": "none"} | ({} if epoch is None else {"epoch": epoch})
        (tmp_path / name / "metrics.json").write_text(json.dumps(facts))
    evaluations, words = model_card.evaluations(tmp_path, 2)
    assert [evaluation["from"] for evaluation in evaluations] == ["evaluation-old", "evaluation-val"]
    assert words == "the card leaves out evaluation-val-last, of the weights of another epoch"


def test_every_item_of_the_lists_names_its_number() -> None:
    topics = [topic for topic, *_ in model_card_items.ITEMS]
    assert len(set(topics)) == len(topics)
    assert all(tripod or claim or stard for _, tripod, claim, stard, _ in model_card_items.ITEMS)
    tripod = " ".join(numbers for _, numbers, *_ in model_card_items.ITEMS)
    assert {int(number) for number in re.findall(r"\d+", tripod)} >= {1, *range(3, 24), *range(25, 28)}


@pytest.mark.parametrize("content", [None, "{", "[]", '{"intervals": []}', '{"auc": {"value": {}}, "intervals": 3}'])
def test_an_evaluation_that_is_not_whole_is_left_out_of_the_card_and_told(
    run_dir: Path, tmp_path: Path, content: str | None
) -> None:
    folder = tmp_path / "evaluation-val"
    folder.mkdir()
    if content is not None:
        (folder / "metrics.json").write_text(content)
    evaluations, notices = model_card.evaluations(tmp_path)
    assert evaluations == []
    assert "leaves out evaluation-val" in notices


@pytest.mark.parametrize("name", [pytest.param("model.onnx", marks=converts), "model.pt2", "model.ts"])
def test_a_file_names_no_place_of_this_machine(run_dir: Path, tmp_path: Path, name: str) -> None:
    """Every exporter keeps where in the code an operation came from, unless told otherwise."""
    assert _invoke(run_dir, "-o", tmp_path / name, "--check", 0).exit_code == 0
    content = (tmp_path / name).read_bytes()
    parts = [content]
    if zipfile.is_zipfile(tmp_path / name):
        with zipfile.ZipFile(tmp_path / name) as archive:
            parts = [archive.read(entry) for entry in archive.infolist()]
    for place in (str(Path(export.__file__).parents[3]), sys.prefix, str(run_dir.parent), "deploy.py"):
        assert not any(place.encode() in part for part in parts), place


def test_a_run_without_its_store_is_exported_unchecked(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes((run_dir / "best.pt").read_bytes())
    outcome = _invoke(tmp_path / "best.pt", "-o", tmp_path / "model.ts", "--check", 0, "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["max_difference"] is None
    card = json.loads((tmp_path / "model.ts.card.json").read_text())
    assert card["data"]["split_kind"] == "unknown"
    assert card["evaluations"] == []
    assert model_card_page.UNMEASURED in (tmp_path / "model.ts.card.md").read_text()


@converts
def test_real_patches_and_a_timm_network_agree_within_a_thousandth(sample_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(sample_folder, tmp_path / "store", workers=1)
    config = _config("resnet10t", 64)
    short = config.model_copy(update={"data": config.data.model_copy(update={"limit": 64, "val_limit": 32})})  # type: ignore[attr-defined]
    train.train_run(tmp_path / "store", tmp_path / "run", short, resolve("cpu"))
    exported = export.export_run(tmp_path / "run", tmp_path / "model.onnx", resolve("cpu"))
    assert exported.num_checked == 1000
    assert exported.max_difference is not None
    assert exported.max_difference <= 1e-3
