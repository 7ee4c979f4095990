"""Where the files of data sets are found, fetched, verified and recorded."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from vaeflow.errors import DataError
from vaeflow.parts.datasets.files.download import Origin

CONTENT = b"the data"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
SOURCES = ("https://first.example/", "https://second.example/sub/")


def origin(checksum: str | None = None, **more) -> Origin:
    return Origin("Things", "things", SOURCES, {"x.mat": checksum}, **more)


def read(path: Path) -> bytes:
    """Stand in for a reader, which refuses everything but the data."""
    content = path.read_bytes()
    if not content.startswith(b"the"):
        raise DataError(f"{path} cannot be read: fetch the file again")
    return content


class Web:
    """Stands in for `pooch.retrieve`: like it, a file in the cache is not fetched again."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = dict(zip(SOURCES, answers, strict=False))
        self.asked: list[str] = []

    def __call__(self, url, known_hash, fname, path):
        file = Path(path) / fname
        if not file.exists():
            self.asked.append(url)
            answer = self.answers[url.removesuffix(fname)]
            if isinstance(answer, Exception):
                raise answer
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(answer)
        return str(file)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.delenv("VAEFLOW_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr("pooch.retrieve", lambda *a, **k: pytest.fail("a download was tried"))
    return tmp_path / "cache"


@pytest.fixture
def web(monkeypatch):
    def install(*answers: bytes | Exception) -> Web:
        standing_in = Web(*answers)
        monkeypatch.setattr("pooch.retrieve", standing_in)
        return standing_in

    return install


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refusal(of: Origin, root: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        of.load("x.mat", root, read)
    return str(caught.value)


class TestFinding:
    @pytest.mark.parametrize("folder", [".", "things", "Things/raw"])
    def test_a_root_is_searched_with_the_usual_folders(self, tmp_path, folder):
        put(tmp_path / "root" / folder / "x.mat")
        assert origin(SHA256, folders=("Things/raw",)).load("x.mat", tmp_path / "root", read)

    def test_the_data_sets_own_folder_goes_before_the_root(self, tmp_path):
        put(tmp_path / "x.mat", b"the data of another set")
        put(tmp_path / "things" / "x.mat")
        assert origin(SHA256).load("x.mat", tmp_path, read) == CONTENT

    def test_the_option_for_the_root_goes_before_the_variable(self, tmp_path, monkeypatch):
        put(tmp_path / "given" / "x.mat")
        monkeypatch.setenv("VAEFLOW_DATA", str(tmp_path / "given"))
        assert origin(SHA256).load("x.mat", None, read) == CONTENT
        assert "elsewhere holds no x.mat" in refusal(origin(SHA256), tmp_path / "elsewhere")

    def test_an_empty_variable_names_no_root(self, monkeypatch, web):
        monkeypatch.setenv("VAEFLOW_DATA", "")
        web(CONTENT)
        assert origin(SHA256).load("x.mat", None, read) == CONTENT

    def test_a_missing_file_is_an_error_with_the_cure(self, tmp_path, one_sentence):
        message = refusal(origin(SHA256), tmp_path)
        one_sentence(message)
        assert message == (
            f"{tmp_path} holds no x.mat: give the directory of the Things files with --data-root, "
            "or leave it and $VAEFLOW_DATA out to download them"
        )


class TestVerifying:
    @pytest.mark.parametrize("checksum", [MD5, SHA256])
    def test_a_published_checksum_of_either_kind_is_compared(self, tmp_path, checksum):
        put(tmp_path / "x.mat")
        assert origin(checksum).load("x.mat", tmp_path, read) == CONTENT

    @pytest.mark.parametrize(("checksum", "name"), [(MD5, "MD5"), (SHA256, "SHA-256")])
    def test_another_checksum_is_refused_and_the_file_left_alone(
        self, tmp_path, checksum, name, one_sentence
    ):
        path = put(tmp_path / "x.mat", b"the date")
        message = refusal(origin(checksum), tmp_path)
        one_sentence(message)
        assert message.startswith(f"{path} has {name} ")
        assert f"Things's x.mat has {checksum[:12]}…: fetch the file again" in message
        assert path.read_bytes() == b"the date"

    def test_the_archive_or_its_content_is_verified(self, tmp_path):
        archive = gzip.compress(CONTENT, mtime=0)
        put(tmp_path / "x.mat.gz", gzip.compress(CONTENT, 1, mtime=9))
        packed_by_anyone = origin(SHA256, suffix=".gz", unpacked=True)
        assert packed_by_anyone.load("x.mat", tmp_path, lambda path: path.name) == "x.mat.gz"
        as_published = origin(hashlib.md5(archive).hexdigest(), suffix=".gz")
        assert "x.mat.gz has MD5" in refusal(as_published, tmp_path)
        put(tmp_path / "x.mat.gz", archive)
        assert as_published.load("x.mat", tmp_path, lambda path: path.name) == "x.mat.gz"

    def test_an_unpacked_copy_passes_if_its_content_can_be_verified(self, tmp_path):
        put(tmp_path / "x.mat")
        assert origin(SHA256, suffix=".gz", unpacked=True).load("x.mat", tmp_path, read) == CONTENT
        # The archive's checksum says nothing of a plain copy, which may be another data set's.
        assert "holds no x.mat.gz" in refusal(origin(SHA256, suffix=".gz"), tmp_path)

    def test_a_file_that_cannot_be_read_is_an_error(self, tmp_path, monkeypatch, one_sentence):
        put(tmp_path / "x.mat")
        with monkeypatch.context() as patch:
            patch.setattr("hashlib.file_digest", lambda *a: (_ for _ in ()).throw(OSError("bad")))
            message = refusal(origin(SHA256), tmp_path)
        one_sentence(message)
        assert message == f"{tmp_path / 'x.mat'} cannot be read (bad): fetch the file again"


class TestDownloading:
    def test_a_file_is_fetched_once(self, web, cache):
        seen = web(CONTENT)
        for _ in range(2):
            assert origin(SHA256).load("x.mat", None, read) == CONTENT
        assert seen.asked == ["https://first.example/x.mat"]
        assert (cache / "things" / "x.mat").read_bytes() == CONTENT

    @pytest.mark.parametrize("first", [ConnectionError("down"), b"the date", b"<html>"], ids=repr)
    def test_the_second_source_is_asked_if_the_first_fails(self, web, first):
        seen = web(first, CONTENT)
        assert origin(SHA256).load("x.mat", None, read) == CONTENT
        assert seen.asked == [f"{source}x.mat" for source in SOURCES]

    def test_a_copy_that_was_damaged_in_the_cache_is_fetched_again(self, web, cache):
        put(cache / "things" / "x.mat", b"the da")
        seen = web(CONTENT)  # by the first source, even if it were the only one
        assert origin(SHA256).load("x.mat", None, read) == CONTENT
        assert seen.asked == ["https://first.example/x.mat"]

    def test_without_a_source_every_reason_is_told_and_no_file_is_left(
        self, web, cache, one_sentence
    ):
        web(ConnectionError("down"), b"<html>")
        message = refusal(origin(SHA256))
        one_sentence(message)
        assert message.startswith(
            "x.mat could not be downloaded (https://first.example/: ConnectionError; "
        )
        assert "has SHA-256" in message
        assert message.endswith("fetch it yourself and name its directory with --data-root")
        assert not list((cache / "things").iterdir())

    def test_an_error_in_the_reader_is_not_blamed_on_the_source(self, web):
        web(CONTENT)
        with pytest.raises(ZeroDivisionError):
            origin(SHA256).load("x.mat", None, lambda path: 1 / 0)


class TestRecording:
    def record(self, cache: Path) -> Path:
        return cache / "things" / "x.mat.sha256"

    def test_an_unpublished_checksum_is_told_and_recorded(self, tmp_path, cache, caplog):
        put(tmp_path / "x.mat")
        assert origin().load("x.mat", tmp_path, read) == CONTENT
        assert self.record(cache).read_text() == f"{SHA256}  x.mat\n"  # as sha256sum -c reads it
        assert caplog.messages == [
            f"no published checksum of x.mat is known: SHA-256 {SHA256} is recorded in "
            f"{self.record(cache)}, and later loads must find the same"
        ]
        caplog.clear()
        assert origin().load("x.mat", tmp_path, read) == CONTENT
        assert not caplog.messages

    def test_a_file_unlike_the_record_is_refused_until_the_record_is_deleted(
        self, tmp_path, cache, one_sentence
    ):
        path = put(tmp_path / "x.mat")
        origin().load("x.mat", tmp_path, read)
        put(path, b"the date")
        message = refusal(origin(), tmp_path)
        one_sentence(message)
        assert message.startswith(f"{path} has SHA-256 ")
        assert f"but {SHA256[:12]}… was recorded when x.mat was first loaded" in message
        assert message.endswith(f"delete {self.record(cache)} to take it as it is now")
        self.record(cache).unlink()
        assert origin().load("x.mat", tmp_path, read) == b"the date"

    def test_a_file_that_cannot_be_read_is_not_recorded(self, web, cache):
        seen = web(b"<html>", CONTENT)
        assert origin().load("x.mat", None, read) == CONTENT
        assert len(seen.asked) == 2
        assert self.record(cache).read_text().startswith(SHA256)

    def test_a_file_that_changed_in_the_cache_is_fetched_again(self, web, cache):
        web(CONTENT)
        origin().load("x.mat", None, read)
        put(cache / "things" / "x.mat", b"the date")
        assert origin().load("x.mat", None, read) == CONTENT

    def test_a_file_that_changed_at_its_sources_is_refused(self, web, cache, one_sentence):
        web(CONTENT)
        origin().load("x.mat", None, read)
        (cache / "things" / "x.mat").unlink()
        web(b"the date", ConnectionError())
        message = refusal(origin())
        one_sentence(message)
        assert "could not be downloaded" in message
        assert "was recorded when x.mat was first loaded" in message

    def test_a_damaged_record_counts_as_another_checksum(self, tmp_path, cache):
        put(tmp_path / "x.mat")
        put(self.record(cache), b"\xff\xfe nonsense")
        assert f"delete {self.record(cache)}" in refusal(origin(), tmp_path)

    def test_a_cache_that_cannot_be_written_costs_a_warning(self, tmp_path, cache, caplog):
        put(tmp_path / "x.mat")
        put(cache, b"a file where the folder should be")
        assert origin().load("x.mat", tmp_path, read) == CONTENT
        (message,) = caplog.messages
        assert f"SHA-256 {SHA256} could not be recorded (" in message
