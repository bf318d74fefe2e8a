"""The recipes, one file each: options, stages, and how data, network and objectives are put together. No torch here."""
