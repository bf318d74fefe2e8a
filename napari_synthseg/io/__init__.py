"""What is read and written: NIfTI, MGH/MGZ, NRRD, and (with the `dicom` extra) DICOM series.

Every file that cannot be used gives one `InputError` of one sentence that names it. Files are written beside their
final place and then moved there: a failure leaves nothing behind, and what was there before stays whole.

Which affine a NIfTI file has: its sform where `sform_code` > 0, else its qform where `qform_code` > 0; a file with
neither is refused, since nobody could tell left from right in it.
"""

from napari_synthseg.io.checks import SeveralVolumes
from napari_synthseg.io.headers import FileHeader
from napari_synthseg.io.label_table import LabelName, labels_table, read_label_table
from napari_synthseg.io.paths import READABLE, WRITABLE, stem, suffix
from napari_synthseg.io.reading import is_label_like, read_labels, read_scans, read_volume
from napari_synthseg.io.scan_file import ScanFile
from napari_synthseg.io.writing import write_exactly, write_label_series, write_labels, write_volume

__all__ = [
    "READABLE",
    "WRITABLE",
    "FileHeader",
    "LabelName",
    "ScanFile",
    "SeveralVolumes",
    "is_label_like",
    "labels_table",
    "read_label_table",
    "read_labels",
    "read_scans",
    "read_volume",
    "stem",
    "suffix",
    "write_exactly",
    "write_label_series",
    "write_labels",
    "write_volume",
]
