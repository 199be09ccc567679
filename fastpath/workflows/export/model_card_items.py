"""What guidelines ask of a report on a diagnostic model, item by item, and what a model card has to say of each.

Numbers are those of three lists; topics are in our words:
- TRIPOD+AI: Collins et al., BMJ 385 (2024) e078378, doi:10.1136/bmj-2023-078378.
- CLAIM: Mongan, Moy and Kahn, Radiology: Artificial Intelligence 2 (2020) e200029, doi:10.1148/ryai.2020200029; its
  update of 2024 numbers some of them anew.
- STARD: Bossuyt et al., BMJ 351 (2015) h5527, doi:10.1136/bmj.h5527, which STARD-AI extends (Sounderajah et al.,
  Nature Medicine 2025, doi:10.1038/s41591-025-03953-8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SOURCES = (
    "TRIPOD+AI (Collins et al., BMJ 2024, doi:10.1136/bmj-2023-078378), CLAIM (Mongan et al., Radiology: Artificial "
    "Intelligence 2020, doi:10.1148/ryai.2020200029; numbers before its update of 2024) and STARD (Bossuyt et al., BMJ "
    "2015, doi:10.1136/bmj.h5527), which STARD-AI extends (Sounderajah et al., Nature Medicine 2025, "
    "doi:10.1038/s41591-025-03953-8)"
)
NOT_REPORTED = "not reported"
Card = Mapping[str, Any]
_Say = Callable[[Card], str | None]


def _nothing(_card: Card) -> None:
    """Say nothing: a run cannot know it, and whoever publishes it must write it down."""


def _section(name: str, when: Callable[[Card], object]) -> _Say:
    """Refer to a section of the card, where it holds something."""
    return lambda card: f"see '{name}'" if when(card) else None


def _source(card: Card) -> str | None:
    kind = card["population"].get("source", {}).get("kind")
    return f"a source of kind '{kind}', fingerprint {card['data']['store_fingerprint']}" if kind else None


def _sites(card: Card) -> str | None:
    num = card["population"].get("num_sites")
    return f"{num} sites, which are not described" if num else None


def _preparation(card: Card) -> str:
    px, image_px = card["patch_size_px"], card["image_size_px"]
    mean, std = (" ".join(f"{value:.4f}" for value in card["data"][name]) for name in ("mean_3", "std_3"))
    return f"patches of {px} px enlarged or reduced to {image_px} px, normalised by mean {mean} and deviation {std}"


def _missing(card: Card) -> str | None:
    num = card["population"].get("num_unlabelled")
    return None if num is None else f"{num:,} patches without a label are neither trained on nor judged"


def _partition(card: Card) -> str | None:
    kind = card["population"].get("split_kind")
    disjoint = {"group": "slides never straddle parts", "site": "sites never straddle parts"}.get(kind or "")
    return f"split of kind '{kind}'{'; ' + disjoint if disjoint else ''}; patients are not known" if kind else None


def _epochs(training: Mapping[str, Any]) -> str:
    num, of_weights = training["epochs"], training["epoch_of_weights"]
    return f"{num} epochs" + (f" (the weights after epoch {of_weights})" if num != of_weights else "")


def _model(card: Card) -> str:
    training = card["training"]
    begun = "weights pretrained on photographs" if training["pretrained"] else "random weights"
    return f"{card['network']} from {begun}, {_epochs(training)}, seed {training['seed']}"


def _imbalance(card: Card) -> str:
    drawn = {"natural": "patches drawn as they occur", "weighted": "classes drawn equally often, with replacement"}
    sampling = drawn.get(card["training"]["sampling"], "classes drawn equally often, in turn")
    return f"{sampling}; calibration of the file: {card['artefact'].get('calibration', 'none')}"


def _clusters(card: Card) -> str | None:
    units = [evaluation.get("resampling", {}).get("unit") for evaluation in card["evaluations"]]
    return f"intervals resample by {units[0]}" if units and units[0] else None


def _code(card: Card) -> str:
    return f"fastpath {card['software'].get('fastpath', '')}, configuration {card['training']['config_fingerprint']}"


def _elsewhere(card: Card) -> str | None:
    sources = [evaluation["from"] for evaluation in card["evaluations"] if evaluation.get("external")]
    return f"judged on other stores: {', '.join(sources)}" if sources else None


def _limits(card: Card) -> str | None:
    cautions = [caution for evaluation in card["evaluations"] for caution in evaluation["cautions"]]
    notices = [notice for evaluation in card["evaluations"] for notice in evaluation.get("notices", [])]
    return "see notices and cautions under 'Measured'" if notices or cautions else None


_MEASURED = _section("Measured", lambda card: card["evaluations"])
_THRESHOLDS = _section("Thresholds", lambda card: any(evaluation["thresholds"] for evaluation in card["evaluations"]))
_SUBGROUPS = _section("Subgroups", lambda card: any(evaluation.get("subgroups") for evaluation in card["evaluations"]))
_FAILURES = _section("Failures", lambda card: any(evaluation["failures"] for evaluation in card["evaluations"]))
_POPULATION = _section("Population", lambda card: "parts" in card["population"])

ITEMS: tuple[tuple[str, str, str, str, _Say], ...] = (
    ("kind of model and of study", "1", "1", "1", lambda card: f"development of a classifier, {card['network']}"),
    ("intended use and users", "3a, 3b", "3", "3", lambda card: card["intended_use"]),
    ("known inequalities in health", "3c", "", "", _nothing),
    ("objectives and hypotheses", "4", "4", "4", _nothing),
    ("prospective or retrospective", "", "5", "5", _nothing),
    ("source of the data", "5a", "7", "7", _source),
    ("dates of the data", "5b", "", "8", _nothing),
    ("setting, centres, scanners", "6a", "", "8", _sites),
    ("who was eligible, and how they were sampled", "6b", "8", "6, 9", _nothing),
    ("preparation of the data", "7", "9", "10a", _preparation),
    ("de-identification", "", "12", "", _nothing),
    ("definition of the label (reference standard)", "8a", "14, 15", "10b, 11", lambda card: card["label_definition"]),
    ("who labelled, how qualified, with what tools", "8b", "16, 17", "", _nothing),
    ("blinding of who labelled", "8c", "", "13b", _nothing),
    ("variability of who labelled", "", "18", "", _nothing),
    ("what the model sees", "9a, 9b", "22", "10a", lambda card: f"pixels of {card['patch_size_px']} px patches, RGB"),
    ("rationale of the sample size", "10", "19", "18", _nothing),
    ("missing data", "11", "13", "16", _missing),
    ("division of the data", "12a", "20, 21", "", _partition),
    ("model, initial weights, training", "12c", "22 to 25", "", _model),
    ("choice of the final model", "12c", "26", "", _section("Selection", lambda card: card["selection"]["told"])),
    ("clusters and heterogeneity", "12d, 23b", "", "", _clusters),
    ("measures and their uncertainty", "12e", "28, 29", "14", _MEASURED),
    ("class imbalance", "13", "", "", _imbalance),
    ("fairness", "14", "", "", _nothing),
    ("output and thresholds", "15", "", "12a", _THRESHOLDS),
    ("differences between training and evaluation data", "16, 20c", "", "", _nothing),
    ("ethical approval", "17", "", "", _nothing),
    ("funding", "18a", "42", "30", _nothing),
    ("conflicts of interest", "18b", "", "", _nothing),
    ("protocol", "18c", "41", "29", _nothing),
    ("registration", "18d", "40", "28", _nothing),
    ("availability of the data", "18e", "", "", _nothing),
    ("availability of the code", "18f", "41", "", _code),
    ("involvement of patients and the public", "19", "", "", _nothing),
    ("flow of patients, slides and patches", "20a", "33", "19", _POPULATION),
    ("characteristics of patients", "20b", "34", "20, 21", _nothing),
    ("numbers and events in each analysis", "21", "33", "", _POPULATION),
    ("the model itself", "22", "", "", lambda card: f"the file {card['artefact'].get('file', '')}"),
    ("performance with intervals", "23a", "35, 36", "23, 24", _MEASURED),
    ("performance in subgroups", "23a", "", "", _SUBGROUPS),
    ("evaluation on data from elsewhere", "12a", "32", "", _elsewhere),
    ("robustness", "", "30", "17", _nothing),
    ("explanation of its calls", "", "31", "", _nothing),
    ("analysis of failures", "", "37", "", _FAILURES),
    ("interpretation", "25", "39", "27", _nothing),
    ("limitations", "26", "38", "26", _limits),
    ("poor or unavailable input", "27a", "", "15", _nothing),
    ("interaction with users, and their expertise", "27b", "", "", _nothing),
    ("next steps, applicability", "27c", "39", "27", _nothing),
)
"""Topic, numbers in TRIPOD+AI, CLAIM and STARD, and what the card says of it; None is `NOT_REPORTED`."""


def checklist(card: Card) -> list[dict[str, str]]:
    """Return each item with its numbers and what is reported."""
    return [
        {"topic": topic, "tripod_ai": tripod, "claim": claim, "stard": stard, "reported": say(card) or NOT_REPORTED}
        for topic, tripod, claim, stard, say in ITEMS
    ]
