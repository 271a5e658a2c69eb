"""Fetching, from a server on this machine: what arrives is what was promised, or nothing is used."""
from __future__ import annotations

import hashlib
import http.server
import threading
import time

import httpx
import pytest

from torch_usbgpu.amdgpu.facts import load
from torch_usbgpu.errors import ConfigError, DownloadError
from torch_usbgpu.firmware import download

CONTENT = bytes(range(256)) * 1000
SUM = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.cut: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["User-Agent"]))
        if target := self.server.moved.get(self.path):
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
        elif (data := self.server.files.get(self.path)) is None:
            self.send_error(404)
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:len(data) // 2] if self.path in self.server.cut else data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    made.files["/file"] = CONTENT
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def own_cache(home):
    return home


def test_fetched(server, home):
    seen = []
    with download.fetched(f"{server.url}/file", SUM.upper(), lambda done, total: seen.append((done, total))) as path:
        assert path.read_bytes() == CONTENT and home in path.parents
    assert not path.exists() and seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked[0][1].startswith("torch_usbgpu/")          # kernel.org refuses clients without a name


def _missing(server): return "/none", SUM, "404"
def _wrong_sum(server): return "/file", "0" * 64, "not what was promised"


def _cut(server):
    server.cut.add("/file")
    return "/file", SUM, "ended early|could not be fetched"


def _endless_redirects(server):
    server.moved["/loop"] = "/loop"
    return "/loop", SUM, "redirect"


def _other_protocol(server):
    server.moved["/away"] = "file:///etc/passwd"
    return "/away", SUM, "could not be fetched"


def _too_large(server):
    return "/file", SUM, "larger than"


@pytest.mark.parametrize("case", [_missing, _wrong_sum, _cut, _endless_redirects, _other_protocol, _too_large])
@pytest.mark.parametrize("how", ["to disk", "to memory"])
def test_what_is_refused(server, home, monkeypatch, case, how):
    path, expected, message = case(server)
    if case is _too_large:
        monkeypatch.setattr(download, "LARGEST_ARCHIVE_BYTES", 1000)
        monkeypatch.setattr(download, "LARGEST_FILE_BYTES", 1000)
    with pytest.raises(DownloadError, match=f"(?i){message}") as caught:
        if how == "to memory":
            download.fetch(server.url + path, expected)
        else:
            with download.fetched(server.url + path, expected):
                raise AssertionError("must not come here")
    assert caught.value.code == "USBGPU-207" and caught.value.action
    assert [file for file in home.rglob("*") if file.is_file()] == []        # nothing is left lying about


def test_no_server():
    with pytest.raises(DownloadError, match="could not be fetched"):
        download.fetch("http://127.0.0.1:9/file", SUM)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "HTTP://127.0.0.1:9/file", "ftp://127.0.0.1/file"])
def test_unencrypted_without_a_sum(url):
    with pytest.raises(DownloadError, match="anybody on the way"):
        download.fetch(url)


@pytest.mark.parametrize("path, sum_known, fine", [
    ("/file", False, True), ("/safe", False, True), ("/unsafe", False, False), ("/around", False, False), ("/unsafe", True, True)])
def test_encrypted_all_the_way(monkeypatch, path, sum_known, fine):
    """Without a sum no step may be unencrypted, not even one in between."""
    moved = {"/safe": "https://b.example/file", "/unsafe": "http://b.example/file", "/around": "http://b.example/back",
             "/back": "https://a.example/file"}

    def answer(request):
        if target := moved.get(request.url.path):
            return httpx.Response(302, headers={"Location": target})
        return httpx.Response(200, stream=httpx.ByteStream(CONTENT))
    real = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **options: real(transport=httpx.MockTransport(answer), **options))
    if fine:
        assert download.fetch(f"https://a.example{path}", SUM if sum_known else None) == CONTENT
    else:
        with pytest.raises(DownloadError, match="unencrypted"):
            download.fetch(f"https://a.example{path}")


@pytest.mark.parametrize("text, url", [("https://x/y", True), ("HTTP://x", True), ("/a/b.deb", False), ("C:\\a.deb", False),
                                       ("file:///x", False), ("ftp://x", False)])
def test_what_an_address_is(text, url):
    assert download.is_url(text) is url


def test_files_of_a_release(server, monkeypatch):
    sums = {"a.bin": SUM, "b.bin": hashlib.sha256(b"b").hexdigest()}
    monkeypatch.setitem(load("firmware_files")["releases"], "20990101", sums)
    server.files |= {"/20990101/amdgpu/a.bin": CONTENT, "/20990101/amdgpu/b.bin": b"b"}
    pattern = server.url + "/{release}/amdgpu/{name}"
    seen = []
    found = download.release_files(["a.bin", "b.bin", "not-in-it.bin"], "20990101", pattern, lambda *step: seen.append(step))
    assert {name: file.data for name, file in found.items()} == {"a.bin": CONTENT, "b.bin": b"b"} and seen[-1] == (2, 2)
    server.files["/20990101/amdgpu/b.bin"] = b"evil"
    with pytest.raises(DownloadError, match="not what was promised"):
        download.release_files(["a.bin", "b.bin"], "20990101", pattern)


@pytest.mark.parametrize("first", ["down", "lies"])
def test_the_next_server_is_asked(server, monkeypatch, first):
    sums = {f"{n}.bin": hashlib.sha256(b"%d" % n).hexdigest() for n in range(4)}
    monkeypatch.setitem(load("firmware_files")["releases"], "20990101", sums)
    monkeypatch.setitem(load("firmware_files"), "file_urls", [f"{server.url}/one/{{release}}/{{name}}", f"{server.url}/two/{{release}}/{{name}}"])
    for n in range(4):
        server.files[f"/two/20990101/{n}.bin"] = b"%d" % n
        if first == "lies":
            server.files[f"/one/20990101/{n}.bin"] = b"<html>prove that you are no robot</html>"
    assert {name: file.data for name, file in download.release_files(sums, "20990101").items()} == {f"{n}.bin": b"%d" % n for n in range(4)}
    assert len(server.asked) == 5               # the first server was given up after one file
    server.files.clear()
    with pytest.raises(DownloadError, match="404"):
        download.release_files(sums, "20990101")


def test_leftovers_of_killed_processes_go(server, home):
    import os
    folder = download.private_files.cache_folder("downloads")
    for name, age in (("old.part", 90000), ("new.part", 10)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    with download.fetched(f"{server.url}/file", SUM):
        assert len(list(folder.iterdir())) == 2
    assert [path.name for path in folder.iterdir()] == ["new.part"]


LISTING = f"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

{'1' * 64}  linux-firmware-20990101.tar.gz
{SUM}  linux-firmware-20990101.tar.xz
-----BEGIN PGP SIGNATURE-----
"""


def test_published_sums(monkeypatch):
    """kernel.org signs its list; the lines are those of sha256sum."""
    monkeypatch.setattr(download, "fetch", lambda url: LISTING.encode())
    url, digest = download.archive_of("20990101")
    assert url.startswith("https://") and url.endswith("/linux-firmware-20990101.tar.xz") and digest == SUM
    with pytest.raises(DownloadError, match="do not list"):
        download.archive_of("20990102")
    for release in ("latest", "../../x", "2026091"):
        with pytest.raises(ConfigError):
            download.archive_of(release)


def test_facts():
    facts = load("firmware_files")
    assert all(url.startswith("https://") for url in (*facts["file_urls"], facts["archive_url"], facts["sums_url"]))
    assert all("{name}" in url and "{release}" in url for url in facts["file_urls"])
    for sums in facts["releases"].values():
        assert all(len(digest) == 64 and int(digest, 16) for digest in sums.values())
        assert len(set(sums.values())) == len(sums)
