from __future__ import annotations

import filecmp

from tests.builders.samples import write_samples
from tests.captures import SAMPLES


def test_the_synthetic_sample_is_what_its_writer_writes(tmp_path):
    write_samples(tmp_path)
    names = {path.name for path in (tmp_path / "synthetic").iterdir()}
    assert names == {path.name for path in (SAMPLES / "synthetic").iterdir()}
    assert names >= {"mem.img", "kho.dtb", "truth.tsv", "cyclic-sessions.elf", "lost-folio.elf"}
    same, _, _ = filecmp.cmpfiles(tmp_path / "synthetic", SAMPLES / "synthetic", names, shallow=False)
    assert set(same) == names
    assert (tmp_path / "synthetic" / "mem.img").stat().st_size <= 8 << 20
