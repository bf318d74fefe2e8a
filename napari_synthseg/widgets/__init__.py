"""The napari faces: collect choices, start a worker, show layers. The only room that imports napari or Qt."""
