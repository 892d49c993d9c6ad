"""Fuzzing: inputs made to break khodump, and what must hold of each.

- `seeds`: the images that mutants are made of; `mutators`: how. Both are deterministic: a mutant is (target, seed, number).
- `targets`: what is run on a mutant of a part (a parser, a walker, a decoder), and what must hold; `commands`: the same
  for whole commands on whole images.
- `run`: the runner (`make fuzz`), `coverage`: the same targets driven by atheris, `report`: the table of
  docs/reliability.md.
"""

from __future__ import annotations
