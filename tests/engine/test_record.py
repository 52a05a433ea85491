"""The append-only record: what was measured is never lost, and never mixed up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from pretend import TARGET, inspected

from autobatch.engine.record import Record
from autobatch.engine.record_file import FILE_NAME, FORMAT_VERSION, Answer, Entry, read_record
from autobatch.engine.run_directory import begin_again, new_directory, renewed, set_aside
from autobatch.errors import UsageError, WrongRunDirectoryError
from autobatch.protocol import (
    Benchmark,
    Crashed,
    Extent,
    Fits,
    Inspect,
    OutOfMemory,
    Probe,
    ProbeResult,
    Target,
    Trained,
    Trial,
)

RECORDS = Path(__file__).parent / "records"
PROBE = Probe(batch_size=8, limit_bytes=1000)
FITS = Fits(peak_bytes=10, least_peak_bytes=9, full_steps=3, steps=3, step_seconds=0.1)

LONG = OutOfMemory(evidence="OOM when allocating " + 900 * "x")
PROBED = ProbeResult(
    largest_fitting=9,
    ceiling=8,
    ceiling_peak_bytes=10,
    limit_bytes=11,
    headroom=0.1,
    bounded_by="memory",
    verified=True,
    probes=(),
    wall_seconds=1.0,
)


def open_record(directory, target=TARGET, free_bytes=1000):
    return Record(directory, target, free_bytes=free_bytes, version="0.1")


def entry(task=PROBE, outcome=FITS):
    return Entry(task=task, outcome=outcome, seconds=2.0, log="0001-probe.log")


def fill(directory, *entries):
    with open_record(directory) as record:
        for one in entries:
            record.add(one)
    return directory / FILE_NAME


def test_an_outcome_is_found_again_by_its_task(tmp_path):
    fill(tmp_path, entry())
    with open_record(tmp_path) as record:
        assert record.find(PROBE) == entry()
        assert record.find(Probe(batch_size=9, limit_bytes=1000)) is None


def test_each_line_is_on_disk_when_add_returns(tmp_path, monkeypatch):
    flushed = []

    def fsync(descriptor):
        flushed.append((tmp_path / FILE_NAME).read_text().count("\n"))

    with open_record(tmp_path) as record:
        monkeypatch.setattr(os, "fsync", fsync)
        record.add(entry())
    assert flushed[:1] == [2]


def test_what_may_have_passing_causes_is_kept_but_asked_again(tmp_path):
    crash = Crashed(signal=9, exit_code=None, log_tail="")
    others = OutOfMemory(evidence="more than this machine can spare", host_memory=True)
    for number, (outcome, kind) in enumerate(((crash, "crashed"), (others, "out_of_memory"))):
        path = fill(tmp_path / str(number), entry(outcome=outcome))
        with open_record(tmp_path / str(number)) as record:
            assert record.find(PROBE) is None
        assert f'"{kind}"' in path.read_text()


@pytest.mark.parametrize("torn", [1, 10, 60])
def test_a_torn_last_line_is_dropped_and_the_rest_goes_on(tmp_path, torn):
    path = fill(tmp_path, entry())
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[1][:torn])
    with open_record(tmp_path) as record:
        assert record.find(PROBE) == entry()
        record.add(entry(task=Probe(batch_size=16, limit_bytes=1000)))
    with open_record(tmp_path) as record:
        assert record.find(Probe(batch_size=16, limit_bytes=1000)) is not None


@pytest.mark.parametrize("text", ["\u2028", "\x85", "\x0b", "ä"])
def test_text_of_any_kind_is_read_again(tmp_path, text):
    out = OutOfMemory(evidence=f"line{text}break")
    path = fill(tmp_path, entry(outcome=out))
    path.write_bytes(path.read_bytes() + "{ä".encode()[:2])  # torn inside a character
    with open_record(tmp_path) as record:
        assert record.find(PROBE) == entry(outcome=out)


def test_a_torn_header_is_written_anew(tmp_path):
    (tmp_path / FILE_NAME).write_text('{"type":"header","form')
    fill(tmp_path, entry())
    with open_record(tmp_path) as record:
        assert record.find(PROBE) == entry()


def test_a_damaged_line_in_the_middle_is_an_error_with_its_number(tmp_path):
    path = fill(tmp_path, entry(), entry())
    lines = path.read_text().splitlines()
    lines[1] = lines[1][:30]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(WrongRunDirectoryError, match=r"record.jsonl:2: this line is damaged"):
        open_record(tmp_path)


@pytest.mark.parametrize("version", [4, 9])
def test_another_format_is_refused_with_what_to_do(tmp_path, version):
    path = fill(tmp_path)
    text = path.read_text()
    header = f'"format_version":{FORMAT_VERSION}'
    path.write_text(text.replace(header, f'"format_version":{version}'))
    told = f"format version {version}; this autobatch reads {FORMAT_VERSION} alone"
    with pytest.raises(WrongRunDirectoryError, match=told) as refused:
        open_record(tmp_path)
    assert "--fresh" in str(refused.value) and "--run-dir" in str(refused.value)


@pytest.mark.parametrize("path", sorted(RECORDS.iterdir()), ids=lambda path: path.stem)
def test_records_of_real_runs_are_read_and_gone_on_with(tmp_path, path):
    (tmp_path / FILE_NAME).write_bytes(path.read_bytes())
    found = read_record(tmp_path)
    kinds = {type(entry.task) for entry in found.entries}
    assert {Probe, Benchmark, Trial} <= kinds
    with Record(tmp_path, found.header.target, free_bytes=1, version="9") as record:
        assert all(record.find(e.task) for e in found.entries)
        record.add(entry())
    assert len(read_record(tmp_path).entries) == len(found.entries) + 1


def test_answers_are_found_by_what_they_are(tmp_path):
    with open_record(tmp_path) as record:
        record.add_answer(Answer(probe=PROBED))
        record.add_answer(Answer(probe=msgspec.structs.replace(PROBED, ceiling=7)))
    found = read_record(tmp_path)
    assert found.probe is not None and found.probe.ceiling == 7
    assert found.recommendation is None


@pytest.mark.parametrize("content", [None, "", '{"type":"hea'])
def test_what_is_no_run_is_refused_with_where_to_look(tmp_path, content):
    if content is not None:
        (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(UsageError, match=r"not a run directory|nothing was measured there"):
        read_record(tmp_path)


def test_another_target_is_refused_with_the_difference_named(tmp_path):
    fill(tmp_path)
    other = msgspec.structs.replace(TARGET, args={"width": 3})
    with pytest.raises(WrongRunDirectoryError, match=r"args.width was not set and is 3"):
        open_record(tmp_path, other)


def test_the_same_target_in_another_folder_is_the_same(tmp_path):
    fill(tmp_path, entry())
    with open_record(tmp_path, msgspec.structs.replace(TARGET, folder="/moved")) as record:
        assert record.find(PROBE) == entry()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"data_fingerprint": "xyz"}, r"the data has changed \(shapes"),
        ({"code_fingerprint": "xyz"}, "a Python file of yours has changed"),
        ({"parameters": 7}, "the number of parameters was 1000 and is 7"),
        ({"device_name": "CPU: B"}, "the device was 'pretend' and is 'CPU: B'"),
        ({"versions": {"keras": "4.0"}}, "the version of keras was '3.0' and is '4.0'"),
        (
            {"settings": {"OMP_NUM_THREADS": "1"}},
            "OMP_NUM_THREADS, in the environment, was not set and is '1'",
        ),
    ],
)
def test_other_data_or_another_model_is_refused_with_the_difference_named(tmp_path, change, name):
    task = Inspect(batch_size=32)
    fill(tmp_path, entry(task, inspected()))
    with open_record(tmp_path) as record, pytest.raises(WrongRunDirectoryError, match=name):
        record.add(entry(task, inspected(**change)))


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"a.yaml": "2", "b.json": "1"}, r": a\.yaml, which your code reads, has changed"),
        ({"a.yaml": "1"}, r": your code no longer reads b\.json"),
    ],
)
def test_configuration_that_was_read_is_to_be_read_again_as_it_was(tmp_path, now, told):
    task = Inspect(batch_size=32)
    fill(tmp_path, entry(task, inspected(configuration={"a.yaml": "1", "b.json": "1"})))
    with pytest.raises(WrongRunDirectoryError, match=told):
        fill(tmp_path, entry(task, inspected(configuration=now)))


def test_configuration_that_is_first_read_later_may_have_been_written_before(tmp_path):
    first, later, changed = (
        entry(Inspect(batch_size=32), inspected(configuration=read))
        for read in ({}, {"cached.json": "1"}, {"cached.json": "2"})
    )
    fill(tmp_path, first, later)
    with pytest.raises(WrongRunDirectoryError, match="which your code reads, has changed"):
        fill(tmp_path, changed)


@pytest.mark.parametrize("name", ["train.py", "layers.py", "model.yaml"])
def test_what_was_measured_as_the_code_changed_is_refused(tmp_path, name):
    file, layers, read = (tmp_path / each for each in ("train.py", "layers.py", "model.yaml"))
    for each in (file, layers, read):
        each.write_text("WIDTH = 4")
    target = msgspec.structs.replace(TARGET, folder=str(tmp_path))
    facts = inspected(code_files=(str(layers),), configuration={read.name: "abc"})
    known = entry(Inspect(batch_size=32), facts)
    with open_record(tmp_path / "run", target) as record:
        record.add(known)
        os.utime(tmp_path / name, ns=(1, 1))  # saved as it was
        record.add(entry())
        (tmp_path / name).write_text("WIDTH = 5")
        with pytest.raises(UsageError, match=f"{name} was changed while it was measured"):
            record.add(entry(Probe(batch_size=9, limit_bytes=1000)))
    assert read_record(tmp_path / "run").entries == (known, entry())


def test_at_another_size_what_no_size_changes_is_compared(tmp_path):
    fill(tmp_path, entry(Inspect(batch_size=32), inspected()))
    other = Inspect(batch_size=8)
    with open_record(tmp_path) as record:
        with pytest.raises(WrongRunDirectoryError, match="a Python file of yours has changed"):
            record.add(entry(other, inspected(code_fingerprint="xyz")))
        record.add(entry(other, inspected(data_fingerprint="xyz", parameters=7)))


def test_how_much_data_there_is_stays_as_it_was_first_found(tmp_path):
    first, later = ((Extent(samples=count, is_whole=False),) for count in (50, 60))
    with open_record(tmp_path) as record:
        assert record.extents() == ()
        record.add(entry(Inspect(batch_size=32), inspected(extents=first)))
        record.add(entry(Inspect(batch_size=64), inspected(extents=later)))
        assert record.extents() == first
    with open_record(tmp_path) as record:
        assert record.extents() == first


def test_the_memory_that_was_free_at_first_stays_the_limit(tmp_path):
    fill(tmp_path)
    with open_record(tmp_path, free_bytes=77) as record:
        assert record.header.free_bytes == 1000


def test_a_second_process_on_the_same_directory_is_refused(tmp_path):
    told = rf"Another autobatch \(process {os.getpid()}\) is at work"
    with open_record(tmp_path), pytest.raises(UsageError, match=told):
        open_record(tmp_path)


def test_a_run_directory_that_cannot_be_written_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Cannot write the run directory") as refused:
        open_record(tmp_path / "file" / "run")
    assert "--run-dir" in str(refused.value)


def test_the_header_says_whose_record_it_is(tmp_path):
    path = fill(tmp_path)
    header = msgspec.json.decode(path.read_text())
    assert msgspec.convert(header["target"], Target) == TARGET


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system can be mounted by root only")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk_loses_no_line_and_leaves_none_torn(small_disk):
    run = small_disk / "run"
    with open_record(run) as record:
        added = 0
        with pytest.raises(UsageError, match="No space left on device") as refused:
            while True:
                size = added + 1
                record.add(entry(Probe(batch_size=size, limit_bytes=1), outcome=LONG))
                added = size
        assert "Make room" in str(refused.value)
        assert (run / FILE_NAME).read_bytes().endswith(b"\n")
        assert len(read_record(run).entries) == added > 10
    with open_record(run) as record:
        assert record.find(Probe(batch_size=added, limit_bytes=1)) is not None
        assert record.find(Probe(batch_size=added + 1, limit_bytes=1)) is None


def test_a_record_that_is_worked_on_is_not_set_aside(tmp_path):
    run = tmp_path / "run"
    fill(run, entry())
    with open_record(run), pytest.raises(UsageError, match="is at work"):
        set_aside(run)
    set_aside(run)
    assert not run.exists()
    assert (tmp_path / "run.old-1" / FILE_NAME).is_file()


TRIAL = Trial(
    batch_size=8,
    learning_rate=0.1,
    steps=2,
    evaluate_at=(2,),
    validation_batch_size=8,
    seed=1,
)


def test_a_run_that_begins_again_keeps_all_but_trials_and_the_old_one_all(tmp_path):
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    for name in ("0001-probe.log", "0002-trial.log"):
        (run / "logs" / name).write_text(name)
    trained = Trained(evaluations=(), train_seconds=1.0, steps=2)
    trial = Entry(task=TRIAL, outcome=trained, seconds=2.0, log="0002-trial.log")
    whole = fill(run, entry(), trial).read_text()
    with open_record(run), pytest.raises(UsageError, match="is at work"):
        begin_again(run, TARGET)
    other = msgspec.structs.replace(TARGET, seed=1)
    with pytest.raises(WrongRunDirectoryError, match="seed was 0 and is 1"):
        begin_again(run, other)
    assert (run / FILE_NAME).read_text() == whole
    old = begin_again(run, TARGET)
    assert old == tmp_path / "run.old-1"
    assert (old / FILE_NAME).read_text() == whole
    with open_record(run, free_bytes=9) as record:
        assert (record.find(PROBE), record.find(TRIAL)) == (entry(), None)
        assert record.header.free_bytes == 1000  # the limit that the sizes were probed under
    assert [each.name for each in (run / "logs").iterdir()] == ["0001-probe.log"]
    assert {each.name for each in tmp_path.iterdir()} == {"run", "run.old-1"}


ENDED = """
import os, signal, sys
from pathlib import Path
from autobatch.engine.record_file import read_record
from autobatch.engine.run_directory import begin_again

def end(event, _):
    if event == "shutil.copyfile":
        {how}

run = Path("run")
target = read_record(run).header.target
sys.addaudithook(end)
begin_again(run, target)
"""


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt"])
def test_a_run_that_is_ended_as_it_begins_again_is_as_it_was(tmp_path, how):
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "0001-probe.log").touch()
    whole = fill(run, entry()).read_text()
    command = [sys.executable, "-c", ENDED.format(how=how)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL or "KeyboardInterrupt" in ended.stderr
    assert (run / FILE_NAME).read_text() == whole
    if "raise" in how:
        assert list(tmp_path.iterdir()) == [run]


def test_a_run_that_begins_again_needs_no_old_one_and_leaves_other_folders_alone(tmp_path):
    assert begin_again(tmp_path / "run", TARGET) is None
    (tmp_path / "thesis").mkdir()
    with pytest.raises(UsageError, match="is not a run directory"):
        begin_again(tmp_path / "thesis", TARGET)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / FILE_NAME).touch()  # as it began
    assert begin_again(tmp_path / "killed", TARGET) == tmp_path / "killed.old-1"
    refused = pytest.raises(UsageError, match="fresh cannot be 'trails'")
    with refused, renewed(tmp_path / "killed", TARGET, "trails", print):
        pass


def test_a_run_that_is_refused_after_more_was_measured_is_kept_beside_the_old_one(tmp_path):
    run, told = tmp_path / "run", []
    whole = fill(run, entry()).read_text()
    with pytest.raises(WrongRunDirectoryError), renewed(run, TARGET, "trials", told.append):
        with open_record(run) as record:
            record.add(Entry(task=TRIAL, outcome=OutOfMemory(evidence=""), seconds=1.0, log=None))
        raise WrongRunDirectoryError("")
    assert (tmp_path / "run.old-1" / FILE_NAME).read_text() == whole
    assert TRIAL in [each.task for each in read_record(run).entries]
    assert len(told) == 1


PUT_BACK = """
import os, signal, sys
from pathlib import Path
from autobatch.engine.record_file import read_record
from autobatch.engine.run_directory import renewed
from autobatch.errors import WrongRunDirectoryError

def end(event, arguments):
    if event == "os.rename" and Path(arguments[0]).name == "{renamed}":
        {how}

target = read_record(Path("run")).header.target
with renewed(Path("run"), target, "trials", print):
    sys.addaudithook(end)
    raise WrongRunDirectoryError("")
"""


@pytest.mark.parametrize("renamed", ["run", "run.old-1"])
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt"])
def test_an_old_run_is_whole_where_what_puts_it_back_is_ended(tmp_path, renamed, how):
    whole = fill(tmp_path / "run", entry()).read_text()
    command = [sys.executable, "-c", PUT_BACK.format(renamed=renamed, how=how)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL or "KeyboardInterrupt" in ended.stderr
    assert (tmp_path / "run.old-1" / FILE_NAME).read_text() == whole


def test_runs_that_want_the_same_directory_get_one_each(tmp_path):
    wanted = tmp_path / "runs" / "verify-train-20261128-120000"
    made = [new_directory(wanted) for _ in range(3)]
    assert [path.name.removeprefix(wanted.name) for path in made] == ["", "-2", "-3"]
    assert all(path.is_dir() for path in made)


def test_where_no_directory_can_be_made_the_record_says_so(tmp_path):
    (tmp_path / "runs").symlink_to("nowhere")
    wanted = new_directory(tmp_path / "runs" / "verify-train")
    with pytest.raises(UsageError, match=r"Cannot write the run directory .*verify-train"):
        open_record(wanted)
