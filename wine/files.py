"""Files: where a table is, and how its bytes are opened, compressed or in an archive."""

import bz2
import contextlib
import gzip
import lzma
import os
import shutil
import tarfile
import tempfile
import textwrap
import urllib.request
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from wine import UserError

PROJECT = Path(__file__).resolve().parent.parent
DOWNLOAD_TIMEOUT = 60  # seconds without a byte
DOWNLOADED = ("http://", "https://", "ftp://")  # pyarrow.fs opens the other addresses.
# What a file begins with tells what it is, whatever its name says.
PARQUET = b"PAR1"
COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
ZSTANDARD, ZIP, OLD_WORKBOOK = b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
# The first names in the zip archives that are workbooks of Excel and LibreOffice.
IN_A_WORKBOOK = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/", b"mimetype")
OF_A_TABLE = (".csv", ".tsv", ".parquet")


class Source:
    """The file of a table, as the user named it.

    Parameters
    ----------
    data : str
        Path or URL.
    parameter : str
        The name of the parameter that says so, for the error messages.

    Attributes
    ----------
    location : str
        The absolute path or the URL.
    is_sized : bool
        False if it was downloaded from a server that did not say how long it is, so that a
        connection that broke looks like its end.
    """

    def __init__(self, data, parameter):
        self.data, self.parameter = data, parameter
        self.location, self._downloaded, self.is_sized = locate(data), None, True

    def refuse(self, message):
        """Raise a `UserError` that begins with the parameter's name."""
        raise UserError(f"{self.parameter}: {message}")

    @contextlib.contextmanager
    def reading(self):
        """Make one line of whatever happens while the file is read."""
        try:
            yield
        except UserError:
            raise
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.parameter}: {self.data} cannot be read: it is not UTF-8 text ({error}); "
                "save it as 'CSV UTF-8'"
            ) from error
        # File systems, web servers and decompressors raise errors of any kind.
        except Exception as error:
            reason = textwrap.shorten(str(error) or type(error).__name__, 200)
            raise UserError(f"{self.parameter}: {self.data} cannot be read: {reason}") from error

    def open(self):
        """Open the file at its beginning.

        Returns
        -------
        pyarrow.NativeFile

        Raises
        ------
        UserError
            If there is no such file.
        """
        if self.location.startswith(DOWNLOADED):
            if not self._downloaded:
                self._downloaded, self.is_sized = download(self.location)
            self._downloaded.seek(0)
            return pa.PythonFile(self._downloaded, "r")
        files, path = filesystem(self.location)
        if files.get_file_info(path).type != pyarrow.fs.FileType.File:
            self.refuse(
                f"received {self.data!r}, {self._why_no_file(files, path)}; "
                "allowed is the path or the URL of a CSV or Parquet file"
            )
        return files.open_input_file(path)

    def _why_no_file(self, files, path):
        if files.get_file_info(path).type == pyarrow.fs.FileType.Directory:
            return "which is a folder"
        if os.path.exists(self.data):
            return "which is a pipe or a device, whose start cannot be read again"
        if os.path.islink(self.data):
            return "which is a link to no file"
        return f"no such file in {Path.cwd()} or {PROJECT}"


def locate(data):
    """Return where a table is: a URL as it is, a path as an absolute one.

    A relative path is looked for in the working directory, then beside the scripts, so that the
    project's own table is found from any folder.

    Parameters
    ----------
    data : str
        Path or URL.

    Returns
    -------
    str
    """
    if "://" in data:
        return data
    # os.path.exists is False for a name that is too long, while Path.exists may raise an error.
    return str(Path(data).resolve() if os.path.exists(data) else PROJECT / data)


def filesystem(location):
    """Return the file system of a location, and the path in it.

    Parameters
    ----------
    location : str
        An absolute path, or a URL that Arrow knows: file://, s3://, gs://, hdfs://.

    Returns
    -------
    filesystem : pyarrow.fs.FileSystem
    path : str
    """
    if "://" in location:
        return pyarrow.fs.FileSystem.from_uri(location)
    return pyarrow.fs.LocalFileSystem(), location


def download(url):
    """Copy what a web server sends to a temporary file, which goes when it is closed.

    Parameters
    ----------
    url : str
        Its address: http://, https:// or ftp://.

    Returns
    -------
    file : file object
    is_sized : bool
        Whether the server said how long it is, or where it ends.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller reads it)
    with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as response:
        packed = response.headers.get("Content-Encoding") == "gzip"
        stream = gzip.GzipFile(fileobj=response) if packed else response  # noqa: SIM115
        shutil.copyfileobj(stream, file)
        is_sized = bool({"Content-Length", "Transfer-Encoding"} & set(response.headers))
    return file, is_sized or url.startswith("ftp:")


def decompress(file, source):
    """Return a stream of what is in a file: itself, decompressed, or the one table of an archive.

    Parameters
    ----------
    file : pyarrow.NativeFile
        At its beginning.
    source : Source
        Where it comes from, for the error message.

    Returns
    -------
    stream : file object
        To be read from its beginning.
    member : str or None
        The name of the table in the archive.

    Raises
    ------
    UserError
        If the file is a workbook, or an archive that does not hold exactly one table.
    """
    head = file.read(512)
    file.seek(0)
    if head.startswith(OLD_WORKBOOK) or (
        head.startswith(ZIP) and head[30:].startswith(IN_A_WORKBOOK)
    ):
        source.refuse(
            f"{source.data} is a workbook, allowed are CSV and Parquet: "
            "save its sheet as 'CSV UTF-8'"
        )
    if head.startswith(ZIP):
        archive = zipfile.ZipFile(file)
        names = [each.filename for each in archive.infolist() if not each.is_dir()]
        name = _only_table([each for each in names if not each.startswith("__MACOSX/")], source)
        return archive.open(name), name
    opened = [opener for magic, opener in COMPRESSIONS.items() if head.startswith(magic)]
    if b"ustar" in head or (opened and tarfile.is_tarfile(file)):
        file.seek(0)
        archive = tarfile.open(fileobj=file)  # noqa: SIM115 (the caller reads from it)
        name = _only_table([each.name for each in archive if each.isfile()], source)
        return archive.extractfile(name), name
    file.seek(0)
    if head.startswith(ZSTANDARD):
        return pa.CompressedInputStream(file, "zstd"), None
    return (opened[0](file) if opened else file), None


def _only_table(names, source):
    """Return the only table among the names in an archive."""
    tables = [name for name in names if name.lower().endswith(OF_A_TABLE)] or names
    if len(tables) != 1:
        source.refuse(
            f"{source.data} is an archive of {len(tables)} tables, allowed is one: "
            f"unpack it, and choose among {', '.join(tables) or 'none'}"
        )
    return tables[0]
