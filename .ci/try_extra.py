"""Tries what an extra is for, in the environment it was installed into: `python try_extra.py EXTRA`."""

import sys


def none():
    """The command line alone: a head made of formulas, segmented from file to file."""
    from napari_synthseg.cli import main
    from napari_synthseg.io import read_labels, write_volume
    from napari_synthseg.phantom import head_phantom, phantom_image

    write_volume("head.nii.gz", phantom_image(head_phantom((160, 160, 160))))
    assert main(["segment", "head.nii.gz", "-o", "labels.nii.gz", "--fast"]) == 0
    assert len(set(read_labels("labels.nii.gz").data.ravel())) > 20
    assert not {"napari", "qtpy", "monai"} & set(sys.modules)


def gui():
    """The manifest and every command in it."""
    import npe2

    npe2.PluginManifest.from_distribution("napari-synthseg").validate_imports()


def samples():
    from napari_synthseg.widgets.layers.reader import mni152

    assert mni152()


def train():
    import lightning_fabric  # noqa: F401
    import sklearn.mixture  # noqa: F401

    from napari_synthseg.networks.transformers import Unetr

    Unetr(2, 32, 12, 24, 3, 4, 2, 32)


def tensorboard():
    from torch.utils.tensorboard import SummaryWriter

    SummaryWriter("curves").add_scalar("loss", 1.0)


def cluster():
    from distributed import Client, LocalCluster

    with LocalCluster(1, processes=False, dashboard_address=None) as here, Client(here) as client:
        assert client.submit(sum, (1, 2)).result() == 3


def dicom():
    import pydicom  # noqa: F401

    from napari_synthseg.io import dicom as reader

    assert reader


def studies():
    from pathlib import Path

    from napari_synthseg.evaluation.studies import study_retest

    rows = [f"sub-{person}_ses-{scan},{4000 + 100 * person + scan}" for person in range(5) for scan in (1, 2)]
    Path("volumes.csv").write_text("\n".join(["scan,Left-Hippocampus", *rows, ""]))
    assert study_retest(["volumes.csv"]).structures[0].icc > 0.9


def docs():
    import furo  # noqa: F401
    import myst_parser  # noqa: F401
    import sphinx  # noqa: F401


if __name__ == "__main__":
    globals()[sys.argv[1]]()
