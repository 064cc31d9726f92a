"""The table of faults is up to date, and no fault lacks a test."""

from __future__ import annotations

import faults


def test_every_fault_has_a_test() -> None:
    """But those that are known to lack one."""
    found = faults.proofs()
    assert set(found) <= set(faults.FAULTS), "a test is marked with a fault that there is not"
    assert set(faults.FAULTS) - set(found) == faults.LACKING


def test_the_table_is_up_to_date() -> None:
    assert faults.PAGE.read_text("utf-8") == faults.page(), "python tests/faults.py"
