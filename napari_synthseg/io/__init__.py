"""Read and write scans: NIfTI, MGH/MGZ, NRRD, and (with the `dicom` extra) DICOM series; a file of `formats` each.

Every file that cannot be used gives one `InputError` of one sentence that names it. Files are written beside their
final place and then moved there: a failure leaves nothing behind, and what was there before stays whole.
"""

from napari_synthseg.io.formats import stem, suffix
from napari_synthseg.io.labels import LabelName, labels_table, read_label_names, read_label_table
from napari_synthseg.io.reading import (
    SeveralVolumes,
    is_label_like,
    read_labels,
    read_scans,
    read_volume,
    read_with_header,
)  # fmt: skip
from napari_synthseg.io.scan import FileHeader, ScanFile
from napari_synthseg.io.writing import write_exactly, write_label_series, write_labels, write_volume

__all__ = [
    "FileHeader", "LabelName", "ScanFile", "SeveralVolumes", "is_label_like", "labels_table", "read_label_names",
    "read_label_table", "read_labels", "read_scans", "read_volume", "read_with_header", "stem", "suffix",
    "write_exactly", "write_label_series", "write_labels", "write_volume",
]  # fmt: skip
