"""Files behind a URL that fsspec understands (s3://, ssh://, https://, file://): only the blocks touched are fetched."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from khodump.errors import ImageError
from khodump.extras import require
from khodump.memories.file import ByteSource
from khodump.rounding import ceil_div

EXTRA: Final = "remote"

_BLOCK: Final = 1 << 17  # a round trip costs more than 128 KiB
_CACHED: Final = 256  # 32 MiB
_AT_ONCE: Final = 64  # blocks asked for in one request


def is_url(name: str) -> bool:
    """Whether `name` is a URL and not a path."""
    return "://" in name


class RemoteFile(ByteSource):
    """An object behind a URL.

    Raises:
        ImageError: fsspec or what it needs for this URL is not installed, or the object cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        fsspec = require("fsspec", extra=EXTRA, purpose=f"reading {url}")
        try:
            self._filesystem, self._path = fsspec.core.url_to_fs(url)
            size = self._filesystem.info(self._path).get("size")
        except ImportError as error:
            raise ImageError(f"cannot open {url}: {error}", hint=f"pip install 'khodump[{EXTRA}]'") from error
        except Exception as error:  # each filesystem has errors of its own
            raise _cannot("open", url, error) from error
        if not isinstance(size, int):
            raise ImageError(
                f"cannot open {url}: the server does not tell its size", hint="download the file"
            )
        self.size = size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """See `ByteSource.read_into`."""
        at, end = offset, min(offset + len(buffer), self.size)
        while at < end:
            block = at // _BLOCK
            start = block * _BLOCK
            data = self._block(block, ceil_div(end, _BLOCK))
            stop = min(end, start + len(data))
            if stop <= at:
                break
            buffer[at - offset : stop - offset] = data[at - start : stop - start]
            at = stop
        return max(at - offset, 0)

    def close(self) -> None:
        """See `ByteSource.close`."""
        self._blocks.clear()

    def _block(self, block: int, until: int) -> bytes:
        """The block; if it has to be fetched, those up to `until` that are not here either come in one request."""
        if block not in self._blocks:
            last = block + 1
            while last < min(until, block + _AT_ONCE) and last not in self._blocks:
                last += 1
            data = self._fetch(block * _BLOCK, min(last * _BLOCK, self.size))
            for number in range(block, last):
                at = (number - block) * _BLOCK
                self._blocks[number] = data[at : at + _BLOCK]
            while len(self._blocks) > _CACHED:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(block)
        return self._blocks[block]

    def _fetch(self, start: int, end: int) -> bytes:
        try:
            data: Any = self._filesystem.cat_file(self._path, start=start, end=end)
        except Exception as error:  # each filesystem has errors of its own
            raise _cannot(f"read bytes {start:#x} to {end:#x} of", self.name, error) from error
        return bytes(data)[: end - start]


def _cannot(action: str, url: str, error: Exception) -> ImageError:
    return ImageError(
        f"cannot {action} {url}: {type(error).__name__}: {error}",
        hint="check the address and the credentials that fsspec finds",
    )
