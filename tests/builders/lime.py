"""LiME dumps, and AVML's compressed ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from khodump.memories.lime import AVML_MAGIC, COMPRESSED, LIME_HEADER, MAGIC, PLAIN, LimeHeader


def build_lime(pages: Mapping[int, bytes]) -> bytes:
    """A LiME dump with a range for every run of these {page address: bytes}."""
    ranges = _ranges(pages)
    return b"".join(_header(MAGIC, PLAIN, start, data) + data for start, data in ranges)


def build_avml(pages: Mapping[int, bytes], block: int = 1 << 24) -> bytes:
    """AVML's compressed form: blocks of at most `block` bytes; those that are all zero are left out."""
    return b"".join(
        avml_block(start + at, data[at : at + block])
        for start, data in _ranges(pages)
        for at in range(0, len(data), block)
        if any(data[at : at + block])
    )


def avml_block(start: int, data: bytes, stream: bytes | None = None) -> bytes:
    """One block, or one whose header speaks of `data` and whose stream is another."""
    import cramjam  # noqa: PLC0415 - optional

    stream = bytes(cramjam.snappy.compress(data)) if stream is None else stream
    return _header(AVML_MAGIC, COMPRESSED, start, data) + stream + len(stream).to_bytes(8, "little")


def _header(magic: bytes, version: int, start: int, data: bytes) -> bytes:
    return LIME_HEADER.build(LimeHeader(magic, version, start, start + len(data) - 1, 0))


def _ranges(pages: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
    """Neighbouring pages joined."""
    start, run = 0, bytearray()
    for address, data in sorted(pages.items()):
        if run and start + len(run) != address:
            yield start, bytes(run)
            run = bytearray()
        if not run:
            start = address
        run += data
    if run:
        yield start, bytes(run)
