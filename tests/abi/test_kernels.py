"""What each kernel takes over, by its name."""

from __future__ import annotations

import pytest

from khodump.abi.kernels import KERNELS, counts_marker, kernels_of


@pytest.mark.parametrize(
    ("release", "roots"),
    [
        ("7.3.4", ["kho-v4"]),
        ("7.0.0", ["kho-v1"]),
        ("7.0.4", ["kho-v1"]),
        ("7.0.0-12345-gc0ffee123456", ["kho-v1", "kho-v3", "kho-v2"]),
        ("7.0.0-12-generic", ["kho-v1"]),
        ("7.1.0-rc1-00012-gc0ffee", ["kho-v3", "kho-v2"]),
        ("7.3.0-00001-gc0ffee", ["kho-v4"]),
        ("6.12.0-00001-gc0ffee", []),
        ("no number", []),
    ],
)
def test_a_kernel_of_a_merge_window_says_the_release_before(release, roots):
    assert [kernel.root for kernel in kernels_of(release)] == roots


def test_which_kernels_compute_the_size_of_a_block_in_64_bits():
    """Read in 7.2.6, 7.2.13 and 7.3.4."""
    assert [kernel.release for kernel in KERNELS if kernel.wide_blocks] == ["7.3", "7.2"]


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("7.0.0-12345-gc0ffee123456", False),  # the merge window of 7.1
        ("7.1.0-rc1", False),
        ("7.1.0-rc4-00012-gc0ffee", False),
        ("7.1.0-rc5", False),
        ("7.1.0-rc5-00123-gc0ffee", None),  # d64b0372760e may be among these commits
        ("7.1.0-rc6", True),
        ("7.1.0-rc10", True),
        ("7.1.0", True),
        ("7.1.2-200.fc46.aarch64", True),
        ("7.1.0-00123-gc0ffee123456", True),
        ("7.0.4", None),
        ("7.2.0", None),
        ("6.18.0-rc6", None),
        ("", None),
    ],
)
def test_which_kernels_of_kho_v3_size_their_tree_for_the_order_bit(release, told):
    assert counts_marker(release) is told
