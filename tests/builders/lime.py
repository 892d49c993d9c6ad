"""LiME dumps, and AVML's compressed ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from khodump.memories.lime import AVML_MAGIC, COMPRESSED, LIME_HEADER, MAGIC, PLAIN, LimeHeader

_PAGE = 4096


def build_lime(pages: Mapping[int, bytes]) -> bytes:
    """A LiME dump with a range for every run of these {page address: bytes}."""
    ranges = _ranges(pages)
    return b"".join(lime_range(start, data) for start, data in ranges)


def build_avml(
    pages: Mapping[int, bytes], block: int = 1 << 24, *, compress: bool = True, bare: bool = False
) -> bytes:
    """What AVML writes: blocks of at most `block` bytes.

    Args:
        pages: page address to its bytes.
        block: AVML's is 16 MiB.
        compress: False for its LiME form.
        bare: a block that is all zero is a header alone, as AVML 0.17.0 has it; it is left out otherwise.
    """
    parts = []
    for start, data in _ranges(pages):
        for at in range(0, len(data), block):
            piece = data[at : at + block]
            if piece.strip(b"\0"):
                parts.append(avml_block(start + at, piece) if compress else lime_range(start + at, piece))
            elif bare:
                parts.append(bare_header(start + at, len(piece), compress=compress))
    return b"".join(parts)


def lime_range(start: int, data: bytes, lost: int | None = None) -> bytes:
    """One range of a LiME dump; `lost` is the number of its page that could not be written."""
    kept = data if lost is None else data[: lost * _PAGE] + data[(lost + 1) * _PAGE :]
    return _header(MAGIC, PLAIN, start, data) + kept


def bare_header(start: int, size: int, *, compress: bool = True) -> bytes:
    """The header of a block of zeros, as AVML 0.17.0 writes it."""
    magic, version = (AVML_MAGIC, COMPRESSED) if compress else (MAGIC, PLAIN)
    return LIME_HEADER.build(LimeHeader(magic, version, start, start + size - 1, 0))


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
