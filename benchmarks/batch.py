"""What many scans cost: throughput and memory of `batch`, and its book-keeping at ten thousand scans.

    python benchmarks/batch.py throughput  [SCAN ...] [-n 4] [--size 256] [--json FILE] [--curves FILE.json]
    python benchmarks/batch.py bookkeeping [--scans 10520]
    python benchmarks/batch.py curves      --curves FILE.json --figure FILE.png

`throughput` runs the real command over N phantom heads of SIZE^3 (or the scans given) with 1 process of 1 thread, 1 of
2 and 2 of 1, and watches all of its processes: wall and CPU seconds, scans a minute, and the memory of the whole tree
and of its largest process (resident; pages that processes share count in each), sampled 5 times a second.
`bookkeeping` measures what the number of scans costs apart from segmenting them: looking what is done, the report.
`curves` draws the samples that `throughput` kept.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness import arguments, command, cost, finish, markdown, since, write_json
from reporting.page import rows_table

from napari_synthseg.errors import InputError

WAYS = ((1, 1), (1, 2), (2, 1))
"""Processes, and threads of each."""
EVERY = 0.2
"""Seconds between two looks at the memory."""
PAPER = 10_520
"""Scans that SynthSeg+ was run on (its section 3.4)."""


@command
def main() -> int:
    args = arguments(
        __doc__, "--json", n={"type": int, "default": 4}, size={"type": int, "default": 256}, curves={"type": Path},
        figure={"type": Path}, scans={"type": int, "default": PAPER},
        what_={"choices": list(PARTS)}, scan_={"type": Path, "nargs": "*"},
    )  # fmt: skip
    return finish(PARTS[args.what](args))


# --- throughput -----------------------------------------------------------------------------------------------------


def throughput(args: argparse.Namespace) -> str:
    """The command, once for each way to share the scans out."""
    rows: dict[str, dict[str, float]] = {}
    kept = {}
    with tempfile.TemporaryDirectory() as folder:
        scans = [one.resolve() for one in args.scan] or list(phantoms(Path(folder) / "in", args.n, args.size))
        listing = Path(folder) / "scans.txt"
        listing.write_text("".join(f"{one}\n" for one in scans))
        for jobs, threads in WAYS:
            way, out = f"{jobs} x {threads}", Path(folder) / f"out-{jobs}-{threads}"
            rows[way], kept[way] = one_way(listing, out, jobs, threads, len(scans))
    write_json(args.curves, kept)
    write_json(args.json, rows)
    return rows_table(rows)


def phantoms(folder: Path, count: int, size: int) -> Iterator[Path]:
    """Heads that differ; written once, not measured."""
    from phantom import head_phantom, phantom_image

    from napari_synthseg.io import write_volume

    for seed in range(count):
        path = folder / f"sub-{seed:02}_T1w.nii.gz"
        write_volume(path, phantom_image(head_phantom((size, size, size), seed=seed), seed))
        yield path


def one_way(
    listing: Path, out: Path, jobs: int, threads: int, count: int
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Runs the command and watches it; the row of the table, and the samples."""
    words = ["batch", str(listing), "-o", str(out), "--jobs", str(jobs), "--threads", str(threads), "--device", "cpu"]
    started = cost(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([sys.executable, "-m", "napari_synthseg.cli", *words], stdout=subprocess.DEVNULL)
    curve = []
    while process.poll() is None:
        gib = [size / 2**30 for size in resident(process.pid)]
        figures = {"s": round(time.perf_counter() - started[0], 2), "all_gib": round(sum(gib), 3)}
        done = sum(1 for _ in out.rglob("*_dseg.nii.gz"))
        curve.append({**figures, "largest_gib": round(max(gib, default=0), 3), "done": done})
        time.sleep(EVERY)
    wall, cpu = since(started, resource.RUSAGE_CHILDREN).values()
    if process.returncode:
        raise InputError(f"The command ended with {process.returncode}.")
    row = {
        "wall s": wall,
        "first done after s": next((one["s"] for one in curve if one["done"]), wall),
        "CPU s a scan": cpu / count,
        "scans a minute": 60 * count / wall,
        "peak GiB": max(one["all_gib"] for one in curve),
        "largest process GiB": max(one["largest_gib"] for one in curve),
    }
    return {name: round(value, 2) for name, value in row.items()}, curve


def curves(args: argparse.Namespace) -> str:
    from matplotlib.figure import Figure

    if args.curves is None or args.figure is None:
        raise InputError("Give --curves, which `throughput` wrote, and --figure.")
    kept = json.loads(args.curves.read_text())
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    done, memory = figure.subplots(1, 2)
    for name, curve in kept.items():
        seconds = [one["s"] for one in curve]
        done.step(seconds, [one["done"] for one in curve], where="post", label=name)
        memory.plot(seconds, [one["all_gib"] for one in curve], label=name, linewidth=1)
    for axis, label in ((done, "scans done"), (memory, "memory of all processes (GiB)")):
        axis.set(xlabel="seconds", ylabel=label)
        axis.grid(alpha=0.3)
    done.legend(title="processes x threads", fontsize=8, title_fontsize=8)
    figure.savefig(args.figure, dpi=130)
    return str(args.figure)


def resident(root: int) -> list[int]:
    """Bytes that a process and all its descendants hold (Linux)."""
    sizes, waiting = [], [str(root)]
    while waiting:
        folder = Path("/proc") / waiting.pop()
        with contextlib.suppress(OSError):  # it has ended
            sizes.append(int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            for task in (folder / "task").iterdir():
                waiting += (task / "children").read_text().split()
    return sizes


# --- what the number of scans costs ---------------------------------------------------------------------------------


def bookkeeping(args: argparse.Namespace) -> str:
    """Names, records, report and page of so many scans, none of which is segmented."""
    import numpy as np

    from napari_synthseg import anatomy
    from napari_synthseg.batch.plan import Source, done, fingerprint, made_with, plan
    from napari_synthseg.batch.report import Report, entry, find_outliers, page
    from napari_synthseg.inference.options import SegmentOptions
    from napari_synthseg.inference.outputs import checksum

    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = [Source(folder / f"sub-{n:05}_T1w.nii.gz") for n in range(args.scans)]
        started = time.perf_counter()
        tasks = plan(sources, folder / "out", "input")
        rows.append(("naming", spent(started), ""))
        made = made_with(SegmentOptions())
        few = tasks[:200]
        names = [anatomy.name(value) for value in anatomy.predicted_values() if value]
        volumes = dict(zip(names, np.random.default_rng(3).uniform(500, 3e5, len(names)).tolist(), strict=True))
        expected = {"calibrated": True, "verdict": "good", "mean": 0.82}
        record = {"intracranial_mm3": 1.4e6, "volumes_mm3": volumes, "quality": {}, "expected_dice": expected}
        content = np.random.default_rng(0).bytes(8_000_000)
        labels = np.random.default_rng(1).bytes(300_000)
        few[0].scan.write_bytes(content)
        for task in few:
            if task is not few[0]:
                os.link(few[0].scan, task.scan)
            task.target.parent.mkdir(parents=True)
            task.target.write_bytes(labels)
            task.target.with_name(task.target.name.replace(".nii.gz", ".tsv")).write_text("index\tname\n")
            facts = {"input": fingerprint(task.scan), **made}
            whole = {**record, "program": "napari-synthseg", "labels": checksum(task.target), "made_from": facts}
            task.target.with_name(task.target.name.replace(".nii.gz", ".json")).write_text(json.dumps(whole))
        started = time.perf_counter()
        if not all(done(task.scan, task.target, made) for task in few):
            raise InputError("A done scan was not known as one.")
        each = (time.perf_counter() - started) / len(few)
        rows.append(("looking what is done, one thread", f"{each * args.scans:.2f}", f"{1000 * each:.1f} ms a scan"))
        report = Report(folder / "report.json", tasks)
        rng = np.random.default_rng(2)
        for task in tasks:
            report._entries[task.number] = replace(
                entry(task, "ok", record),
                volumes_mm3={key: value * rng.lognormal(0, 0.1) for key, value in record["volumes_mm3"].items()},
            )
        started = time.perf_counter()
        report.write()
        size = f"{(folder / 'report.json').stat().st_size / 1e6:.1f} MB"
        rows.append(("one writing of report.json", spent(started), size))
        started = time.perf_counter()
        report.write_tables(folder / "volumes.tsv", folder / "quality.tsv")
        rows.append(("both tables", spent(started), ""))
        started = time.perf_counter()
        entries = report.entries
        found = find_outliers({one.input: one.volumes_mm3 for one in entries}, {one.input: 1.4e6 for one in entries})
        text = page(entries, found, {}, folder, 0)
        rows.append(("report.html, pictures apart", spent(started), f"{len(text) / 1e6:.1f} MB"))
    return markdown([f"{args.scans} scans", "s", ""], rows)


def spent(started: float) -> str:
    return f"{time.perf_counter() - started:.2f}"


PARTS = {"throughput": throughput, "bookkeeping": bookkeeping, "curves": curves}
"""What can be asked for."""

if __name__ == "__main__":
    sys.exit(main())
