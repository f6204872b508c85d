"""Hub ids, against a hub that runs in this process: pinning, splits, the cache, offline errors."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from safeft.data import load

COMMIT = "c0ffee" + "0" * 34
FILES = {
    "README.md": b"---\nconfigs:\n- config_name: default\n  data_files:\n"
    b"  - split: train\n    path: data/train*\n  - split: test\n    path: data/test*\n---\n",
    "data/train.jsonl": b'{"question": "Why?", "answer": "So."}\n' * 3,
    "data/test.jsonl": b'{"question": "When?", "answer": "Now."}\n',
}
PROGRAM = """
import sys
from safeft.data import load
from safeft.errors import UserError
for written in sys.argv[1:]:
    try:
        source = load(written)
        print(source.label, len(source.rows), source.rows[0].place)
    except UserError as error:
        print("UserError:", error)
"""


class _Hub(BaseHTTPRequestHandler):
    """The few endpoints of the hub's API that a download needs, for one set."""

    asked: list[str]

    def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        type(self).asked.append(path)
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if path.startswith("/api/datasets/org/set/tree"):
            tree = [
                {"type": "file", "path": name, "size": len(body), "oid": _sha(body)}
                for name, body in FILES.items()
            ]
            self._send(json.dumps(tree).encode(), Content_Type="application/json")
        elif path == "/api/datasets/org/set/revision/main":
            info = {"id": "org/set", "sha": COMMIT, "siblings": [{"rfilename": n} for n in FILES]}
            self._send(json.dumps(info).encode(), Content_Type="application/json")
        elif path.startswith("/api/datasets/org/set/revision/"):
            self._send(b"{}", 404, X_Error_Code="RevisionNotFound")
        elif name in FILES:
            etag = f'"{_sha(FILES[name])}"'
            self._send(FILES[name], ETag=etag, X_Repo_Commit=COMMIT)
        else:
            self._send(b"{}", 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def _sha(body: bytes) -> str:
    return hashlib.sha1(body).hexdigest()


@pytest.fixture(scope="module")
def hub() -> Iterator[ThreadingHTTPServer]:
    """A running hub on this machine."""
    _Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def _load(sources: list[str], home: Path, endpoint: str, **environment: str) -> list[str]:
    """A line per source, from a fresh process, since the hub library reads its settings once."""
    settings = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "0",  # whatever the tests themselves run under
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **environment,
    }
    command = [sys.executable, "-c", PROGRAM, *sources]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_a_hub_set_is_pinned_and_then_read_offline(
    hub: ThreadingHTTPServer, tmp_path: Path
) -> None:
    """The commit is recorded, only the split is fetched, the cache serves it without a network.

    A set or revision that does not exist, and a hub that cannot be reached, give one line each.
    """
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    read, missing, revision = _load(["org/set", "org/none", "org/set@v9:test"], tmp_path, endpoint)
    assert read == f"org/set@{COMMIT}:train 3 org/set/data/train.jsonl, row 1"
    fetched = {path.rpartition("/")[2] for path in _Hub.asked if "/resolve/" in path}
    assert fetched == {"README.md", "train.jsonl"}
    assert missing.startswith("UserError: org/none: neither a local file or folder nor a data set")
    assert "no revision 'v9'" in revision

    sources = ["org/set", "org/set:test", "org/none"]
    cached, *unreachable = _load(sources, tmp_path, endpoint, HF_HUB_OFFLINE="1")
    assert cached == read
    assert all("cannot be reached" in line and "HF_HUB_OFFLINE" in line for line in unreachable)
    assert len(unreachable) == 2


def test_a_full_disk_is_not_an_unreachable_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with this machine reaches the command line as it is."""
    import huggingface_hub

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(OSError, match="No space left"):
        load("org/set")
