"""A target driven by coverage, through atheris: `python -m tests.fuzz.coverage TARGET --seed S --seconds T`.

Inputs that reach new code are kept in `.fuzz/corpus`, and the next run goes on from there. It writes a line of JSON as
`tests.fuzz.worker` does. Nothing of khodump may be imported before atheris can instrument it.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from hashlib import sha256
from importlib import import_module
from pathlib import Path


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--failures", type=Path, default=Path(".fuzz/failures"))
    parser.add_argument("--corpus", type=Path, default=Path(".fuzz/corpus"))
    asked = parser.parse_args()

    atheris = import_module("atheris")  # optional, and it comes first

    with atheris.instrument_imports(include=["khodump", "elftools"]):
        from tests.fuzz import worker  # noqa: PLC0415

    target = worker.ALL[asked.target]
    tally = worker.Tally(target.name, "coverage", asked.seed, asked.first)
    judge = worker.Judge(target, tally, asked.failures)
    corpus = asked.corpus / target.name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for data in target.corpus():
        if len(data) <= target.heaviest:
            (corpus / sha256(data).hexdigest()[:40]).write_bytes(data)
    began = time.monotonic()

    def one_input(data: bytes) -> None:
        judge.run(data, sha256(data).hexdigest()[:16])
        if time.monotonic() - began > asked.seconds:
            tally.seconds = round(time.monotonic() - began, 1)
            tally.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            worker.report(tally)
            os._exit(0)  # libFuzzer would say the same at length

    options = (
        f"-seed={asked.seed + asked.first}",
        f"-max_len={target.heaviest}",
        "-timeout=0",
        "-rss_limit_mb=6144",
    )
    atheris.Setup(["fuzz", *options, "-verbosity=0", str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
