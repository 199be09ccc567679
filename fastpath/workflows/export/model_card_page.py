"""A model card as a page to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastpath.workflows.export import model_card_items
from fastpath.workflows.export.model_card_items import NOT_REPORTED

UNMEASURED = "none: run 'fastpath evaluate' on the run, then export again"


def markdown(card: Mapping[str, Any]) -> str:
    """Return a card as Markdown."""
    sections = (_model, _population, _selection, _measured, _thresholds, _subgroups, _failures, _items)
    return "\n".join(line for section in sections for line in section(card))


def _model(card: Mapping[str, Any]) -> list[str]:
    artefact, data, training = card["artefact"], card["data"], card["training"]
    rows = [
        ("predicts", f"{card['predicts']} ({' / '.join(card['classes'])})"),
        ("network", f"{card['network']}, input {card['image_size_px']} px"),
        *((key.replace("_", " "), value) for key, value in artefact.items()),
        ("data", f"store {data['store_fingerprint']}, split {data['split_fingerprint']}"),
        ("split", f"{data['split_kind']}{'; ' + data['notice'] if data['notice'] else ''}"),
        ("training", f"{_epochs(training)}, seed {training['seed']}"),
        ("software", ", ".join(f"{name} {version}" for name, version in card["software"].items())),
    ]
    return ["# Model card", "", f"**Intended use: {card['intended_use']}**", "", *_table(("", ""), rows)]


def _epochs(training: Mapping[str, Any]) -> str:
    """Return how long the run was trained, and after which of its epochs the weights were taken."""
    num, of_weights = training["epochs"], training["epoch_of_weights"]
    taken = "" if num == of_weights else f", of which the weights are those after epoch {of_weights}"
    return f"{num} epoch{'s' * (num != 1)}{taken}"


def _population(card: Mapping[str, Any]) -> list[str]:
    population, lines = card["population"], ["## Population", ""]
    lines += [f"Label: {card['label_definition'] or NOT_REPORTED}.", ""]
    if "parts" not in population:
        return [*lines, f"Patches: {NOT_REPORTED}, {population['unknown']}. Patients: {NOT_REPORTED}.", ""]
    rows = []
    for name, part in population["parts"].items():
        slides = NOT_REPORTED if part["num_slides"] is None else f"{part['num_slides']:,}"
        rows.append((name, f"{part['num_patches']:,}", f"{part['num_tumour']:,}", f"{part['prevalence']:.1%}", slides))
    lines += _table(("part", "patches", "tumour", "prevalence", "slides"), rows)
    flags = ", ".join(f"{num:,} {name}" for name, num in population["flags"].items())
    return [*lines, f"Patients: {NOT_REPORTED}. Patches that look odd: {flags or 'none'}.", ""]


def _selection(card: Mapping[str, Any]) -> list[str]:
    chosen = [*card["selection"]["told"]]
    if card["training"]["best_validation_auc"] >= 0:
        best = card["training"]["best_validation_auc"]
        chosen.append(f"the AUC that chose is {best:.4f}: the best of several, so it is no measure of the model")
    return ["## Selection", "", *(f"- {text}" for text in chosen), ""]


def _measured(card: Mapping[str, Any]) -> list[str]:
    lines = ["## Measured", ""]
    if not card["evaluations"]:
        return [*lines, UNMEASURED, ""]
    for report in card["evaluations"]:
        lines += [f"{report['from']}: {report.get('num_patches', '?')} patches{_share(report)}{_views(report)}", ""]
        rows = [
            (name.replace("_", " "), _number(measure), _ends(measure)) for name, measure in report["measures"].items()
        ]
        lines += _table(("measure", "value", "95 % interval"), rows)
        lines += [
            *(f"- {text}" for text in report.get("notices", [])),
            *(f"- caution: {text}" for text in report["cautions"]),
        ]
        lines += [""]
    return lines


def _thresholds(card: Mapping[str, Any]) -> list[str]:
    lines = ["## Thresholds", ""]
    given = [report for report in card["evaluations"] if report["thresholds"]]
    for report in given:
        held = report.get("held") or {}
        lines += [f"{report['from']}: chosen on other patches than the {held.get('num_patches', '?')} judged here.", ""]
        rows = []
        for point in report["thresholds"]:
            shares = [f"{_number(point[name])} ({_ends(point[name])})" for name in ("sensitivity", "specificity")]
            rows.append((point["name"], f"{point['probability']:.4f}", *shares))
        lines += _table(("point", "probability", "sensitivity", "specificity"), rows)
    return lines if given else [*lines, NOT_REPORTED, ""]


def _subgroups(card: Mapping[str, Any]) -> list[str]:
    lines = ["## Subgroups", ""]
    given = [report for report in card["evaluations"] if report.get("subgroups")]
    for report in given:
        lines += [f"{report['from']}: the lowest AUCs of those that are large enough, all in its report.html.", ""]
        rows = []
        for group in report["subgroups"]:
            named = f"{group['variable'].replace('_', ' ')}: {group['value']}"
            lower = "yes" if group["below_whole"] else "not told"
            rows.append((named, f"{group['num_patches']:,}", _number(group["auc"]), _ends(group["auc"]), lower))
        lines += _table(("subgroup", "patches", "AUC", "95 % interval", "lower than all"), rows)
    return lines if given else [*lines, NOT_REPORTED, ""]


def _failures(card: Mapping[str, Any]) -> list[str]:
    lines = ["## Failures", ""]
    given = [report for report in card["evaluations"] if report["failures"]]
    for report in given:
        failed = report["failures"]
        missed = f"{failed['false_negative']:,} of {failed['num_tumour']:,} tumour patches missed"
        alarms = f"{failed['false_positive']:,} of {failed['num_normal']:,} normal patches called tumour"
        lines.append(f"- {report['from']}, at a probability of {failed['threshold']:g}: {missed}, {alarms}")
        worst = [
            f"{slide['slide']} ({slide['num_wrong']} of {slide['num_patches']})" for slide in failed["worst_slides"]
        ]
        lines += [f"- most wrong patches by slide, calibrated, at 0.5: {', '.join(worst)}"] if worst else []
        lines += [f"- the patches themselves: {report['from']}/gallery.csv"] if failed["gallery"] else []
    return [*lines, ""] if given else [*lines, NOT_REPORTED, ""]


def _items(card: Mapping[str, Any]) -> list[str]:
    items = card["reporting"]
    num = sum(item["reported"] == NOT_REPORTED for item in items)
    text = f"{num} of {len(items)} items are not reported: a run cannot know them. By {model_card_items.SOURCES}."
    rows = [(item["topic"], item["tripod_ai"], item["claim"], item["stard"], item["reported"]) for item in items]
    return ["## Reporting guidelines", "", text, "", *_table(("item", "TRIPOD+AI", "CLAIM", "STARD", "reported"), rows)]


def _table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table of Markdown and an empty line; a bar within a cell would end it."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (heading, *rows)]
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |").replace("|  |", "| |") for row in cells]
    return [lines[0], "|" + "---|" * len(heading), *lines[1:], ""]


def _share(evaluation: Mapping[str, Any]) -> str:
    num, positive = evaluation.get("num_patches"), evaluation.get("num_positive")
    return f", {positive:,} with tumour ({positive / num:.1%})" if num and positive is not None else ""


def _views(evaluation: Mapping[str, Any]) -> str:
    return ", each in its eight turns and mirror images" if evaluation.get("tta_views") == "d4" else ""


def _number(measure: Mapping[str, Any]) -> str:
    return "undefined" if measure.get("value") is None else f"{measure['value']:.4f}"


def _ends(measure: Mapping[str, Any]) -> str:
    known = isinstance(measure.get("low"), int | float) and isinstance(measure.get("high"), int | float)
    return f"{measure['low']:.4f} to {measure['high']:.4f}" if known else "not given"
