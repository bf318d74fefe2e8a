"""`python -m napari_synthseg.cli` is the command too."""

import sys

from napari_synthseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
