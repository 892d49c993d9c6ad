"""The structs of 7.3 that are read, shortened, and those of other kernels."""

from __future__ import annotations

from collections.abc import Mapping

from tests.builders.kernel.types import (
    BOOL,
    CHAR,
    INT,
    LIST,
    LONG,
    PHYS,
    U64,
    UINT,
    Alias,
    Anonymous,
    Array,
    Nested,
    Pointer,
    Structs,
    Type,
)

Members = tuple[tuple[str, Type], ...]

LOCK = Nested("mutex")

#: 7.2 and later.
STRUCTS: Mapping[str, Members] = {
    "list_head": (("next", Pointer("list_head")), ("prev", Pointer("list_head"))),
    "mutex": (("owner", LONG), ("wait_list", LIST), ("wait_lock", UINT)),
    "page": (("flags", U64), ("private", U64)),
    "kho_out": (("fdt", Pointer()), ("lock", LOCK)),
    "kho_in": (
        ("fdt_phys", PHYS),
        ("scratch_phys", PHYS),
        ("previous_release", Array(CHAR, 65)),
        ("kexec_count", UINT),
    ),
    "kho_scratch": (("addr", PHYS), ("size", PHYS)),
    "kho_block_set": (
        ("blocks", LIST),
        ("nblocks", LONG),
        ("head_pa", U64),
        ("entry_size", U64),
        ("count_per_block", U64),
        ("incoming", BOOL),
    ),
    "luo_session_header": (
        ("count", LONG),
        ("list", LIST),
        ("rwsem", LOCK),
        ("block_set", Nested("kho_block_set")),
        ("sessions_pa", Pointer()),
        ("active", BOOL),
    ),
    "luo_session_global": (
        ("incoming", Nested("luo_session_header")),
        ("outgoing", Nested("luo_session_header")),
    ),
    "luo_file_set": (("files_list", LIST), ("block_set", Nested("kho_block_set")), ("count", U64)),
    "luo_session": (
        ("name", Array(CHAR, 64)),
        ("list", LIST),
        ("retrieved", BOOL),
        ("file_set", Nested("luo_file_set")),
        ("mutex", LOCK),
    ),
    "luo_file": (
        ("fh", Pointer("liveupdate_file_handler")),
        ("file", Pointer("file")),
        ("serialized_data", U64),
        ("private_data", Pointer()),
        ("retrieve_status", INT),
        ("mutex", LOCK),
        ("list", LIST),
        ("token", U64),
    ),
    "liveupdate_file_handler": (
        ("ops", Pointer()),
        ("compatible", Alias(Array(CHAR, 48))),
        ("list", LIST),
    ),
    "qstr": (("hash_len", U64), ("name", Pointer())),
    "dentry": (
        ("d_flags", UINT),
        ("", Anonymous((("__d_name", Nested("qstr")), ("d_name", Nested("qstr"))), True)),
    ),
    "path": (("mnt", Pointer()), ("dentry", Pointer("dentry"))),
    "inode": (("i_mode", UINT), ("i_size", LONG)),
    "file": (
        ("f_lock", UINT),
        ("f_inode", Pointer("inode")),
        ("", Anonymous((("f_path", Nested("path")), ("__f_path", Nested("path"))), True)),
    ),
}


def reordered(structs: Structs = STRUCTS) -> Structs:
    """The same with the members of each the other way round."""
    return {name: tuple(reversed(members)) for name, members in structs.items()}


def without(struct: str, member: str | None = None, structs: Structs = STRUCTS) -> Structs:
    """The same without a struct, or without one of its members."""
    if member is None:
        return {name: members for name, members in structs.items() if name != struct}
    kept = tuple(pair for pair in structs[struct] if pair[0] != member)
    return {**structs, struct: kept}


def replaced(struct: str, *members: tuple[str, Type], structs: Structs = STRUCTS) -> Structs:
    """The same with another struct of this name."""
    return {**structs, struct: members}
