"""Mutants of a module: the same code, wrong in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

#: What a comparison becomes: its opposite, or the same with the boundary on the other side.
_SWAPPED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


class Mutant(NamedTuple):
    """A change of one place.

    Attributes:
        line: of the place.
        before, after: the code there.
        text: the whole module, changed.
    """

    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.line}: {_short(self.before)}  ->  {_short(self.after)}"


def mutants_of(text: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines; only code in functions is changed."""
    tree = ast.parse(text)
    made = [
        _replaced(text, place, code)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in _within(function)
        for place, code in (*_wrong(node), *_negated(node))
    ]
    unique = {(mutant.line, mutant.before, mutant.text): mutant for mutant in made}
    return sorted(unique.values(), key=lambda mutant: mutant.line)


def _within(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What a function does: all below its statements, but for text, whose parts have no places of their own."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr):
            continue
        yield node
        annotation = getattr(node, "annotation", None)
        waiting += [child for child in ast.iter_child_nodes(node) if child is not annotation]


def _negated(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """The conditions of a statement or an expression, turned round."""
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    for condition in node.ifs if isinstance(node, ast.comprehension) else ():
        yield condition, f"(not ({ast.unparse(condition)}))"


def _wrong(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """`node`, and the code that may stand in its place, as text."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        swapped = _SWAPPED[type(node.ops[0])]()
        yield node, f"({ast.unparse(ast.Compare(node.left, [swapped], node.comparators))})"
    if isinstance(node, ast.BoolOp):
        for dropped in node.values:
            kept = [value for value in node.values if value is not dropped]
            yield node, f"({ast.unparse(ast.BoolOp(node.op, kept) if len(kept) > 1 else kept[0])})"
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield node, str(node.value + 1)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield node, f"({ast.unparse(node.operand)})"
    if _is_deletable(node):
        yield node, "pass"


def _is_deletable(node: ast.AST) -> bool:
    """Whether a statement can be left out without a name that is missing then."""
    if isinstance(node, ast.Assign):
        return not any(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break)


def _replaced(text: str, node: ast.AST, code: str) -> Mutant:
    """The module with `code` in the place of `node`; the columns of a node count bytes."""
    assert isinstance(node, ast.expr | ast.stmt)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    lines = text.encode().splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno - 1
    start = sum(map(len, lines[:first])) + node.col_offset
    end = sum(map(len, lines[:last])) + node.end_col_offset
    data = text.encode()
    changed = data[:start] + code.encode() + data[end:]
    return Mutant(node.lineno, data[start:end].decode(), code, changed.decode())


def _short(code: str) -> str:
    joined = " ".join(code.split())
    return joined if len(joined) <= 60 else f"{joined[:57]}..."
