"""The root FDT as a person wants it, and as source."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import khodump
from khodump.fdt import FdtNode, parse_fdt
from khodump.tables.dts import dts
from tests.builders.fdt import build_fdt
from tests.builders.handover import Description, build_handover
from tests.captures import CAPTURES
from tests.transcript import run

DTC = shutil.which("dtc")


def rows(*arguments) -> list[list[str]]:
    return [
        line.split("\t") for line in run("subtrees", *arguments, "--format", "tsv").stdout.splitlines()[1:]
    ]


def test_every_node_is_there_with_its_values():
    told = {(row[0], row[3]): row[4] for row in rows(CAPTURES["luo-memfd serialized"].path)}
    assert told["/", "compatible"] == "kho-v4"
    assert told["LUO", "state"] == "serialized"
    assert told["memblock", 'region "trace"'] == "0x7e400000..0x7e600000"
    assert told["kexec-metadata", "release"] == "7.3.4-khotruth"


def test_an_unknown_user_is_shown_as_bytes(tmp_path):
    built = build_handover(Description(subtrees={"hwpoison": b"\x01\x00\x00\x00secret \x1b[31m"}))
    found = rows(built.image.to_raw(tmp_path / "mem.img"))
    assert ["hwpoison", "kind", "unknown user"] in [[row[0], row[3], row[4]] for row in found]
    (dump,) = (row[4] for row in found if row[3] == "+0x00")
    assert dump.startswith("01 00 00 00 73 65")
    assert dump.endswith("....secret .[31m")


@pytest.mark.parametrize("missing", ["preserved-data", "blob-size"])
def test_a_node_without_data_or_size_is_said(missing, tmp_path):
    built = build_handover(Description(subtrees={"LUO": b"luo"}))
    tree = parse_fdt(built.fdt)
    children = tuple(
        FdtNode(node.name, {k: v for k, v in node.properties.items() if (node.name, k) != ("LUO", missing)})
        for node in tree.children
    )
    built.image.write(built.fdt_phys, build_fdt(FdtNode("", tree.properties, children)))
    ran = run("subtrees", built.image.to_raw(tmp_path / "mem.img"))
    assert ran.status == 4
    assert "subtree-incomplete" in ran.stderr


def test_source_names_native_values():
    text = run("subtrees", CAPTURES["luo-memfd serialized"].path, "--dts").stdout
    assert "preserved-memory-map = <0x00f06b00 0x00000000>; /* 0x6bf000 */" in text


@pytest.mark.skipif(DTC is None, reason="dtc, which compiles the source again, is not installed")
@pytest.mark.parametrize("name", ["luo-memfd serialized", "kho-test serialized"])
def test_source_compiles_back_to_the_same_tree(name):
    with khodump.open(CAPTURES[name].path) as handover:
        source = "\n".join(dts(handover.fdt.tree))
        compiled = subprocess.run(
            ["dtc", "-q", "-I", "dts", "-O", "dtb"], input=source.encode(), capture_output=True, check=True
        ).stdout
        assert parse_fdt(compiled) == handover.fdt.tree
