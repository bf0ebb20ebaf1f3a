"""Keep settings of shells, notebooks and the working directory from affecting what raypeft runs."""

import os
import sys

# Import nothing else here: any module could be found in the working directory first.

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
"""The folder that holds raypeft's packages."""

OWN = {
    # Figures are saved, never shown. A notebook's kernel sets a backend that only it can import.
    "MPLBACKEND": "agg",
    "PYTHONSAFEPATH": "1",  # makes Python leave out the working directory and the script's folder
}
"""Variables of every process that raypeft starts."""

_HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # Python's default


def isolate() -> None:
    """Keep files of the working directory from replacing modules, here and in every child process.

    Folders of PYTHONPATH, the working directory and the script's folder move to the end of the search path,
    so that plug-ins are still found there. Folders that hold installed packages or a sitecustomize keep their
    place. The command line calls this before any other import; a notebook keeps its own settings.
    """
    given = os.environ.pop("PYTHONPATH", "")
    listed = given.split(os.pathsep) if given else []
    kept = [entry for entry in listed if _is_for_modules(entry)]
    last = {*map(_folder, (*listed, "", os.path.dirname(sys.argv[0] if sys.argv else "")))}
    last -= {*map(_folder, kept), SOURCE}
    sys.path.sort(key=lambda entry: _folder(entry) in last)
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    os.environ.update(OWN)
    if os.environ.pop("PYTHONWARNINGS", None):  # "error" would turn a library's warnings into failed trials
        import warnings

        warnings.resetwarnings()
        for category in _HIDDEN:
            warnings.simplefilter("ignore", category)


def _folder(entry: str) -> str:
    return os.path.realpath(entry or os.curdir)


def _is_for_modules(entry: str) -> bool:
    """True if a folder is raypeft's own, or holds installed packages or a sitecustomize."""
    folder = _folder(entry)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return folder == SOURCE or any(
        name == "sitecustomize.py" or name.endswith(".dist-info") for name in names
    )
