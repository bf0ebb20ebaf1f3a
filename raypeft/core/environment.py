"""What shells, notebooks and working directories leave lying about, kept away from what raypeft runs."""

import os
import sys

# No other module up here: each could be found in the working directory.

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
"""The folder that holds raypeft's packages."""

OWN = {
    # Figures are saved, never shown. A notebook's kernel names its own backend, which nobody else can import.
    "MPLBACKEND": "agg",
    "PYTHONSAFEPATH": "1",  # Python itself leaves out the working directory, and a script's
}
"""Variables of every process that raypeft starts."""

_HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # Python's default


def isolate() -> None:
    """Keep files of the working directory from standing in for modules, here and in every child process.

    A folder of PYTHONPATH, the working directory, and a script's own are looked into last, so that plug-ins
    are still found there. Those that hold installed packages, or a sitecustomize, keep their place.
    The command line calls it before it imports anything else; a notebook keeps its own settings.
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
    if os.environ.pop("PYTHONWARNINGS", None):  # taken for errors, those of libraries would end every trial
        import warnings

        warnings.resetwarnings()
        for category in _HIDDEN:
            warnings.simplefilter("ignore", category)


def _folder(entry: str) -> str:
    return os.path.realpath(entry or os.curdir)


def _is_for_modules(entry: str) -> bool:
    """Whether a folder was made to be imported from: raypeft's own, installed packages, a sitecustomize."""
    folder = _folder(entry)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return folder == SOURCE or any(
        name == "sitecustomize.py" or name.endswith(".dist-info") for name in names
    )
