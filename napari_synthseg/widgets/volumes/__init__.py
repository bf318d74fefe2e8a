"""The table of volumes of a Labels layer, with actions on its structures."""
