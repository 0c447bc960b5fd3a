"""Image sets as one file: an archive, or the address of one, is fetched, verified and unpacked into a cache.

An archive is somebody else's, and may be hostile. Where a digest is given, it is verified before the archive is read.
Members are written as plain files of this process: modes, owners and links of the archive do not count. How much an
archive may unpack to is limited.
"""

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path, PureWindowsPath
from typing import BinaryIO, NamedTuple

from ..jobs.errors import UserError
from ..jobs.files import expanded, sha256, write_atomic
from . import Options, is_url

# Image files hardly shrink in an archive, for most kinds are compressed already; zeros shrink to a thousandth.
RATIO = 100  # unpacked bytes for each byte of the archive...
SMALL = 100 * 2**20  # ...where that is more than these
LARGEST = 64 * 2**30  # bytes, of an unpacked archive and of a download
MEMBERS = 2_000_000
LONGEST_READ = 2**20  # bytes; tarfile reads a long name in one go, as long as its header claims
CHUNK = 2**18  # bytes


class Member(NamedTuple):
    """A member of an archive. kind: 'file', 'folder', or a word for what else it is; size: declared, in bytes."""

    name: str
    kind: str
    size: int
    open: Callable[[], BinaryIO]


def check(options: Options) -> None:
    """Raises UserError for an address without a digest, and for a missing file. Reads nothing."""
    if is_url(options.root):
        if options.sha256 is None:
            raise UserError(
                f"data.sha256 is not set, but data.root is an address ({options.root}); give the SHA-256 digest of "
                "its file, so that what is downloaded is what you meant"
            )
    elif not os.path.isfile(expanded(options.root)):
        raise UserError(
            f"data.root: '{options.root}': no such file; give a folder, an archive, or an archive's address"
        )


def fetch(options: Options) -> tuple[Path, Path]:
    """The archive that `options.root` names, as a local file, and the folder that holds its members.

    In `options.cache` a download is called '<sha256>.archive', and the folder of its members '<sha256>'. Both are there
    whole or not at all, and are reused; a download that was damaged since is fetched again. Raises UserError where
    there is no cache, where the digest is not `options.sha256`, and as `download` and `unpack` do.
    """
    check(options)
    if options.cache is None:
        raise UserError(f"data.root: '{options.root}' is an archive, and there is no folder to unpack it to; give one")
    cache = expanded(options.cache)
    expected = options.sha256.lower() if options.sha256 is not None else None
    if is_url(options.root):
        archive, digest = cache / f"{expected}.archive", expected
        if not archive.is_file() or digest_of(archive) != expected:
            download(str(options.root), archive, expected)
    else:
        archive = expanded(options.root)
        digest = digest_of(archive)
        if expected not in (None, digest):
            raise UserError(wrong_digest(archive, digest, expected))
    folder = cache / digest
    if not folder.is_dir():
        unpack(archive, folder, str(options.root))
    return archive, folder


def digest_of(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise UserError(f"data.root: '{path}' cannot be read: {error.strerror or error}; make it readable") from error


def wrong_digest(source: Path | str, found: str, expected: str) -> str:
    return (
        f"data.root: '{source}' has the SHA-256 digest {found}, but data.sha256 is {expected}; get the file that was "
        "meant, or, if you trust this one, set data.sha256 to its digest"
    )


def download(url: str, path: Path, expected: str) -> None:
    """Download to `path`, whole and with the SHA-256 digest `expected`, or not at all.

    Raises UserError where the address does not answer, breaks off, sends more than LARGEST bytes, or sends
    another file.
    """

    def write(temporary: Path) -> None:
        digest, size = hashlib.sha256(), 0
        try:
            response = urllib.request.urlopen(url, timeout=60)  # seconds without a byte, not in all
        except (OSError, HTTPException, ValueError) as error:  # ValueError: no address at all
            raise UserError(cannot(error)) from error
        with response, open(temporary, "wb") as file:
            while True:
                try:
                    chunk = response.read(CHUNK)
                except (OSError, HTTPException) as error:
                    raise UserError(cannot(error)) from error
                if not chunk:
                    break
                size += len(chunk)
                if size > LARGEST:
                    raise UserError(cannot(f"it sends more than {LARGEST:,} bytes"))
                digest.update(chunk)
                file.write(chunk)
        announced = response.headers.get("Content-Length", str(size))
        if announced != str(size):
            raise UserError(cannot(f"it broke off after {size:,} of {announced} bytes"))
        if digest.hexdigest() != expected:
            raise UserError(wrong_digest(url, digest.hexdigest(), expected))

    def cannot(reason: object) -> str:
        text = " ".join(str(reason).split()) or type(reason).__name__
        return f"data.root: '{url}' could not be downloaded ({text}); mend the address, or give a local copy"

    write_atomic(path, write)


def unpack(archive: Path, folder: Path, name: str) -> None:
    """Unpack a zip, tar or gzipped tar file (by its content, not its name) into the new `folder`: whole or not at all.

    name: what to call the archive in messages. Files get this process's owner and default mode. Raises UserError
    naming the archive, and the member that is
    - at an absolute path or above the folder ('..'), a link, a device or anything but a file or folder;
    - one too many, or brings the unpacked size above the limit: RATIO times the archive's size (at least SMALL),
      at most LARGEST;
    - damaged, encrypted, or cannot be written.
    """
    limit = min(LARGEST, max(SMALL, RATIO * archive.stat().st_size))
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tmp-"))
        total = 0
        for count, member in enumerate(members(archive, limit), start=1):
            problem = unsafe(member)
            if problem:
                raise UserError(f"data.root: '{name}': its member {member.name!r} {problem}; pack plain files only")
            total += member.size
            if total > limit or count > MEMBERS:
                raise UserError(
                    f"data.root: '{name}' unpacks to more than {limit:,} bytes or {MEMBERS:,} members (at "
                    f"{member.name!r}); if that is right, unpack it yourself and give the folder"
                )
            target = temporary / member.name
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, open(target, "wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise
    except UserError:
        raise
    except Exception as error:  # zipfile, tarfile and gzip raise a dozen kinds for a damaged archive
        reason = " ".join(str(error).split()) or type(error).__name__
        mend = "get a whole copy of it" if getattr(error, "errno", None) is None else "make room or permission there"
        raise UserError(f"data.root: '{name}' cannot be unpacked to {folder} ({reason}); {mend}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def unsafe(member: Member) -> str | None:
    """Why a member is refused, or None. A name that only Windows takes for a path ('C:', '\\') counts as one, too."""
    path = PureWindowsPath(member.name)
    if path.drive or path.root:
        return "is at an absolute path"
    if ".." in path.parts:
        return "leads out of the archive's folder ('..')"
    return None if member.kind in ("file", "folder") else f"is a {member.kind}"


def members(archive: Path, limit: int) -> Iterator[Member]:
    """The members of a zip, tar or gzipped tar, in its order. limit: about how many bytes a gzipped tar may hold."""
    with open(archive, "rb") as file:
        magic = file.read(2)
    if magic == b"PK":
        yield from zip_members(archive)
    else:
        with gzip.open(archive) if magic == b"\x1f\x8b" else open(archive, "rb") as file:
            yield from tar_members(Bounded(file, 2 * limit))  # beside the files, a tar has their headers


def zip_members(archive: Path) -> Iterator[Member]:
    kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile bounds what one read unpacks for these alone
                raise zipfile.BadZipFile(f"{info.filename!r} is packed by method {info.compress_type}, not by deflate")
            mode = stat.S_IFMT(info.external_attr >> 16)  # 0 where it was not packed on Unix
            kind = "folder" if info.is_dir() else kinds.get(mode, "device or the like")
            # zipfile gives no more bytes than the size declared
            yield Member(info.filename, kind, info.file_size, lambda info=info: file.open(info))


def tar_members(stream: "Bounded") -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r:") as file:
        for info in file:
            if info.isreg() or info.isdir():
                kind = "file" if info.isreg() else "folder"
            else:
                kind = "link" if info.issym() or info.islnk() else "device or the like"
            yield Member(info.name, kind, info.size, lambda info=info: file.extractfile(info))
        # tarfile takes a damaged or missing header for the end; the end is a block of zeros
        stream.seek(file.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"it is damaged or ends early, at byte {file.offset:,}")
        while stream.read(LONGEST_READ):
            pass  # gzip compares its checksum at its end


class Bounded:
    """A file for tarfile to read that bounds the bytes of one read, and of all of them together."""

    def __init__(self, file: BinaryIO, limit: int):
        self.file, self.limit = file, limit
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > LONGEST_READ or self.tell() > self.limit:
            raise tarfile.ReadError(f"a header of {size:,} bytes, or more than {self.limit:,} bytes in all")
        return self.file.read(size)
