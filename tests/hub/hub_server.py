"""A Hub on 127.0.0.1, in memory: what huggingface_hub sends to create, upload, commit, look up and download.

Large files go the LFS way; Xet is told off by HF_HUB_DISABLE_XET, as its storage protocol is not a public one. Wire
format after `huggingface_hub` 2.4: `hf_api.py`, `_commit_api.py`, `lfs.py`, `file_download.py`.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml

TOKENS = {"hf_writer": ["someone"], "hf_reader": []}  # token: the names that it may write to
LFS_SUFFIXES = (".safetensors", ".bin")
# Of the Hub's validator of card metadata: what it refuses. (It only warns of unknown names of data sets and metrics.)
LICENSES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "openrail", "llama3", "gemma", "other"}
PIPELINE_TAGS = {"image-text-to-text", "image-to-text", "image-classification", "text-generation"}
REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass
class Repo:
    private: bool
    branches: dict[str, str] = field(default_factory=dict)  # name: commit
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # commit: path: content

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        listing = [(path, hashlib.sha1(content).hexdigest()) for path, content in sorted(files.items())]
        oid = hashlib.sha1(f"{len(self.commits)}{listing}".encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def find(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)


class Hub(ThreadingHTTPServer):
    """A context manager. `broken` names what fails: "lfs" (the connection, in the upload), "quota", "commit"."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.storage_url = f"http://localhost:{self.server_port}"  # by name another host, as the Hub's storage is
        self.repos: dict[str, Repo] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.broken: set[str] = set()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        super().__exit__(*error)

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[repo_id]
        return repo.commits[repo.branches[revision]]


def metadata_errors(card: str) -> list[str]:
    """What the Hub's validator would refuse in the YAML of a README.md."""
    match = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    data = yaml.safe_load(match.group(1)) if match else {}
    errors = []
    for name, known in (("license", LICENSES), ("pipeline_tag", PIPELINE_TAGS)):
        if data.get(name, next(iter(known))) not in known:
            errors.append(f'"{name}" must be one of {sorted(known)}')
    for name in ("base_model", "datasets"):
        values = data.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            if not REPO_ID.fullmatch(value):
                errors.append(f'"{name}" with value "{value}" is not valid. Use an id from https://hf.co')
    for tag in data.get("tags", []):
        if not isinstance(tag, str) or len(tag) > 100:
            errors.append('"tags" must be strings')
    for model in data.get("model-index", []):
        for result in model["results"]:
            required = [model["name"], result["task"]["type"], result["dataset"]["type"], result["dataset"]["name"]]
            required += [metric["type"] for metric in result["metrics"]]
            if not all(isinstance(text, str) and text for text in required):
                errors.append('"model-index" lacks a name or type')
            if not all(isinstance(metric["value"], (int, float)) for metric in result["metrics"]):
                errors.append('"model-index" has a metric without a value')
    return errors


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args):
        pass

    def handle_any(self):
        path = urlsplit(self.path).path
        self.server.requests.append(f"{self.command} {unquote(path)}")
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if self.command in method and match:
                return action(self, *(group and unquote(group) for group in match.groups()))
        self.body()
        self.reply({"error": "no such page"}, 404)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    # ---- replies ----

    def body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def reply(self, content: dict | list | bytes = b"", status: int = 200, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(raw))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def refuse(self, status: int, reason: str, code: str = "") -> None:
        self.reply({"error": reason}, status, **({"X_Error_Code": code} if code else {}))

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    # ---- who asks, and for what ----

    def token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def may_write(self, repo_id: str) -> bool:
        if self.token() not in TOKENS:
            self.refuse(401, "Invalid username or password.")
        elif repo_id.partition("/")[0] not in TOKENS[self.token()]:
            self.refuse(403, "You don't have the rights to write to this repository.")
        return self.token() in TOKENS and repo_id.partition("/")[0] in TOKENS[self.token()]

    def readable(self, repo_id: str) -> Repo | None:
        repo = self.server.repos.get(repo_id)
        if repo is None or (repo.private and self.token() not in TOKENS):
            self.refuse(404, "Repository not found", "RepoNotFound")
            return None
        return repo

    def whoami(self) -> None:
        names = TOKENS.get(self.token())
        self.reply({"name": names[0] if names else "reader"}) if names is not None else self.refuse(401, "Unknown")

    def validate_yaml(self) -> None:
        errors = metadata_errors(json.loads(self.body())["content"])
        self.reply({"errors": [{"message": error} for error in errors], "warnings": []}, 400 if errors else 200)

    # ---- repositories and branches ----

    def create_repo(self) -> None:
        asked = json.loads(self.body())
        repo_id = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        if self.may_write(repo_id):
            exists = repo_id in self.server.repos
            if not exists:
                repo = self.server.repos[repo_id] = Repo(private=asked.get("visibility") == "private")
                repo.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
            self.reply({"url": f"{self.server.url}/{repo_id}"}, 409 if exists else 200)

    def delete_repo(self) -> None:
        asked = json.loads(self.body())
        repo_id = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        if self.may_write(repo_id):
            del self.server.repos[repo_id]
            self.reply()

    def info(self, repo_id: str, revision: str = "main") -> None:
        if repo := self.readable(repo_id):
            oid = repo.find(revision or "main")
            if oid is None:
                return self.refuse(404, "Invalid rev id", "RevisionNotFound")
            siblings = [{"rfilename": path} for path in repo.commits[oid]]
            self.reply({"id": repo_id, "sha": oid, "private": repo.private, "siblings": siblings})

    def create_branch(self, repo_id: str, branch: str) -> None:
        self.body()
        if self.may_write(repo_id):
            repo = self.server.repos[repo_id]
            exists = branch in repo.branches
            repo.branches.setdefault(branch, repo.branches["main"])
            self.reply(status=409 if exists else 201)

    def delete_branch(self, repo_id: str, branch: str) -> None:
        if self.may_write(repo_id):
            del self.server.repos[repo_id].branches[branch]
            self.reply()

    # ---- uploads ----

    def preupload(self, repo_id: str, revision: str) -> None:
        asked = json.loads(self.body())
        if self.may_write(repo_id):
            stored = self.server.files(repo_id).get(".gitignore", b"").decode()
            ignored = asked.get("gitIgnore", stored).splitlines()  # names alone: all that these tests need
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                    "shouldIgnore": PurePosixPath(file["path"]).name in ignored,
                }
                for file in asked["files"]
            ]
            self.reply({"files": modes})

    def lfs_batch(self, repo_id: str) -> None:
        objects = json.loads(self.body())["objects"]
        if self.may_write(repo_id):
            if "quota" in self.server.broken:
                error = {"code": 507, "message": "The disk of the Hub is full"}
                return self.reply({"objects": [file | {"error": error} for file in objects]})
            answers = []
            for file in objects:
                upload = {"upload": {"href": f"{self.server.storage_url}/lfs/{file['oid']}"}}
                answers.append(file | ({} if file["oid"] in self.server.large_files else {"actions": upload}))
            self.reply({"transfer": "basic", "objects": answers})

    def lfs_put(self, oid: str) -> None:
        if "lfs" in self.server.broken:
            self.rfile.read(1000)
            return self.hang_up()
        content = self.body()
        assert hashlib.sha256(content).hexdigest() == oid
        self.server.large_files[oid] = content
        self.reply()

    def commit(self, repo_id: str, revision: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        if not self.may_write(repo_id):
            return
        if "commit" in self.server.broken:
            return self.hang_up()
        repo = self.server.repos[repo_id]
        if revision not in repo.branches:
            return self.refuse(404, "Invalid rev id", "RevisionNotFound")
        files = dict(repo.commits[repo.branches[revision]])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large_files[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repo.commit(revision, files)
        self.reply({"commitUrl": f"{self.server.url}/{repo_id}/commit/{oid}", "commitOid": oid})

    # ---- downloads ----

    def tree(self, repo_id: str, revision: str, folder: str | None) -> None:
        if repo := self.readable(repo_id):
            oid = repo.find(revision)
            if oid is None:
                return self.refuse(404, "Invalid rev id", "RevisionNotFound")
            files = {path: raw for path, raw in repo.commits[oid].items() if path.startswith(folder or "")}
            if folder and not files:
                return self.refuse(404, "not found", "EntryNotFound")
            self.reply(
                [{"type": "file", "path": path, "size": len(raw), "oid": etag(raw)} for path, raw in files.items()]
            )

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        if not (repo := self.readable(repo_id)):
            return
        oid = repo.find(revision)
        if oid is None:
            return self.refuse(404, "Invalid rev id", "RevisionNotFound")
        headers = {"X_Repo_Commit": oid}
        if path not in repo.commits[oid]:
            headers["X_Error_Code"] = "EntryNotFound"
            return self.reply({"error": "Entry not found"}, 404, **headers)
        content = repo.commits[oid][path]
        headers["ETag"] = f'"{etag(content)}"'
        if path.endswith(LFS_SUFFIXES):
            digest = hashlib.sha256(content).hexdigest()
            headers |= {"X_Linked_Etag": f'"{digest}"', "X_Linked_Size": str(len(content))}
            return self.reply(status=302, Location=f"{self.server.storage_url}/lfs/{digest}", **headers)
        self.reply(content, **headers)

    def lfs_get(self, oid: str) -> None:
        self.reply(self.server.large_files[oid], ETag=f'"{oid}"')


def etag(content: bytes) -> str:
    """As git names the content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/validate-yaml", Handler.validate_yaml),
    ("POST", "/api/repos/create", Handler.create_repo),
    ("DELETE", "/api/repos/delete", Handler.delete_repo),
    ("GET", f"/api/models/{REPO}", Handler.info),
    ("GET", f"/api/models/{REPO}/revision/(.+)", Handler.info),
    ("POST", f"/api/models/{REPO}/branch/(.+)", Handler.create_branch),
    ("DELETE", f"/api/models/{REPO}/branch/(.+)", Handler.delete_branch),
    ("POST", f"/api/models/{REPO}/preupload/(.+)", Handler.preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", "/lfs/(.+)", Handler.lfs_put),
    ("POST", f"/api/models/{REPO}/commit/(.+)", Handler.commit),
    ("GET", f"/api/models/{REPO}/tree/([^/]+)(?:/(.+))?", Handler.tree),
    ("GET HEAD", f"/{REPO}/resolve/([^/]+)/(.+)", Handler.resolve),
    ("GET HEAD", "/lfs/(.+)", Handler.lfs_get),
]
