"""A hub on this machine, with the part of the published HTTP API that the project uses; it keeps what it was asked."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Repositories by id, each with files: bytes that can be fetched, or a number, the size of a file that cannot."""

    def __init__(self, repositories: dict[str, dict[str, bytes | int]]) -> None:
        self.repositories = repositories
        self.asked: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers
        self.commits: list[list[dict[str, Any]]] = []  # the lines of each commit
        self.stored: dict[str, bytes] = {}  # large files, by their hash

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _ in self.asked]


def _described(name: str, files: dict[str, bytes | int]) -> dict[str, Any]:
    """The answer of ``GET /api/models/NAME?blobs=true``."""
    siblings = []
    for file, content in files.items():
        size = content if isinstance(content, int) else len(content)
        lfs = {"sha256": "0" * 64, "size": size, "pointerSize": 135} if isinstance(content, int) else {}
        siblings.append({"rfilename": file, "size": size, "blobId": "0" * 40, **({"lfs": lfs} if lfs else {})})
    return {"_id": "66cc0c6a", "id": name, "modelId": name, "sha": COMMIT, "private": False, "siblings": siblings}


@contextmanager
def serving(repositories: dict[str, dict[str, bytes | int]]) -> Iterator[tuple[str, Hub]]:
    """The address of a hub that serves these repositories, and the hub."""
    hub = Hub(repositories)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def json(self, content: Any, status: int = 200) -> None:
            self.answer(json.dumps(content).encode(), status, Content_Type="application/json")

        def note(self) -> str:
            self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            return self.path.partition("?")[0]

        def do_GET(self) -> None:
            path = self.note()
            for name, files in hub.repositories.items():
                if path.startswith((f"/api/models/{name}/revision", f"/api/models/{name}")):
                    return self.json(_described(name, files))
                if path.startswith(f"/{name}/resolve/"):
                    content = files.get(path.removeprefix(f"/{name}/resolve/").partition("/")[2])
                    if isinstance(content, bytes):
                        etag = f'"{hashlib.sha1(content).hexdigest()}"'
                        return self.answer(content, ETag=etag, X_Repo_Commit=COMMIT)
            known = any(f"/{name}/" in path for name in hub.repositories)
            return self.answer(b"", 404, X_Error_Code="EntryNotFound" if known else "RepoNotFound")

        do_HEAD = do_GET

        def do_PUT(self) -> None:
            name = self.note().rpartition("/")[2]
            hub.stored[name] = self.body
            self.answer(b"")

        def do_POST(self) -> None:
            path = self.note()
            where = f"http://{self.headers['Host']}"
            if path == "/api/repos/create":
                given = json.loads(self.body)
                name = f"{given.get('organization') or 'me'}/{given['name']}"
                hub.repositories.setdefault(name, {})
                return self.json({"url": f"{where}/{name}", "name": name, "id": "66cc0c6a"})
            if "/preupload/" in path:
                files = json.loads(self.body)["files"]
                modes = [{"path": f["path"], "uploadMode": _mode(f["path"]), "shouldIgnore": False} for f in files]
                return self.json({"files": modes, "commitOid": COMMIT})
            if path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(self.body)["objects"]
                upload = [{**o, "actions": {"upload": {"href": f"{where}/lfs/{o['oid']}"}}} for o in objects]
                return self.json({"transfer": "basic", "objects": upload})
            if "/commit/" in path:
                hub.commits.append([json.loads(line) for line in self.body.splitlines()])
                made = {"commitUrl": f"{where}/me/it/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
                return self.json({**made, "hookOutput": "", "pullRequestUrl": None})
            if path == "/api/validate-yaml":
                return self.json({"errors": [], "warnings": []})
            return self.answer(b"", 404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", hub
    finally:
        server.shutdown()
        server.server_close()


def use(monkeypatch: Any, address: str) -> None:
    """Let the hub's client in this process ask that hub, which it otherwise learns from the environment once."""
    settings = {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)


def _mode(path: str) -> str:
    return "lfs" if path.endswith(".safetensors") else "regular"
