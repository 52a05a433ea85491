"""The logs of jobs, however much those print."""

import os

from autobatch.engine.job_logs import read, written_bytes


def test_of_a_log_as_large_as_a_disk_the_end_is_read(tmp_path):
    log, end = tmp_path / "0001-probe.log", "\nOOM when allocating"
    with log.open("wb") as file:
        file.truncate(1 << 40)  # it takes no room
        file.seek(0, os.SEEK_END)
        file.write(end.encode())
    assert read(log).endswith(f"\0{end}")
    assert read(log, since=written_bytes(log) - len(end)) == end


def test_a_log_is_read_from_where_it_is_asked_for_and_one_that_is_gone_is_empty(tmp_path):
    log = tmp_path / "0001-probe.log"
    assert (read(log), written_bytes(log)) == ("", 0)
    log.write_bytes(b"caf\xc3\xa9 \xff")
    assert read(log, since=3) == "é �"
