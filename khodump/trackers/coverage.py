"""What the nodes of a tree of tables stand for."""

from __future__ import annotations

import numpy as np

from khodump.abi.kexec_handover import KeyGeometry
from khodump.tracker import Coverage, Nodes

_ONE = np.uint64(1)


def coverage_of(geometry: KeyGeometry, nodes: Nodes) -> Coverage:
    """The blocks whose keys begin with the prefix of a node, by order; nodes ascending, then orders."""
    shift = np.array([geometry.key_shift(level) for level in range(geometry.depth)], np.uint64)[nodes.level]
    first = nodes.prefix << shift
    last = first | ((_ONE << shift) - _ONE)
    parts = []
    for band in reversed(geometry.bands):
        node = np.flatnonzero((first <= np.uint64(band.last)) & (np.uint64(band.first) <= last))
        low = np.maximum(first[node], np.uint64(band.first)) - np.uint64(band.base)
        high = np.minimum(last[node], np.uint64(band.last)) - np.uint64(band.base)
        block = np.uint64(geometry.page_shift + band.order)
        order = np.full(len(node), band.order, np.uint8)
        parts.append(Coverage(node, order, low << block, (high + _ONE) << block))
    return Coverage.concatenate(parts).sorted()
