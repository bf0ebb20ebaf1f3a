"""A server that answers as the Hugging Face Hub does: files by revision, and its errors."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

Files = dict[str, bytes]


@dataclass
class Hub:
    """What the server holds, and what was asked of it.

    `repositories`: the files of each revision by repository, of which the last is "main"; None: a gated one.
    """

    address: str = ""
    repositories: dict[str, dict[str, Files] | None] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, authorization

    def put(self, repository: str, commit: str, files: Files) -> None:
        """Make a commit the newest of a repository."""
        self.repositories.setdefault(repository, {})[commit] = files


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the server as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            hub.asked.append((self.command, self.path, self.headers.get("authorization", "")))
            status, headers, body = _response(hub, self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def use(hub: Hub, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """Point the hub's client at the server, with a cache of its own."""
    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)


def _response(hub: Hub, path: str) -> tuple[int, dict[str, str], bytes]:
    parts = path.strip("/").split("/")
    if len(parts) < 5 or parts[2] != "resolve":
        return 200, {}, b""
    repository, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
    if repository not in hub.repositories:
        return 401, {"X-Error-Code": "RepoNotFound"}, b""
    commits = hub.repositories[repository]
    if commits is None:
        return 403, {"X-Error-Code": "GatedRepo"}, b""
    commit = [*commits][-1] if revision == "main" else revision
    if commit not in commits:
        return 404, {"X-Error-Code": "RevisionNotFound"}, b""
    if name not in commits[commit]:
        return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
    body = commits[commit][name]
    return 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": commit}, body
