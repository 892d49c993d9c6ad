from __future__ import annotations

import pytest

from khodump.abi.khoser import KHOSER_MEM_BITMAP_PTR, KHOSER_MEM_CHUNK_HDR, KhoserMemChunkHdr, chunk_capacity


@pytest.mark.parametrize(("page_size", "capacity"), [(4096, 255), (16384, 1023), (65536, 4095)])
def test_chunk_capacity(page_size, capacity):
    assert chunk_capacity(page_size) == capacity
    assert KHOSER_MEM_CHUNK_HDR.size + capacity * KHOSER_MEM_BITMAP_PTR.sizeof() == page_size


def test_a_chunk_header_byte_by_byte():
    data = bytes.fromhex("00f0debc0a000000 09000000 ff000000")
    assert KHOSER_MEM_CHUNK_HDR.parse(data) == KhoserMemChunkHdr(next=0xA_BCDE_F000, order=9, num_elms=255)


def test_a_bitmap_pointer_byte_by_byte():
    pointer = KHOSER_MEM_BITMAP_PTR.parse(bytes.fromhex("0000000801000000 0012345678000000"))
    assert (pointer.phys_start, pointer.bitmap) == (0x1_0800_0000, 0x78_5634_1200)
