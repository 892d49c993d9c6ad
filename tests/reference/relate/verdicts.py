"""Nothing is wrong with a valid handover: no error is found, by whatever container and by whatever command."""

from __future__ import annotations

from tests.reference.write.handover import SHALLOW

from .case import Case
from .command import tell


def hold(case: Case) -> None:
    told = tell("check", case.elf, "-q", "-f", "json")
    said = told.json
    errors = [row for row in said["findings"] if row["severity"] == "error"]
    errors = [row for row in errors if row["rule"] not in allowed(case)]
    assert errors == [], errors[:3]
    assert said["verdict"]
    for words in (["map"], ["map", "--by", "owner"], ["scan"], ["subtrees", "--dts"]):
        ran = tell(*words, case.elf, "-q")
        assert ran.status == 0, (words, ran.stderr)


def allowed(case: Case) -> set[str]:
    """What may be said of some of them: a handler that no kernel has, a string that none of that release has."""
    luo = case.answer.luo
    handlers = {file.handler for session in luo.sessions for file in session.files} if luo else set()
    rules = {"file-handler-unknown"} if handlers - {case.known.dialect.memfd} else set()
    if case.known.dialect.compatible == "kho-v2":
        rules.add("fdt-incompatible")  # never released: such a kernel bears the release before
    if case.known.dialect.depth(14) == SHALLOW and case.known.page_shift == 14:
        rules.add("map-depth-16k")
    return rules
