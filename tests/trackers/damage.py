"""Random damage to a map's own pages."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.builders.fdt import u64
from tests.builders.memory import MemoryImage

_PAGE = 4096


@st.composite
def damaged(draw, image: MemoryImage, nodes: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Damage `nodes`, of `size` bytes each, in `image`, and return the (start, end) to leave out of its dump.

    Words become pointers to anywhere, counts and noise; bytes flip; a node in a while is not in memory at all.
    """
    words = st.one_of(
        st.sampled_from(nodes),
        st.sampled_from(nodes).map(lambda phys: phys + 8),
        st.sampled_from([0, 1, 2, 3 << 32, size, 1 << 30, (1 << 64) - size, (1 << 64) - 1]),
        st.integers(0, (1 << 64) - 1),
    )
    at_word = st.integers(0, 7) | st.integers(0, size // 8 - 1)
    for node, slot, word in draw(st.lists(st.tuples(st.sampled_from(nodes), at_word, words), max_size=6)):
        image.write(node + 8 * slot, u64(word))
    at_byte = st.integers(0, 63) | st.integers(0, size - 1)
    flips = st.tuples(st.sampled_from(nodes), at_byte, st.integers(1, 255))
    for node, at, flip in draw(st.lists(flips, max_size=6)):
        image.write(node + at, bytes([image.read(node + at, 1)[0] ^ flip]))
    lost = draw(st.lists(st.sampled_from([phys // _PAGE * _PAGE for phys in nodes]), max_size=2, unique=True))
    for phys in lost[1:]:
        image.drop(phys)
    return [(phys, phys + _PAGE) for phys in lost[:1]]
