"""Writes cardiac-like phantoms in pairs: a chest in some contrast, and the labels of seven structures of its heart.

    python benchmarks/make_heart_phantoms.py OUT [--count N] [--contrast ct|mr|black-blood] [--seed N]
                                             [--shape X Y Z] [--spacing MM ...]

OUT gets `heart<seed>_<contrast>.nii.gz` and `heart<seed>_labels.nii.gz` for each seed from --seed on, as
`train organ --pairs` takes them. They are what docs/other-anatomies.md can be tried on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from heart_phantom import contrasts, write_heart_pairs

from napari_synthseg import cli
from napari_synthseg.errors import InputError


def main() -> int:
    """Writes the files; returns an exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--contrast", choices=contrasts(), default="ct")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", type=int, nargs=3, default=[64, 64, 64])
    parser.add_argument("--spacing", type=float, nargs="+", default=[2.5], help="mm, one number or one an axis")
    args = parser.parse_args()
    spacing = args.spacing * 3 if len(args.spacing) == 1 else args.spacing
    try:
        if len(spacing) != 3 or min(spacing) <= 0 or min(args.shape) < 1:
            raise InputError("A shape is three whole numbers above 0, a spacing one or three numbers above 0.")
        for path in write_heart_pairs(args.out, args.count, args.contrast, tuple(args.shape), spacing, args.seed):
            print(path)
    except InputError as error:
        return cli.complain(error, cli.BAD_INPUT)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(main())
