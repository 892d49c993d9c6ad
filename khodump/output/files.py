"""Where outputs go, for all commands: a new file that appears when it is whole, or a stream that takes bytes as they come.

A file is written beside its place under another name, readable by nobody else, and renamed at the end. So an error, a
signal or a full disk leaves what was there before. Nothing is replaced unless that is asked for, and what the same run
reads is never replaced at all.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO, Final, TextIO, TypeAlias

from khodump.advice import FORCE, Advice, Parameter
from khodump.errors import UsageError
from khodump.extraction.sinks import FileSink, StreamSink
from khodump.numbers import format_size
from khodump.output.drafts import drafts
from khodump.output.inputs import input_at

_OUTPUT: Final = Parameter("name", "--output")
_STDOUT: Final = 1
_MOST_LINKS: Final = 40  # as the kernel follows
#: /dev/mem, /dev/kmem, /dev/port: whoever writes there writes into the machine.
_MEMORY_DEVICES: Final = tuple(os.makedev(1, minor) for minor in (1, 2, 4))
_KINDS: Final = {
    stat.S_IFDIR: ("a directory", "name a file in it"),
    stat.S_IFBLK: ("a block device", "write to a file, or pipe the output there"),
    stat.S_IFSOCK: ("a socket", "pipe the output to a program that talks to it"),
    stat.S_IFLNK: ("a symbolic link that leads nowhere", "name the file itself"),
}

Sink: TypeAlias = FileSink | StreamSink


def is_stdout(name: str | None) -> bool:
    """Whether an output goes to stdout: without a name, as `-`, or as one of the names that the system has for it."""
    return name is None or _descriptor(name) == _STDOUT


def refuse_stdout(inputs: Iterable[str]) -> None:
    """Refuse to write to a stdout that is one of the inputs: the shell's `>> vmcore`.

    Raises:
        UsageError: it is.
    """
    try:
        status = os.fstat(_STDOUT)
    except OSError:
        return
    taken = input_at(status, inputs) if stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode) else None
    if taken is not None:
        raise UsageError(f"stdout is {taken}, which this command reads", hint="send it elsewhere")


def refuse(name: str, *, force: bool = False, inputs: Iterable[str] = ()) -> None:
    """Refuse an output that could not be written, or that must not be; long before anything is written.

    Args:
        name: of the output, as the user wrote it.
        force: whether a file of that name may be replaced.
        inputs: what the same run reads, as it was named; never replaced.

    Raises:
        UsageError: it is an input, it exists, or it cannot be made.
    """
    inputs = tuple(inputs)
    if is_stdout(name):
        refuse_stdout(inputs)
    if _descriptor(name) is not None:
        return
    if name == "" or name.endswith("/"):
        raise UsageError(
            f"{name or 'the empty name'} names no file", hint=Advice.of(_OUTPUT, " takes a file")
        )
    status = _status(name)
    if status is None:
        _refuse_home(name)
        return
    taken = input_at(status, inputs)
    if taken is not None:
        other = "" if taken == name else f": it is {taken}"
        raise UsageError(
            f"{name} is read by this command{other}",
            hint=Advice.of("write elsewhere: no input is ever replaced, not even with ", FORCE),
        )
    _refuse_kind(name, status)
    if not stat.S_ISREG(status.st_mode):
        return
    if not force:
        raise UsageError(f"{name} exists already", hint=Advice.of(FORCE, " replaces it"))
    _refuse_home(name)


@contextmanager
def new_file(name: str, *, room: int = 0, force: bool = False, inputs: Iterable[str] = ()) -> Iterator[Sink]:
    """An output for bytes, which nobody but its owner may read if it is a file: it may hold a machine's memory.

    Args:
        name: see `refuse`.
        room: bytes that will be written, holes not counted.
        force: see `refuse`.
        inputs: see `refuse`.

    Raises:
        UsageError: see `refuse`; or there is no room.
        OSError: it could not be written.
    """
    refuse(name, force=force, inputs=inputs)
    stream = _stream(name)
    if stream is not None:
        with stream:
            yield StreamSink(stream)
        return
    _refuse_full(name, room)
    with _appearing(name, force=force) as fd:
        sink = FileSink(fd)
        yield sink
        sink.finish()


@contextmanager
def new_text(name: str, *, force: bool = False) -> Iterator[TextIO]:
    """An output for rows; a file is as readable as others that the user makes.

    Raises:
        UsageError: see `refuse`.
        OSError: it could not be written.
    """
    refuse(name, force=force)
    stream = _stream(name)
    if stream is not None:
        with _text(stream) as text:
            yield text
        return
    with _appearing(name, force=force) as fd:
        with _text(os.fdopen(os.dup(fd), "wb")) as text:
            yield text
        os.fchmod(fd, 0o666 & ~_umask())


def _text(stream: BinaryIO) -> TextIO:
    return io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace")


def _descriptor(name: str) -> int | None:
    """The open file of this process that a name stands for: `-`, /dev/stdout, /dev/fd/3 and the like."""
    if name == "-":
        return _STDOUT
    path = name
    for _ in range(_MOST_LINKS):
        home, last = os.path.split(path)
        home = os.path.realpath(home)
        if home == f"/proc/{os.getpid()}/fd":
            return int(last) if last.isdecimal() and len(last) < 8 else None
        try:
            path = os.path.join(home, os.readlink(os.path.join(home, last)))  # noqa: PTH115, PTH118 - one link at a time
        except (OSError, ValueError):
            return None
    return None


def _stream(name: str) -> BinaryIO | None:
    """What takes bytes as they come: a descriptor, a pipe, a terminal, a device. None for a file that is to be made."""
    descriptor = _descriptor(name)
    try:
        if descriptor is not None:
            sys.stdout.flush()
            return os.fdopen(os.dup(descriptor), "wb")
        if _status(name) is not None and not Path(name).is_file():
            return open(name, "wb")  # noqa: PTH123 - the caller closes it
    except OSError as error:
        raise UsageError(
            f"cannot write {name}: {error.strerror}", hint=Advice.of(_OUTPUT, " takes a file, a pipe or -")
        ) from error
    return None


def _target(name: str) -> Path:
    """Where a name leads through all links, whether there is a file or not."""
    return Path(os.path.realpath(name))


def _status(name: str) -> os.stat_result | None:
    """Of the file that a name leads to; None where there is none."""
    try:
        return _target(name).lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"cannot write {name}: {why}", hint="name a file in a directory that you may write to"
        ) from error


def _refuse_kind(name: str, status: os.stat_result) -> None:
    """Refuse what is no place for an output, whoever asks."""
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        what, hint = kind
        raise UsageError(f"cannot write {name}: it is {what}", hint=hint)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev in _MEMORY_DEVICES:
        raise UsageError(f"cannot write {name}: it is this machine's memory", hint="write to a file")


def _refuse_home(name: str) -> None:
    """Refuse a file in a directory that is not there, or that may not be written to."""
    home = _target(name).parent
    if not home.is_dir():
        raise UsageError(
            f"cannot write {name}: there is no directory {_shown(name)}", hint="make it, or write elsewhere"
        )
    if not os.access(home, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write {name}: you may not make files in {_shown(name)}",
            hint="name a file in a directory that you may write to",
        )


def _shown(name: str) -> Path:
    """The directory where the file would be: as the user wrote it, but where a link leads elsewhere."""
    home, written = _target(name).parent, Path(name).parent
    return written if written.resolve() == home else home


def _refuse_full(name: str, room: int) -> None:
    """Refuse a file for which its file system has no room."""
    status = os.statvfs(_target(name).parent)
    free = status.f_bavail * status.f_frsize
    if room > free:
        raise UsageError(
            f"{name} takes {format_size(room)}, and there is room for {format_size(free)}",
            hint="free some space, or write elsewhere",
        )


@contextmanager
def _appearing(name: str, *, force: bool) -> Iterator[int]:
    """The descriptor of a file that gets its name when the block ends well, and is gone when it does not."""
    target = _target(name)
    draft = target.parent / f".khodump-{token_hex(8)}"
    drafts.add(draft)
    try:
        with _created(draft, name) as file:
            yield file.fileno()
            os.fsync(file.fileno())  # a disk that is full may say so as late as this
        _appear(draft, target, name, force=force)
    finally:
        draft.unlink(missing_ok=True)
        drafts.discard(draft)


def _created(draft: Path, name: str) -> io.FileIO:
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"cannot write {name}: {error.strerror}", hint="name a file in a directory that you may write to"
        ) from error
    return io.FileIO(fd, "w")


def _appear(draft: Path, target: Path, name: str, *, force: bool) -> None:
    """Give a finished file its name; without `force` only if that is still free, where the file system can tell."""
    try:
        if force or not _linked(draft, target, name):
            draft.replace(target)
    except OSError as error:
        raise UsageError(f"cannot give {name} its name: {error.strerror}", hint="write elsewhere") from error


def _linked(draft: Path, target: Path, name: str) -> bool:
    """Whether the file got its second name, which fails where there is one; False where no file can have two."""
    try:
        target.hardlink_to(draft)
    except FileExistsError:
        refuse(name)
        raise
    except OSError:
        refuse(name)
        return False
    return True


def _umask() -> int:
    """Which permissions new files do not get; it can be asked only by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
