"""Segments a folder of labelled scans with the command line's own words and scores the result.

    python benchmarks/accuracy.py FOLDER [--out DIR] [options of `napari-synthseg segment`]

FOLDER holds scans with label files beside them (`1002_t1.nii.gz`, `1002_labels.nii.gz`). Runs
`napari-synthseg segment SCANS -o DIR --volumes DIR/volumes.csv --preview` and
`napari-synthseg evaluate DIR FOLDER --json DIR/scores.json`,
which prints the table of scores.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from harness import arguments, command, labelled_pairs

from napari_synthseg import cli


@command
def main() -> int:
    args = arguments(__doc__, "folder", "--out", unknown=True, out={"default": Path("accuracy")})
    scans = [str(scan) for scan, _ in labelled_pairs(args.folder)]
    args.out.mkdir(parents=True, exist_ok=True)
    start, volumes = time.perf_counter(), str(args.out / "volumes.csv")
    code = cli.main(["segment", *scans, "-o", str(args.out), "--volumes", volumes, "--preview", *args.words])
    if code != cli.DONE:
        return code
    print(f"{len(scans)} scans in {time.perf_counter() - start:.1f} s")
    return cli.main(["evaluate", str(args.out), str(args.folder), "--json", str(args.out / "scores.json")])


if __name__ == "__main__":
    sys.exit(main())
