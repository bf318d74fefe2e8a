"""Training of the lesion network, which looks for white matter lesions after the segmentation."""
