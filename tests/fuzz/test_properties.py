"""Level 1: hypothesis. Here with a small budget; `--hypothesis-profile=deep` tries a hundred times as many inputs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from khodump.fdt import FdtNode, parse_fdt
from tests.builders.fdt import build_fdt
from tests.fuzz import commands
from tests.fuzz.mutators import EDGES, RECORD
from tests.fuzz.targets import TARGETS, Target, cached_corpus

_SMALL = st.integers(0, (1 << 16) - 1)
_RECORDS = st.builds(
    RECORD.pack,
    _SMALL,
    _SMALL,
    st.integers(0, (1 << 32) - 1),
    st.sampled_from(EDGES) | st.integers(0, (1 << 64) - 1),
)
PROGRAMS = st.builds(
    lambda seed, records: bytes([seed]) + b"".join(records),
    st.integers(0, 255),
    st.lists(_RECORDS, max_size=6),
)
MEMORIES = [name for name in TARGETS if TARGETS[name].heaviest == 1024]
FILES = [name for name in TARGETS if name not in MEMORIES]


@st.composite
def damaged_files(draw, target: Target) -> bytes:
    """A file of the corpus, cut and overwritten in a few places."""
    data = bytearray(draw(st.sampled_from(cached_corpus(target))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)) | st.integers(0, min(len(data), 256)))
        size = draw(st.sampled_from((1, 2, 4, 8)))
        value = draw(st.sampled_from(EDGES) | st.integers(0, (1 << 64) - 1))
        order = draw(st.sampled_from(("little", "big")))
        data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, order)
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@pytest.mark.parametrize("name", FILES)
@given(st.data())
def test_files(name, data):
    target = TARGETS[name]
    target.check(data.draw(damaged_files(target)))


@pytest.mark.parametrize("name", FILES)
@given(st.binary(max_size=512))
def test_noise(name, noise):
    TARGETS[name].check(noise)
    TARGETS[name].check(cached_corpus(TARGETS[name])[0][:16] + noise)


@pytest.mark.parametrize("name", MEMORIES)
@given(PROGRAMS)
def test_memories(name, program):
    TARGETS[name].check(program)


_NAMES = st.text("abcdefgh-,#@=+.", min_size=1, max_size=12)
_NODES = st.recursive(
    st.builds(FdtNode, _NAMES, st.dictionaries(_NAMES, st.binary(max_size=40), max_size=4)),
    lambda below: st.builds(
        lambda name, properties, children: FdtNode(
            name,
            properties,
            tuple({child.name: child for child in children if child.name not in properties}.values()),
        ),
        _NAMES,
        st.dictionaries(_NAMES, st.binary(max_size=40), max_size=4),
        st.lists(below, max_size=4),
    ),
    max_leaves=12,
)


@given(_NODES)
def test_a_sound_tree_reads_back_as_it_was_written(node):
    root = FdtNode("", node.properties, node.children)
    data = build_fdt(root)
    assert parse_fdt(data) == root
    TARGETS["fdt"].check(data)


@settings(max_examples=settings().max_examples // 10)  # a dozen commands each
@given(st.integers(0, 255), st.integers(0, 255), PROGRAMS)
def test_commands(image, way, program):
    commands.check(bytes([image, way]) + program[1:])
