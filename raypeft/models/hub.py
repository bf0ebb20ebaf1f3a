"""Files on the Hugging Face Hub and at plain addresses: in the cache, downloaded, or clearly missing.

The cache is asked first, so a machine without a network can be given the files beforehand, and a sweep that
found its weights once needs no network again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from raypeft.core.errors import WeightsError

ANSWER_SECONDS = 2.5  # a hub that gives no answer within it is taken for out of reach
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # timm's names, the safe one first


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file in a repository of the Hugging Face Hub.

    Fields:
        repository: OWNER/NAME.
        names: the file's name, or several of which the first that exists is taken.
        revision: a commit, a tag or a branch; None for "main".
    """

    repository: str
    names: tuple[str, ...] = WEIGHTS
    revision: str | None = None

    @property
    def page(self) -> str:
        """Return the address where people read about the repository, and accept its licence."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{self.repository}"

    @property
    def command(self) -> str:
        """Return the command that downloads the file."""
        revision = f" --revision {self.revision}" if self.revision else ""
        return f"hf download {self.repository} {self.names[0]}{revision}"

    def cached(self) -> Path | None:
        """Return the file in the hub's cache, or None."""
        from huggingface_hub import try_to_load_from_cache

        for name in self.names:
            found = try_to_load_from_cache(self.repository, name, revision=self.revision)
            if isinstance(found, str):
                return Path(found)
        return None

    def fetch(self) -> Path:
        """Return the file, after downloading it if the cache has none. Raises: WeightsError."""
        return self.cached() or self._download()

    def _download(self) -> Path:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        if constants.HF_HUB_OFFLINE:
            raise self._missing("not on this machine, and HF_HUB_OFFLINE is set", self._elsewhere)
        _check_reachable(constants.ENDPOINT, lambda why: self._missing(why, self._elsewhere))
        *first, last = self.names
        with self._told_apart():
            for name in first:
                with contextlib.suppress(EntryNotFoundError):
                    try:
                        return Path(hf_hub_download(self.repository, name, revision=self.revision))
                    except LocalEntryNotFoundError as error:  # its subclass: the network broke off
                        raise ConnectionError(str(error)) from error
            return Path(hf_hub_download(self.repository, last, revision=self.revision))

    @contextlib.contextmanager
    def _told_apart(self) -> Iterator[None]:
        """Raise a WeightsError that says what to do for each of the hub's errors."""
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError as error:
            raise self._missing(
                "gated, and no token that may read it",
                f"accept the licence at {self.page}, set HF_TOKEN to a token of that account on every "
                "machine (or run there: hf auth login), and run the same command again",
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise self._missing(
                f"no such repository at {self.page}, or a private one",
                "check the spelling; for a private one set HF_TOKEN to a token that may read it",
            ) from error
        except errors.RevisionNotFoundError as error:
            raise self._missing(
                f"no revision '{self.revision}' in the repository",
                f"choose one of those at {self.page}/commits/main",
            ) from error
        except errors.RemoteEntryNotFoundError as error:
            raise self._missing(
                f"no file {' or '.join(self.names)} in the repository",
                f"see {self.page}/tree/main; a file of another name can be given as weights='FILE'",
            ) from error
        except Exception as error:  # the hub raises its own, httpx' and the system's errors
            raise self._missing(
                f"not readable ({type(error).__name__}: {str(error).splitlines()[0]})",
                f"run the same command again; or {self._elsewhere}",
            ) from error

    def _missing(self, why: str, fix: str) -> WeightsError:
        return WeightsError(f"weights of {self.repository}: {why}; {fix}")

    @property
    def _elsewhere(self) -> str:
        return f"fetch the file where there is a network, and copy the hub's cache here: {self.command}"


@dataclass(frozen=True, kw_only=True)
class UrlFile:
    """A file at an address outside the hub.

    Fields:
        url: its address; the file keeps the name at its end.
        algorithm: "sha256" or "md5".
        digest: the first hex digits of the file's digest, as published; "" if none is.
    """

    url: str
    algorithm: str = "sha256"
    digest: str = ""

    @property
    def page(self) -> str:
        """Return the address."""
        return self.url

    @property
    def path(self) -> Path:
        """Return where the file lies on this machine: where torch.hub and timm keep downloads.

        A name without a digest, such as model.pth.tar, may be anybody's: it gets some digits of its address.
        """
        import torch

        name = Path(urlsplit(self.url).path).name
        if not self.digest or self.digest not in name:
            name = f"{hashlib.sha256(self.url.encode()).hexdigest()[:8]}-{name}"
        return Path(torch.hub.get_dir(), "checkpoints", name)

    @property
    def command(self) -> str:
        """Return the command that downloads the file."""
        return f"curl -L --create-dirs -o {self.path} {self.url}"

    def cached(self) -> Path | None:
        """Return the file on this machine, or None."""
        return self.path if self.path.is_file() else None

    def fetch(self) -> Path:
        """Return the file, after downloading it if it is not here. Raises: WeightsError."""
        path = self.cached() or self._download()
        self._check(path)
        return path

    def _download(self) -> Path:
        from torch.hub import download_url_to_file

        elsewhere = f"fetch it where there is a network: {self.command}"
        server = urlsplit(self.url)
        _check_reachable(f"{server.scheme}://{server.netloc}", lambda why: self._missing(why, elsewhere))
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            download_url_to_file(self.url, str(path), progress=False)
        except Exception as error:  # urllib's, the system's and http's
            raise self._missing(f"not readable ({error})", elsewhere) from error
        return path

    def _check(self, path: Path) -> None:
        if not self.digest:
            return
        with path.open("rb") as file:
            found = hashlib.file_digest(file, self.algorithm).hexdigest()
        if not found.startswith(self.digest):
            raise self._missing(
                f"{path} has the {self.algorithm} {found}, not {self.digest}...",
                "it is damaged or of another version: remove it, and run the same command again",
            )

    def _missing(self, why: str, fix: str) -> WeightsError:
        return WeightsError(f"weights at {self.url}: {why}; {fix}")


def revision_of(path: Path) -> str | None:
    """Return the commit of a file in the hub's cache, which keeps every revision in a folder of its own."""
    folders = path.parts
    return folders[folders.index("snapshots") + 1] if "snapshots" in folders[:-1] else None


def _check_reachable(server: str, failure: Any) -> None:
    """Check that a server answers at all. Raises: what `failure` makes of the reason.

    The hub's own client tries for half a minute before it gives up. A name server that does not answer
    holds up a thread for as long, hence the thread.
    """
    from huggingface_hub import get_session

    reasons: list[str] = []

    def ask() -> None:
        try:
            get_session().head(server, timeout=ANSWER_SECONDS)
            reasons.append("")
        except Exception as error:  # of httpx, of its proxies, of the system
            reasons.append(type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    why = reasons[0] if reasons else f"no answer in {ANSWER_SECONDS:g} s"
    if why:
        proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
        through = f" through the proxy {proxy}" if proxy else ""
        raise failure(f"not on this machine, and {server} cannot be reached{through} ({why})")
