"""The table of volumes of a Labels layer, and what its rows do to the viewer."""
