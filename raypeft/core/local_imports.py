"""Refuse plug-ins that import files lying next to them, which no worker would have."""

import ast
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from raypeft.core.errors import ConfigError
from raypeft.core.foreign import foreign_code


def refuse_local_imports(plugin: Path, texts: Mapping[str, str]) -> None:
    """Check the imports of a plug-in: a file, or a folder whose `texts` are keyed by path inside it.

    Raises: ConfigError naming file and line.
    """
    is_folder = plugin.is_dir()
    for name, text in texts.items():
        file = plugin / name if is_folder else plugin
        with foreign_code(str(file)):
            tree = ast.parse(text, filename=str(file))
        for line, module, level in _imports(tree):
            if level and is_folder:
                continue
            if level or _lies_beside(module.partition(".")[0], file.parent, plugin.parent):
                shown = "." * level + module
                advice = (
                    f"write it as `from .{module.rpartition('.')[2]} import ...`, from within {plugin.name}/"
                    if is_folder
                    else "put both into one folder with an __init__.py, import it there as "
                    f"`from .{module} import ...`, and name the folder as the plug-in"
                )
                raise ConfigError(
                    f"{file}:{line}: imports {shown}, a file beside it, which workers do not have; {advice}"
                )


def _imports(tree: ast.Module) -> Iterator[tuple[int, str, int]]:
    """Yield line, module and dots of every import statement, also of those within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or node.names[0].name, node.level


def _lies_beside(package: str, *folders: Path) -> bool:
    """True if an import statement would find a file or folder there, or would find nothing else."""
    beside = [
        folder for folder in folders if (folder / f"{package}.py").is_file() or (folder / package).is_dir()
    ]
    if not beside or package == "raypeft":
        return False
    spec = importlib.util.find_spec(package)
    if spec is None:
        return True
    found = spec.origin or next(iter(spec.submodule_search_locations or ()), "")
    return any(os.path.realpath(found).startswith(os.path.realpath(folder) + os.sep) for folder in beside)
