"""A real kernel, at four moments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from khodump.api import open_handover
from khodump.kernel import (
    FileState,
    Kernel,
    LiveFile,
    LiveLuo,
    LiveSession,
    Told,
    WhyNot,
    handover_places,
    live_luo,
    open_kernel,
)
from khodump.memories import open_memory
from khodump.opening.boot import in_setup_data
from khodump.subtree import Context
from khodump.subtrees.memfd import Memfd, decode_memfd
from tests.captures import read_truth
from tests.kernel.counting import CountingMemory
from tests.kernel.moments import MOMENTS, Moment

pytestmark = pytest.mark.parametrize("name", MOMENTS)


@contextmanager
def kernel_at(moment: Moment) -> Iterator[tuple[Kernel, CountingMemory]]:
    with CountingMemory(open_memory([moment.image])) as memory:
        kernel = open_kernel(memory)
        assert isinstance(kernel, Kernel)
        yield kernel, memory


def luo_of(kernel: Kernel) -> LiveLuo:
    luo = live_luo(kernel)
    assert isinstance(luo, LiveLuo)
    return luo


def test_symbols_are_where_they_are(moments, name):
    with kernel_at(moments[name]) as (kernel, _):
        told = {symbol: kernel.symbol(symbol) for symbol in moments[name].facts["symbols"]}
        assert told == {symbol: int(va, 16) for symbol, va in moments[name].facts["symbols"].items()}


def test_the_handover_is_where_the_kernel_says(moments, name):
    facts = moments[name].facts
    with kernel_at(moments[name]) as (kernel, _):
        places = handover_places(kernel)
    assert isinstance(places.outgoing, Told)
    assert isinstance(places.incoming, Told)
    assert isinstance(places.incoming_scratch, Told)
    assert not isinstance(places.scratch, WhyNot)
    assert places.outgoing.phys == int(facts["fdt_phys"], 16)
    assert places.incoming.phys == int(facts["in_fdt_phys"], 16)
    assert places.incoming_scratch.phys == int(facts["in_scratch_phys"], 16)
    assert places.scratch.phys == int(facts["scratch_table_phys"], 16)
    assert [[hex(region.addr), region.size] for region in places.scratch.regions] == facts["scratch"]


def test_what_is_there_leads_to_the_map(moments, name):
    with kernel_at(moments[name]) as (kernel, _):
        outgoing = handover_places(kernel).outgoing
    assert isinstance(outgoing, Told)
    with open_handover(moments[name].image, fdt=outgoing.phys) as handover:
        found = [(block.phys, block.order) for block in handover.preserved]
    truth = read_truth(moments[name].home / "map.tsv")
    assert sorted(found) == sorted(truth)


def test_boot_params_lead_to_what_this_kernel_was_told(moments, name):
    facts = moments[name].facts
    with kernel_at(moments[name]) as (kernel, memory):
        boot_params = kernel.symbol_phys("boot_params")
        assert boot_params == int(facts["boot_params_phys"], 16)
        told = [notice.fdt for notice in in_setup_data(memory, boot_params)]
    incoming = int(facts["in_fdt_phys"], 16)
    assert told == ([incoming] if incoming else [])


STATUS = {FileState.PRESERVED: "0", FileState.NOT_RETRIEVED: "0", FileState.RETRIEVED: "1"}


def row_of(session: LiveSession, file: LiveFile | None) -> dict[str, str]:
    row = {
        "list": str(session.list),
        "session": session.name,
        "session_retrieved": str(int(session.retrieved)),
    }
    if file is None:
        return row
    data, status = hex(file.serialized_data), STATUS[file.state]
    return {
        **row,
        "token": hex(file.token),
        "handler": file.handler or "",
        "serialized_data": data,
        "retrieve_status": status,
    }


def test_sessions_and_files_are_those_of_the_kernel(moments, name):
    with kernel_at(moments[name]) as (kernel, _):
        luo = luo_of(kernel)
    found = [row_of(session, file) for session in luo.sessions for file in session.files or (None,)]
    wanted = moments[name].files
    for row in wanted:
        del row["size"], row["folios"]
        if row["handler"] == "-":
            for key in ("token", "handler", "serialized_data", "retrieve_status"):
                del row[key]
    assert sorted(map(sorted, (row.items() for row in found))) == sorted(
        map(sorted, (row.items() for row in wanted))
    )
    assert luo.findings == ()
    assert not any(session.findings for session in luo.sessions)


def test_what_is_not_retrieved_can_be_decoded(moments, name):
    sizes = {
        (row["session"], row["token"]): row["size"] for row in moments[name].files if row["handler"] != "-"
    }
    folios = {(row["session"], row["token"]): row["folios"] for row in moments[name].files}
    with kernel_at(moments[name]) as (kernel, _):
        luo = luo_of(kernel)
    with open_memory([moments[name].image]) as whole:
        context = Context(whole, kernel.page_size)
        for session in luo.sessions:
            for file in session.files:
                key = session.name, hex(file.token)
                if file.data is None:
                    assert sizes.pop(key) == "-"
                    continue
                state = decode_memfd(context, file.handler or "", file.data, "the file")
                assert isinstance(state, Memfd)
                assert str(state.size) == sizes.pop(key)
                assert str(state.nr_folios) == folios[key]
    assert not sizes


def test_open_files_have_the_size_of_what_is_preserved(moments, name):
    sizes = {(row["session"], row["token"]): row["size"] for row in moments[name].files}
    with kernel_at(moments[name]) as (kernel, _):
        luo = luo_of(kernel)
    for session in luo.prepared:
        for file in session.files:
            assert file.name is not None
            assert file.name.startswith("memfd:")
            assert str(file.size) == sizes[session.name, hex(file.token)]


def test_nothing_is_searched(moments, name):
    """A thousand pages, however large the machine: `CountingMemory` refuses to be searched."""
    with kernel_at(moments[name]) as (kernel, memory):
        handover_places(kernel)
        before = len(memory.read_pages)
        luo_of(kernel)
        assert len(memory.read_pages) - before < 100
        assert len(memory.read_pages) < 1000
