"""Import modules from text, without their files on this machine."""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from raypeft.core.foreign import PLUGIN_FILES


class SourceImporter(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """An importer that loads the modules of plug-ins from their text."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[str, str, bool]] = {}  # module -> file, text, whether it is a package

    def add(self, module: str, *, file: str, text: str, is_package: bool) -> None:
        """Make import statements find `module`."""
        self._sources[module] = file, text, is_package
        PLUGIN_FILES.add(file)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's spec, as import statements ask for it."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self._sources else None

    def get_filename(self, fullname: str) -> str:
        """Return the plug-in's path on the driver, or its bare file name on workers."""
        return self._sources[fullname][0]

    def get_source(self, fullname: str) -> str:
        """Return the text, which tracebacks show and torch.compile reads."""
        return self._sources[fullname][1]

    def is_package(self, fullname: str) -> bool:
        """True if the module may contain other modules."""
        return self._sources[fullname][2]


IMPORTER = SourceImporter()
