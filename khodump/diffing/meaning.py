"""What two handovers mean, against each other: things with a name, their values, and where they lie."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from khodump.abi.luo import NODE_NAME as LUO_NODE
from khodump.diffing.batch import Change
from khodump.findings import Severity
from khodump.handover import Handover
from khodump.rows import Cell, Fact, Kind
from khodump.subtree import Subtree
from khodump.subtrees.luo_state import Luo, LuoFile
from khodump.subtrees.memfd import COMPATIBLES as MEMFD_COMPATIBLES
from khodump.subtrees.memfd import Memfd

#: What kind of thing it is, and its name.
Key: TypeAlias = tuple[str, str]

HANDOVER: Final = "handover"
SCRATCH: Final = "scratch"
SERIALIZED: Final = "serialized"
#: Things that are on record once LUO has serialized; the kernel's own lists may tell of the former before.
_IN_LISTS: Final = ("session", "file")
_ON_RECORD: Final = (*_IN_LISTS, "flb")


@dataclass(frozen=True)
class Thing:
    """Something that a handover describes.

    Attributes:
        values: what it says; a difference is a change.
        places: addresses; a difference alone is a move, which changes nothing but where things are.
        known: False for what is there, but could not be read.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    known: bool = True


class Difference(NamedTuple):
    """One thing that came, went, changed or moved; `name` and `field` say what of it, where it is not all of it."""

    change: Change
    what: str
    name: str
    field: str | None
    old: str | None
    new: str | None

    @property
    def is_serialization(self) -> bool:
        """Whether it is that LUO put it on record, or has not again."""
        return self.field == SERIALIZED


class Serialization(NamedTuple):
    """What LUO has on record on one side, when it has on one only."""

    became: bool
    sessions: int


@dataclass(frozen=True)
class Meaning:
    """How the meanings differ.

    Attributes:
        differences: what came, went, changed or moved.
        serialization: whether LUO serialized in between, or has not again; None when both sides are alike in this.
        unsure: things that could not be compared, because one side's could not be read.
    """

    differences: tuple[Difference, ...]
    serialization: Serialization | None
    unsure: tuple[Key, ...]

    @property
    def differ(self) -> bool:
        """Whether anything but addresses does."""
        return any(difference.change is not Change.MOVED for difference in self.differences)


def compare(old: Handover, new: Handover) -> Meaning:
    """What came, went, changed and moved, in the order of the new handover."""
    before, after = _things(old), _things(new)
    scratch = old.scratch is not None and new.scratch is not None
    serialization = _serialization(old, new)
    differences: list[Difference] = []
    unsure: list[Key] = []
    for key in dict.fromkeys([*after, *before]):
        first, second = before.get(key), after.get(key)
        what = key[0]
        if what == SCRATCH and not scratch:
            continue  # one side does not tell of any, which says nothing
        if not _comparable(what, first, old) or not _comparable(what, second, new):
            unsure.append(key)
        elif first is not None and second is not None:
            differences += _changed(key, first, second)
        elif serialization is not None and not (_is_told(what, old) and _is_told(what, new)):
            differences += _serialized(key, first, second)
        else:
            differences.append(_came_or_went(key, first, second))
    return Meaning(tuple(differences), serialization, tuple(unsure))


def _comparable(what: str, thing: Thing | None, handover: Handover) -> bool:
    """Whether one side tells of a thing, or surely has none."""
    if thing is not None:
        return thing.known
    if what in _IN_LISTS and handover.unserialized is not None:
        return handover.live_luo is not None and handover.live_luo.is_whole
    return what not in _ON_RECORD or not any(
        finding.severity is Severity.ERROR
        for subtree in handover.subtrees
        if subtree.name == LUO_NODE
        for finding in subtree.decoded.findings
    )


def _is_told(what: str, handover: Handover) -> bool:
    """Whether something tells of all things of a kind that a handover has."""
    if what not in _ON_RECORD:
        return True
    luo = handover.luo
    if luo is not None and luo.is_serialized:
        return True
    return what in _IN_LISTS and handover.unserialized is not None


def _changed(key: Key, old: Thing, new: Thing) -> Iterator[Difference]:
    for change, before, after in (
        (Change.CHANGED, old.values, new.values),
        (Change.MOVED, old.places, new.places),
    ):
        for name in dict.fromkeys([*after, *before]):
            if before.get(name) != after.get(name):
                yield Difference(change, *key, name, before.get(name), after.get(name))


def _came_or_went(key: Key, old: Thing | None, new: Thing | None) -> Difference:
    if new is not None:
        return Difference(Change.ADDED, *key, None, None, _told(new))
    return Difference(Change.REMOVED, *key, None, _told(old or Thing()), None)


def _told(thing: Thing) -> str:
    return ", ".join(f"{name}: {value}" for name, value in thing.values.items())


def _serialized(key: Key, old: Thing | None, new: Thing | None) -> Iterator[Difference]:
    """What is on record on one side, while the other has no record of any; files go with their sessions."""
    if key[0] != "file":
        before, after = ("no" if thing is None else _told(thing) for thing in (old, new))
        yield Difference(Change.CHANGED, *key, SERIALIZED, before, after)


def _serialization(old: Handover, new: Handover) -> Serialization | None:
    before, after = old.luo, new.luo
    if before is None or after is None or before.is_serialized == after.is_serialized:
        return None
    return Serialization(after.is_serialized, len((after if after.is_serialized else before).sessions))


def _things(handover: Handover) -> dict[Key, Thing]:
    """Everything that has a meaning of its own, by what it is and its name; of equal names, the later are numbered."""
    things: dict[Key, Thing] = {}
    met: Counter[Key] = Counter()
    for key, thing in _all_things(handover):
        met[key] += 1
        things[key if met[key] == 1 else (key[0], f"{key[1]} #{met[key]}")] = thing
    return things


def _all_things(handover: Handover) -> Iterator[tuple[Key, Thing]]:
    yield (HANDOVER, ""), _handover(handover)
    for subtree in handover.subtrees:
        yield ("subtree", subtree.name), _subtree(subtree)
    yield from _luo(handover.luo, handover.unserialized)
    for region in handover.scratch or ():
        yield (SCRATCH, f"{region.addr:#x}"), Thing({"size": str(region.size)})


def _handover(handover: Handover) -> Thing:
    tracker = handover.tracker
    return Thing(
        {
            "compatible": handover.fdt.said or "-",
            "page size": str(handover.page_size),
            "map": tracker.shape.partition(", ")[0],  # how its kind was told apart is no part of it
            "depth": "-" if tracker.depth is None else str(tracker.depth),
        },
        {} if handover.fdt.phys is None else {"root FDT": f"{handover.fdt.phys:#x}"},
    )


def _subtree(subtree: Subtree) -> Thing:
    blob, decoded = subtree.blob, subtree.decoded
    if blob is None:
        return Thing(known=False)
    values = {"kind": decoded.kind, "size": str(blob.size)}
    if decoded.content is None:
        values["content"] = f"sha256 {hashlib.sha256(blob.data).hexdigest()[:16]}"
    elif subtree.name == LUO_NODE and isinstance(decoded.content, Luo):
        values["live update number"] = str(decoded.content.number)
        values[SERIALIZED] = "yes" if decoded.content.is_serialized else "no"
    else:
        values |= {fact.name: _value(fact) for fact in decoded.facts}
    return Thing(values, {"blob": f"{blob.phys:#x}"})


def _value(fact: Fact) -> str:
    value: Cell = fact.value
    return f"{value:#x}" if fact.kind is Kind.ADDRESS else str(value)


def _luo(written: Luo | None, listed: Luo | None) -> Iterator[tuple[Key, Thing]]:
    """What LUO keeps: of its sessions the kernel's lists tell where what was written down does not, or not any more."""
    told = listed or written
    for session in told.sessions if told else ():
        yield ("session", session.name), Thing({"files": str(session.count)})
        for file in session.files:
            yield ("file", f"{session.name}/{file.token:#x}"), _file(file)
    for flb in written.flbs if written else ():
        yield ("flb", flb.name), Thing({"data": f"{flb.data:#x}", "count": str(flb.count)})


def _file(file: LuoFile) -> Thing:
    state = file.state
    if state is None:
        known = file.handler not in MEMFD_COMPATIBLES
        return Thing({"handler": file.handler}, {"data": f"{file.data:#x}"}, known)
    folios = _folios(state)
    values = {
        "handler": state.version,
        "size": str(state.size),
        "position": str(state.pos),
        "seals": "none kept" if state.seals is None else f"{state.seals:#x}",
        "folios": str(state.nr_folios),
        "offsets and flags": folios.layout,
    }
    places = {"state": f"{state.phys:#x}", "folios": folios.place}
    return Thing(values, places, known=not state.findings and not folios.missing)


class _Folios(NamedTuple):
    """What tells the folios of two files apart: where they are in the file, where in memory; how many were not read."""

    layout: str
    place: str
    missing: int


def _folios(memfd: Memfd) -> _Folios:
    layout, flags, place = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    first: int | None = None
    missing = 0
    for batch in memfd.folios():
        missing += batch.missing
        layout.update(batch.index.tobytes())
        flags.update(batch.flags.tobytes())
        place.update(batch.phys.tobytes())
        if first is None and len(batch.phys):
            first = int(batch.phys[0])
    layout.update(flags.digest())
    where = "none" if first is None else f"{first:#x} and on (sha256 {place.hexdigest()[:8]})"
    return _Folios(f"sha256 {layout.hexdigest()[:8]}", where, missing)
