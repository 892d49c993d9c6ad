"""AVML's compressed dumps (LiME version 2): blocks of memory as framed snappy, with their length behind them.

A block is a LiME header, a snappy stream of chunks of at most 64 KiB, and the stream's length in 8 bytes. AVML leaves
out blocks (16 MiB each) that are all zero, without a word: they are *absent*, as are holes in memory, unless the user
says otherwise (see `zero_blocks`). AVML 0.17.0 wrote the header of such a block and nothing else: those are zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from typing import Any, Final, NamedTuple

import numpy as np

from khodump.errors import ImageError
from khodump.extras import require
from khodump.memories.file import ByteSource
from khodump.memories.lime import (
    COMPRESSED,
    LIME_HEADER,
    LimeHeader,
    broken_chain,
    first_header,
    header_at,
)
from khodump.memories.segments import Segments
from khodump.memories.zero_blocks import Span, skipped, zeros
from khodump.memory import Presence

EXTRA: Final = "kdump"

_LENGTH: Final = 8
_CHUNK_HEAD: Final = 4 + 4 + 5  # kind and size, checksum, and the longest varint of a length
_CHUNK_BYTES: Final = 1 << 16  # what a chunk yields at most
_MAX_STORED: Final = 76490 + 4  # and what it takes at most, with its checksum: snappy's own bound for 64 KiB
_STREAM_ID: Final = b"\xff\x06\x00\x00sNaPpY"
_PACKED, _PLAIN, _FIRST_SKIPPABLE = 0x00, 0x01, 0x80
_CACHED_CHUNKS: Final = 64  # 4 MiB
_CACHED_BLOCKS: Final = 256


class Block(NamedTuple):
    """One block: physical bytes `start` to `end` (exclusive) are the stream at file offset `stream`."""

    start: int
    end: int
    stream: int


class Chunk(NamedTuple):
    """One snappy chunk: bytes `start` to `end` of its block are the `size` bytes at file offset `offset`."""

    start: int
    end: int
    offset: int
    size: int


_CHUNK_DTYPE: Final = np.dtype([(name, "<u8") for name in Chunk._fields])


class AvmlFile(ByteSource):
    """The memory of all blocks in a row, decompressed as it is read.

    Attributes:
        segments: where in memory it lies.
        warnings: what is wrong with the file.

    Raises:
        ImageError: the first header makes no sense, or the library for snappy is not installed.
    """

    def __init__(self, file: ByteSource, index: int, *, assume_zero: bool = False) -> None:
        self.name = file.name
        self._file = file
        self._snappy = require(
            "cramjam", extra=EXTRA, purpose=f"{file.name} is compressed with snappy, which"
        )
        first_header(file)
        chain = _chain_from_end(file) or _chain_from_start(file)
        self.warnings = chain.warnings
        blocks = chain.blocks
        edges = [0, *accumulate(block.end - block.start for block in blocks)]
        self.size = edges[-1]
        if self.size >> 63:
            raise ImageError(
                f"{file.name} claims {self.size} bytes of memory", hint="its headers are damaged"
            )
        self._blocks, self._edges = blocks, np.array(edges, np.uint64)
        stored = [
            (block.start, block.end, Presence.PRESENT, index, offset)
            for block, offset in zip(blocks, edges[:-1], strict=True)
        ]
        gaps = skipped(Span(block.start, block.end) for block in blocks) if assume_zero else ()
        cut = [(span.start, span.end, Presence.TRUNCATED, index, 0) for span in chain.cut]
        self.segments = Segments.of_rows([*stored, *map(zeros, chain.bare or gaps), *cut])
        self._chunks = lru_cache(_CACHED_BLOCKS)(self._read_chunks)
        self._bytes = lru_cache(_CACHED_CHUNKS)(self._unpack)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """See `ByteSource.read_into`."""
        at, end = offset, min(offset + len(buffer), self.size)
        while at < end:
            data, start = self._chunk_at(at)
            if isinstance(data, Presence):
                break
            stop = min(end, start + len(data))
            buffer[at - offset : stop - offset] = data[at - start : stop - start]
            at = stop
        return max(at - offset, 0)

    def locate(self, offset: int) -> None:
        """See `ByteSource.locate`: all is compressed."""

    def data_extents(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """See `ByteSource.data_extents`: as far as the chunks of a block go, whatever its header claims."""
        row = int(np.searchsorted(self._edges, np.uint64(start), "right")) - 1
        while row < len(self._blocks) and (base := int(self._edges[row])) < end:
            chunks, _ = self._chunks(row)
            low, high = max(start, base), min(end, base + int(chunks["end"].max(initial=0)))
            if low < high:
                yield low, high
            row += 1

    def lost_extents(self, start: int, end: int) -> Iterator[tuple[int, int, Presence]]:
        """See `ByteSource.lost_extents`: what the header of a block claims, and its chunks do not hold."""
        row = int(np.searchsorted(self._edges, np.uint64(start), "right")) - 1
        while row < len(self._blocks) and (base := int(self._edges[row])) < end:
            chunks, why = self._chunks(row)
            low = max(start, base + int(chunks["end"].max(initial=0)))
            high = min(end, int(self._edges[row + 1]))
            if low < high:
                yield low, high, why
            row += 1

    def missing(self, offset: int) -> Presence:
        """See `ByteSource.missing`."""
        data = self._chunk_at(offset)[0] if offset < self.size else Presence.TRUNCATED
        return data if isinstance(data, Presence) else Presence.TRUNCATED

    def close(self) -> None:
        """See `ByteSource.close`."""
        self._file.close()

    def _chunk_at(self, offset: int) -> tuple[bytes | Presence, int]:
        """The bytes of the chunk that covers `offset`, or why there are none, and the offset at which it starts."""
        row = int(np.searchsorted(self._edges, np.uint64(offset), "right")) - 1
        base = int(self._edges[row])
        chunks, after = self._chunks(row)
        index = int(np.searchsorted(chunks["start"], np.uint64(offset - base), "right")) - 1
        if index < 0 or offset - base >= chunks["end"][index]:
            return after, offset
        chunk = Chunk(*chunks[index].item())
        return self._bytes(chunk), base + chunk.start

    def _read_chunks(self, row: int) -> tuple[Any, Presence]:
        """The chunks of a block as a structured array, and why there are no more when they do not fill it."""
        block = self._blocks[row]
        chunks = np.fromiter(_walk(self._file, block.stream, block.end - block.start), _CHUNK_DTYPE)
        end = int(chunks["offset"][-1] + chunks["size"][-1]) if len(chunks) else block.stream
        return chunks, Presence.DAMAGED if end + _CHUNK_HEAD <= self._file.size else Presence.TRUNCATED

    def _unpack(self, chunk: Chunk) -> bytes | Presence:
        data = self._file.read(chunk.offset, chunk.size)
        if len(data) < chunk.size:
            return Presence.TRUNCATED
        page = bytearray(chunk.end - chunk.start)
        try:  # with its checksum
            size = self._snappy.snappy.decompress_into(_STREAM_ID + data, page)
        except self._snappy.DecompressionError:
            return Presence.DAMAGED
        return bytes(page) if size == len(page) else Presence.DAMAGED


def _walk(file: ByteSource, at: int, size: int) -> Iterator[Chunk]:
    """The chunks of the stream at `at` that make up `size` bytes; fewer when it is damaged or cut off."""
    done = 0
    while done < size and len(head := file.read(at, _CHUNK_HEAD)) > 4:
        kind, stored = head[0], int.from_bytes(head[1:4], "little")
        if kind in (_PACKED, _PLAIN):
            held = stored - 4 if kind == _PLAIN else _varint(head[8:])
            possible = 0 < held <= min(_CHUNK_BYTES, size - done) and held * 3 <= (stored - 4) * 64
            if not possible or stored > _MAX_STORED:  # three bytes of snappy are at most 64
                return
            yield Chunk(done, done + held, at, 4 + stored)
            done += held
        elif kind < _FIRST_SKIPPABLE:
            return
        at += 4 + stored


def _varint(data: bytes) -> int:
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value
    return 0


class _Chain(NamedTuple):
    """All blocks of a file, in its order.

    Attributes:
        blocks: those with a stream.
        bare: those that are a header alone, and so all zero.
        cut: the last one, when the file ends behind its header and no other is bare: it may be either.
        warnings: where the file is damaged.
    """

    blocks: list[Block]
    bare: list[Span]
    cut: list[Span]
    warnings: tuple[str, ...] = ()


def _chain_from_end(file: ByteSource) -> _Chain | None:
    """All blocks, found by the lengths behind them: one small read each; None when the file does not bear that out.

    Where a length should be a bare header has its reserved field, which is 0, and no stream is so short.
    """
    blocks: list[Block] = []
    bare: list[Span] = []
    end = file.size
    while end:
        length = int.from_bytes(file.read(max(end - _LENGTH, 0), _LENGTH), "little")
        stream = end - _LENGTH - length if length else end
        header = _compressed_at(file, stream - LIME_HEADER.size)
        if header is None or stream > end:
            return None
        if length:
            blocks.append(Block(header.s_addr, header.end, stream))
        else:
            bare.append(Span(header.s_addr, header.end))
        end = stream - LIME_HEADER.size
    return _weighed(file, _Chain(blocks[::-1], bare[::-1], []))


def _chain_from_start(file: ByteSource) -> _Chain:
    """The blocks up to where the file ends or is damaged, found by walking over all chunks; and what is wrong there."""
    blocks: list[Block] = []
    bare: list[Span] = []
    at = 0
    while header := _compressed_at(file, at):
        at += LIME_HEADER.size
        if at == file.size or _compressed_at(file, at):
            bare.append(Span(header.s_addr, header.end))
            continue
        blocks.append(Block(header.s_addr, header.end, at))
        left = header.end - header.s_addr
        for chunk in _walk(file, at, left):
            at, left = chunk.offset + chunk.size, header.end - header.s_addr - chunk.end
        if left or at > file.size:
            where = f"offset {at:#x}, in the block at {header.s_addr:#x}"
            broken = (f"{file.name} is damaged or cut off at {where}; nothing behind it is read",)
            return _Chain(blocks, bare, [], broken)
        at += _LENGTH
    return _weighed(file, _Chain(blocks, bare, [], tuple(broken_chain(file, at))))


def _compressed_at(file: ByteSource, at: int) -> LimeHeader | None:
    header = header_at(file, at)
    return header if header and header.version == COMPRESSED else None


def _weighed(file: ByteSource, chain: _Chain) -> _Chain:
    """The chain, with its one bare header at the very end of the file taken for what it may be: where it was cut off."""
    is_last = file.size >= LIME_HEADER.size and _compressed_at(file, file.size - LIME_HEADER.size) is not None
    if len(chain.bare) != 1 or not is_last:
        return chain
    (last,) = chain.bare
    cut = f"{file.name} ends behind the header of the block at {last.start:#x}: it is cut short, or the block is all zero"
    return _Chain(chain.blocks, [], [last], (*chain.warnings, cut))
