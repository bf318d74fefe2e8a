"""When a scan is done: its record says what its labels were made from, and that is what they would be made from now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from napari_synthseg.inference.options import SegmentOptions
from napari_synthseg.inference.outputs import posteriors_path, read_record
from napari_synthseg.io.formats import files_of
from napari_synthseg.io.labels import table_path
from napari_synthseg.weights import catalogue

MADE_FROM = "made_from"
"""Key of the record."""
NOT_ASKED = ("device", "threads", "model", "weights")
"""Options that say where to compute, or that the checksums of the weights say better."""


def made_with(options: SegmentOptions) -> dict[str, Any]:
    """What decides on the result beside the scan: options, and the SHA-256 of all weights.

    Raises:
        InputError: there are no such weights.
    """
    fields = asdict(options)
    named = options.weights or options.model
    if options.weights is None and options.robust and options.model == SegmentOptions.model:
        named = catalogue.find_robust()
    sums = {"network": catalogue.sha256(catalogue.find(named))}
    for key, value in fields.items():
        if isinstance(value, Path) and key not in NOT_ASKED:
            sums[key] = catalogue.sha256(catalogue.find(value))
    files = [key for key, value in fields.items() if isinstance(value, Path)]
    kept = {key: value for key, value in fields.items() if key not in (*NOT_ASKED, *files)}
    return json.loads(json.dumps({"options": kept, "weights": sums}))


def fingerprint(scan: Path) -> dict[str, Any]:
    """Size, time of the last change (ns) and SHA-256 of a scan's files."""
    total = hashlib.sha256()
    files = files_of(scan)
    for path in files:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return {**_size_and_time(files), "sha256": total.hexdigest()}


def _size_and_time(files: list[Path]) -> dict[str, int]:
    stats = [path.stat() for path in files]
    return {"bytes": sum(one.st_size for one in stats), "mtime_ns": max((one.st_mtime_ns for one in stats), default=0)}


def same_scan(scan: Path, before: Mapping[str, Any]) -> bool:
    """Whether a scan is still what it was: same size, and either same time or same content."""
    try:
        now = _size_and_time(files_of(scan))
        if now["bytes"] != before.get("bytes"):
            return False
        return now["mtime_ns"] == before.get("mtime_ns") or fingerprint(scan)["sha256"] == before.get("sha256")
    except OSError:
        return False


def done(scan: Path, target: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a scan that need not be segmented again; empty for one that must.

    It need not if the record says that the labels were made from this scan, with these options and weights, and labels
    and table are there, the labels with the checksum that the record has.

    Args:
        scan: what would be read.
        target: the label file.
        made: see `made_with`.
    """
    record = read_record(target)
    before = record.get(MADE_FROM)
    if not isinstance(before, dict) or not table_path(target).is_file():
        return {}
    defaults = json.loads(json.dumps(asdict(SegmentOptions()), default=str))  # options younger than the record
    known = {key: before.get("options", {}).get(key, defaults.get(key)) for key in made["options"]}
    if known != made["options"] or before.get("weights") != made["weights"]:
        return {}
    if made["options"].get("posteriors") and not posteriors_path(target).is_file():
        return {}
    return record if _intact(target, record.get("labels", {})) and same_scan(scan, before.get("input", {})) else {}


def _intact(target: Path, known: Mapping[str, Any]) -> bool:
    try:
        return target.stat().st_size == known.get("bytes") and catalogue.sha256(target) == known.get("sha256")
    except OSError:
        return False
