"""json: one object with a schema. jsonl: one object a row, and only rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from khodump.findings import Finding
from khodump.names import well_formed
from khodump.output.text import identifier
from khodump.rows import Block, Result, Rows, Tail


def write_json(result: Result, stream: TextIO) -> Tail:
    """One object: schema, facts, small tables, rows as they come, and findings last."""
    head = result.head()
    members: dict[str, Any] = {"schema": result.schema}
    members |= {identifier(fact.name): fact.value for fact in head.facts}
    members |= {
        identifier(table.name): [row for block in table.blocks for row in _objects(block, table)]
        for table in head.tables
    }
    stream.write(
        "{\n" + ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in members.items())
    )
    stream.write(f",\n {json.dumps(identifier(result.rows.name))}: [")
    separator = "\n  "
    for block in result.rows.blocks:
        lines = [json.dumps(row) for row in _objects(block, result.rows)]
        if lines:
            stream.write(separator + ",\n  ".join(lines))
            separator = ",\n  "
    tail = result.tail()
    findings = json.dumps([_finding(finding) for finding in tail.findings])
    also = "" if result.rows.name == "findings" else f' "findings": {findings},\n'
    stream.write(f'],\n{also} "summary": {json.dumps(well_formed(tail.summary))}\n}}\n')
    return tail


def write_jsonl(result: Result, stream: TextIO) -> Tail:
    """One object a line and row."""
    for block in result.rows.blocks:
        stream.writelines(json.dumps(row) + "\n" for row in _objects(block, result.rows))
    return result.tail()


def _objects(block: Block, rows: Rows) -> Iterator[dict[str, Any]]:
    names = [identifier(column.name) for column in rows.columns]
    columns = [values.tolist() if hasattr(values, "tolist") else values for values in block]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "phys": finding.phys,
        "message": well_formed(finding.message),
        "evidence": dict(finding.evidence),
        "owner": None if finding.owner is None else str(finding.owner),
    }
