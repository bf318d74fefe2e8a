"""Provenance of labels, by which a batch skips a scan: same scan, options and weights as in the record."""

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
"""Options that do not change the result, or that the checksums of the weights replace."""


def made_with(options: SegmentOptions) -> dict[str, Any]:
    """Return what determines the labels of a scan: options, and SHA-256 of all weights.

    Raises:
        InputError: the weights do not exist.
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
    """Return size, modification time (ns) and SHA-256 of a scan's files."""
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
    """Return whether a scan is unchanged: same size, and same modification time or content."""
    try:
        now = _size_and_time(files_of(scan))
        if now["bytes"] != before.get("bytes"):
            return False
        return now["mtime_ns"] == before.get("mtime_ns") or fingerprint(scan)["sha256"] == before.get("sha256")
    except OSError:
        return False


def done(scan: Path, target: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of a scan that is done; empty if it has to be segmented.

    It is done if its record names this scan and `made` (see `made_with`), and labels and table exist, the labels with
    the checksum of the record.
    """
    record = read_record(target)
    before = record.get(MADE_FROM)
    if not isinstance(before, dict) or not table_path(target).is_file():
        return {}
    defaults = json.loads(json.dumps(asdict(SegmentOptions()), default=str))  # options added since
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
