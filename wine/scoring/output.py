"""The output of a scoring: its name, and how it appears when it is complete, or not at all."""

import contextlib
import os
import uuid
from pathlib import Path

from pyarrow.fs import FileSelector, FileType, LocalFileSystem

from wine import UserError
from wine.files import filesystem

SUFFIXES = (".csv", ".csv.gz", ".parquet")
REJECTED = ".rejected.csv"  # behind the name of the output


def suffix(output):
    """Return which format the name of an output says, one of `SUFFIXES`.

    Parameters
    ----------
    output : str
        What was received.

    Returns
    -------
    str

    Raises
    ------
    UserError
        If it is none of them.
    """
    found = [suffix for suffix in SUFFIXES if output.rstrip("/").endswith(suffix)]
    if not found:
        raise UserError(f"output: received {output!r}, allowed is a name in {', '.join(SUFFIXES)}")
    return found[0]


def resolve(output, source, overwrite, *, is_folder=False):
    """Return where an output is to be, or refuse one that cannot be made.

    Parameters
    ----------
    output : str
        Its path or URL. The rejected rows go to the same one with `REJECTED` behind it.
    source : str
        The absolute path or URL of the input.
    overwrite : bool
        Whether the two may be there already.
    is_folder : bool
        Whether they are folders of part files.

    Returns
    -------
    str
        The absolute path, or the URL.

    Raises
    ------
    UserError
        If its name does not say its format, its folder is not there, it is there itself and must
        not be replaced, or one of the two is the input.
    """
    suffix(output)
    location = output.rstrip("/")
    if "://" not in output:
        try:
            location = str(Path(output).resolve())
        except (OSError, RuntimeError) as error:  # A link to itself; RuntimeError until 3.12.
            raise UserError(
                f"output: received {output!r}, which cannot be followed: {error}"
            ) from error
        if not os.path.isdir(os.path.dirname(location)):
            folder = os.path.dirname(location)
            raise UserError(f"output: received {output!r}, there is no folder {folder}")
    try:
        filesystem(location)
    except (ValueError, OSError) as error:
        raise UserError(f"output: received {output!r}, which cannot be reached: {error}") from error
    for each in (location, location + REJECTED):
        if _is_same(each, source):
            raise UserError(f"output: {each} is the input, allowed is another name")
        if not is_folder and os.path.isdir(each):
            raise UserError(f"output: {each} is a folder, allowed is the name of a file")
        if not overwrite and _exists(each):
            _refuse_existing(each)
    return location


def _is_same(location, source):
    if "://" in location or "://" in source:
        return location == source.rstrip("/")
    both = os.path.exists(location) and os.path.exists(source)
    return both and os.path.samefile(location, source)


def _exists(location):
    """Tell whether there is a file, a folder, or a link to nothing."""
    files, path = filesystem(location)
    if isinstance(files, LocalFileSystem):
        return os.path.lexists(path)
    return files.get_file_info(path).type != FileType.NotFound


def _refuse_existing(location):
    raise UserError(f"output: {location} is there already; overwrite=true replaces it")


@contextlib.contextmanager
def partials(location):
    """Give two hidden names beside an output, and remove what has these names in the end.

    Parameters
    ----------
    location : str
        As `resolve` has returned it.

    Yields
    ------
    scored, rejected : str
        Names that no other process on any machine has.
    """
    names = [_partial(location), _partial(location + REJECTED)]
    try:
        yield names
    finally:
        for name in names:
            _remove(name)


def _partial(location):
    folder, _, name = location.rpartition("/")
    return f"{folder}/.{name}.{uuid.uuid4().hex}.partial"


def _remove(location):
    files, path = filesystem(location)
    kind = files.get_file_info(path).type
    if kind == FileType.Directory:
        files.delete_dir(path)
    elif kind != FileType.NotFound:
        files.delete_file(path)


def publish(scored, rejected, location, overwrite):
    """Give the complete output and its rejected rows their names, which may be taken meanwhile.

    Parameters
    ----------
    scored, rejected : str
        The partial files, or folders. `rejected` is None where no row was rejected.
    location : str
        As `resolve` has returned it.
    overwrite : bool
        Whether what has the names may be replaced.

    Raises
    ------
    UserError
        If a name is taken and must not be replaced; then neither of the two is there.
    OSError
        If the file system refuses; what was there is there again.
    """
    _publish(scored, location, overwrite)
    try:
        if rejected:
            _publish(rejected, location + REJECTED, overwrite)
        elif overwrite:  # Those of an earlier scoring.
            _remove(location + REJECTED)
    except BaseException:
        if not overwrite:
            _remove(location)
        raise


def _publish(part, location, overwrite):
    files, path = filesystem(location)
    part = filesystem(part)[1]
    if _exists(location) and not overwrite:
        _refuse_existing(location)
    if files.get_file_info(part).type == FileType.Directory:
        _publish_folder(files, part, location, path)
    elif overwrite or not isinstance(files, LocalFileSystem):
        files.move(part, path)
    else:
        try:
            os.link(part, path)  # It fails where there is something, unlike a rename.
        except FileExistsError:
            _refuse_existing(location)
        except OSError:  # The file system has no such links.
            files.move(part, path)


def _publish_folder(files, part, location, path):
    before = None
    if _exists(location):
        before = filesystem(_partial(location))[1]
        files.move(path, before)
    try:
        if isinstance(files, LocalFileSystem):
            os.rename(part, path)  # It fails where there is a file, or a folder with files.
        else:  # An object store has no folders that could be renamed.
            files.create_dir(path)
            for each in files.get_file_info(FileSelector(part)):
                files.move(each.path, f"{path}/{each.base_name}")
    except BaseException:
        if before:
            files.move(before, path)
        raise
    if before:
        _remove(before)
