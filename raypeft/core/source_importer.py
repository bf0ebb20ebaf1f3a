"""Import modules from text: their files need not exist on this machine."""

import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from raypeft.core.foreign import PLUGIN_FILES


class SourceImporter(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Imports the modules of plug-ins from their text."""

    def __init__(self) -> None:
        self._sources: dict[str, tuple[str, str, bool]] = {}  # module -> file, text, whether it is a package

    def add(self, module: str, *, file: str, text: str, is_package: bool) -> None:
        """Have import statements find `module`."""
        self._sources[module] = file, text, is_package
        PLUGIN_FILES.add(file)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As import statements ask."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self._sources else None

    def get_filename(self, fullname: str) -> str:
        """The plug-in's file on the driver; on workers its name alone."""
        return self._sources[fullname][0]

    def get_source(self, fullname: str) -> str:
        """The text, which tracebacks show and torch.compile reads."""
        return self._sources[fullname][1]

    def is_package(self, fullname: str) -> bool:
        """Whether modules may lie below it."""
        return self._sources[fullname][2]


IMPORTER = SourceImporter()
