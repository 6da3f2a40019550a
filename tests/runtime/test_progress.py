"""Progress as the log shows it."""

from __future__ import annotations

import logging

from rca.runtime.progress import progress


def test_progress__counts_what_an_item_holds(caplog):
    caplog.set_level(logging.INFO, "rca")
    batches = ["abc", "de", "f"]
    assert list(progress(batches, 6, "letters", every=0, weigh=len)) == batches
    lines = [record.getMessage().partition(",")[0] for record in caplog.records]
    assert lines == ["letters 3/6 (50 %)", "letters 5/6 (83 %)", "letters 6 done in 0 s"]
