"""khodump.open() says what the command line says."""

from __future__ import annotations

import khodump

from .case import Case


def hold(case: Case) -> None:
    with khodump.open(case.elf) as opened:
        assert opened.page_size == case.known.page_size
        listed = [(block.phys, block.order) for block in opened.preserved]
        assert sorted(listed) == case.rows
        assert len(opened.preserved) == len(case.rows)
        assert opened.preserved.total_size == sum(case.known.page_size << order for _, order in case.rows)
        names = {subtree.name for subtree in opened.subtrees}
        assert names == {child.name for child in case.answer.root.children}
    with khodump.open(case.elf, fdt=case.written.fdt_at) as opened:
        assert sorted((block.phys, block.order) for block in opened.preserved) == case.rows
