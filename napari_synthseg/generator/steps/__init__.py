"""The steps of the generative models, one file each; every file in this folder is imported, and registers its steps."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
