"""Push and pull through huggingface_hub, to a stand-in of the Hub on the loopback address."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import are_progress_bars_disabled

import vaeflow
from vaeflow.errors import CheckpointError, StorageError

COMMIT = "c0ffee" * 6 + "c0ff"


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does to those who read one repository, me/first."""

    root: Path

    def do_GET(self):
        path = self.path.partition("?")[0]
        api = "/api/models/me/first"
        if path in (f"{api}/revision/{COMMIT}", f"{api}/revision/main", api):
            self._send(json.dumps({
                "_id": "1", "id": "me/first", "sha": COMMIT, "tags": [], "downloads": 0, "likes": 0,
                "private": False, "siblings": [{"rfilename": n, "size": s} for n, s in self._all()],
            }).encode())  # fmt: skip
        elif path.startswith(f"{api}/tree/"):
            self._send(json.dumps([
                {"type": "file", "path": n, "size": s, "oid": "0" * 40} for n, s in self._all()
            ]).encode())  # fmt: skip
        elif path.startswith(start := f"/me/first/resolve/{COMMIT}/"):
            self._send((self.root / path.removeprefix(start)).read_bytes())
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def _all(self):
        files = sorted(p for p in self.root.rglob("*") if p.is_file())
        return [(p.relative_to(self.root).as_posix(), p.stat().st_size) for p in files]

    def _send(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{abs(hash(content)):x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *words):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return the folder of the repository; uploads are copied there."""
    Hub.root = tmp_path / "repository"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")

    def upload_folder(self, *, repo_id, folder_path, commit_message, delete_patterns):
        assert repo_id == "me/first"
        shutil.copytree(folder_path, Hub.root)
        return SimpleNamespace(commit_url=f"{url}/me/first/commit/{COMMIT}")

    made = []
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "create_repo", lambda self, **words: made.append(words)
    )
    yield made
    server.shutdown()
    server.server_close()


def test_a_run_goes_to_the_hub_and_back_to_the_bit(trained, hub, tmp_path, caplog):
    assert vaeflow.push(trained, "me/first", private=True).endswith(COMMIT)
    assert hub == [{"repo_id": "me/first", "private": True, "exist_ok": True}]
    card = ModelCard.load(Hub.root / "README.md")
    assert card.data.library_name == "vaeflow"
    assert 'vaeflow.pull("me/first", "runs/first")' in card.text
    caplog.set_level("INFO")
    run = vaeflow.pull("me/first", tmp_path / "run")
    assert COMMIT in caplog.text
    for path in (p for p in run.path.rglob("*") if p.is_file()):
        assert path.read_bytes() == (trained / path.relative_to(run.path)).read_bytes()
    assert vaeflow.load(run.path).posterior.steps == 2
    again = vaeflow.pull("me/first", tmp_path / "again", revision=COMMIT)
    assert again.id == run.id


@pytest.mark.parametrize("name", ["weights.pkl", "a/../../b.json", "/etc/passwd"])
def test_a_hostile_repository_is_refused_before_a_file_is_fetched(
    trained, hub, tmp_path, name, monkeypatch
):
    vaeflow.push(trained, "me/first")
    every = Hub._all
    monkeypatch.setattr(Hub, "_all", lambda self: [*every(self), (name, 3)])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    with pytest.raises(CheckpointError, match=f"me/first holds {name}, which is no part of a run"):
        vaeflow.pull("me/first", tmp_path / "run")


def test_a_missing_repository_is_one_sentence(hub, tmp_path):
    with pytest.raises(StorageError, match=r"me/other cannot be read on the Hub .*hf auth login"):
        vaeflow.pull("me/other", tmp_path / "run")


@pytest.mark.parametrize("quiet", [True, False])
def test_a_quiet_command_hides_the_librarys_bars(trained, hub, tmp_path, cli, monkeypatch, quiet):
    monkeypatch.setattr("vaeflow.hub.hub.on_terminal", lambda: not quiet)
    seen = []
    upload = huggingface_hub.HfApi.upload_folder

    def noted(self, **words):
        seen.append(are_progress_bars_disabled())
        return upload(self, **words)

    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", noted)
    assert cli("push", *["-q"] * quiet, trained, "me/first").code == 0
    assert seen == [quiet]
    assert not are_progress_bars_disabled()
