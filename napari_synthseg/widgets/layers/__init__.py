"""Files and napari layers: reading, writing, geometry, names and colours of labels."""
