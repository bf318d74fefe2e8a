"""Segments a folder of labelled scans with the command line's own words and scores the result.

    python benchmarks/accuracy.py FOLDER [--out DIR] [--keep] [options of `napari-synthseg segment`]

FOLDER holds scans with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`). Runs
`napari-synthseg segment SCANS -o DIR --volumes DIR/volumes.csv --preview` and
`napari-synthseg evaluate DIR FOLDER --json DIR/scores.json`,
which prints the table of scores. With --keep, label files that lie in DIR already are scored as they are.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from napari_synthseg import cli
from napari_synthseg.evaluation.scans import is_label_name
from napari_synthseg.io import stem, suffix
from napari_synthseg.io.formats import readable


def main() -> int:
    """Runs both commands; returns the exit code of the one that failed, or 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("accuracy"))
    parser.add_argument("--keep", action="store_true", help="score what lies in --out already")
    args, words = parser.parse_known_args()
    scans = labelled_scans(args.folder)
    if not scans:
        print(f"{args.folder} holds no scan with a label file beside it.", file=sys.stderr)
        return cli.BAD_INPUT
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.keep:
        start = time.perf_counter()
        volumes = str(args.out / "volumes.csv")
        command = ["segment", *map(str, scans), "-o", str(args.out), "--volumes", volumes, "--preview", *words]
        code = cli.main(command)
        if code != cli.DONE:
            return code
        print(f"{len(scans)} scans in {time.perf_counter() - start:.1f} s")
    return cli.main(["evaluate", str(args.out), str(args.folder), "--json", str(args.out / "scores.json")])


def labelled_scans(folder: Path) -> list[Path]:
    """The scans of a folder that a label file shares the first part of its name with."""
    files = [path for path in sorted(folder.iterdir()) if suffix(path) in readable()]
    labelled = {stem(path).split("_")[0] for path in files if is_label_name(path)}
    return [path for path in files if not is_label_name(path) and stem(path).split("_")[0] in labelled]


if __name__ == "__main__":
    sys.exit(main())
