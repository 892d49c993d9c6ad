from __future__ import annotations

import pytest

from tests.kernel.moments import Moment, unpack


@pytest.fixture(scope="session")
def moments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Moment]:
    return unpack(tmp_path_factory.mktemp("moments"))
