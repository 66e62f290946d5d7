"""The record in a commit's message: ours, and what the peer has written for years."""

import json
import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_slurm.jobs.errors import RecordError
from datalad_slurm.jobs.record import (
    RunRecord,
    Sidecar,
    is_inside,
    is_plain_run,
    parse_ending,
    parse_message,
    parse_record,
    parse_words,
    recorded_job_id,
    render_message,
)

BEGIN = "=== Do not change lines below ==="
END = "^^^ Do not change lines above ^^^"
#: how datalad-slurm 0.2.8 finds the record in a message
PEER = re.compile(
    r"\[DATALAD SLURM RUN\] (.*)=== Do not change lines below ===\n(.*)\n"
    r"\^\^\^ Do not change lines above \^\^\^",
    re.MULTILINE | re.DOTALL,
)
PEERS_KEYS = {
    *("chain", "cmd", "commit_id", "dsid", "extra_inputs", "inputs", "outputs", "pwd"),
    *("slurm_job_id", "slurm_outputs"),
}
PEERS_MESSAGE = """\
[DATALAD SLURM RUN] Slurm job 10524535: Completed

=== Do not change lines below ===
{
 "chain": [],
 "cmd": "sbatch submit_ice.slurm",
 "commit_id": null,
 "dsid": "0d2cf1c4-41f6-4f3c-b0b5-1d1b0f2a7a11",
 "extra_inputs": [],
 "inputs": [
  "forcing/1850.nc"
 ],
 "outputs": [
  "models/ice",
  "models/ice/05_02/slurm-10524535.out",
  "models/ice/05_02/slurm-job-10524535.env.json"
 ],
 "pwd": ".",
 "slurm_job_id": 10524535,
 "slurm_outputs": [
  "models/ice/05_02/slurm-10524535.out",
  "models/ice/05_02/slurm-job-10524535.env.json"
 ]
}
^^^ Do not change lines above ^^^
"""
RECORD = RunRecord("sbatch job.sh", "0d2cf1c4", 12, outputs=("out",))

#: bytes that are no UTF-8 arrive as these
escapes = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)
marks = st.sampled_from([BEGIN, END, f"{BEGIN}\n", f"\n{END}\n", "{", "}", '"', "\\", "\n", "\r\n"])
plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
texts = st.lists(plain | marks | st.text(escapes, max_size=3), max_size=4).map("".join)
words = texts.map(lambda text: text.replace("\0", ""))
paths = words.filter(is_inside)
lists = st.lists(words, max_size=3).map(tuple)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
records = st.builds(
    RunRecord,
    cmd=words.filter(str.strip),
    dsid=texts,
    slurm_job_id=st.integers(1, 2**32),
    pwd=paths.filter(bool),
    inputs=lists,
    extra_inputs=lists,
    outputs=st.lists(paths, max_size=3).map(tuple),
    slurm_outputs=st.lists(paths, max_size=3).map(tuple),
    chain=lists,
    slurm=st.dictionaries(texts, values, max_size=3),
)


def message_of(record, messages=(), state="COMPLETED"):
    return render_message(str(record.slurm_job_id), state, list(messages), record.to_json())


def content(**changes):
    return {"cmd": "sbatch job.sh", "slurm_job_id": 12, "outputs": ["out"]} | changes


@given(records, st.lists(texts, max_size=2))
def test_a_record_survives_a_round_trip_whatever_its_texts_and_messages(record, messages):
    assert parse_message(message_of(record, messages)) == record


@given(records, st.lists(texts, max_size=2))
def test_the_peer_reads_our_messages(record, messages):
    match = PEER.match(message_of(record, messages))
    found = json.loads(match[2])
    assert set(found) == PEERS_KEYS | {"slurm"}
    assert found["cmd"] == record.cmd
    assert found["slurm_job_id"] == record.slurm_job_id
    assert tuple(found["outputs"]) == record.outputs


@given(records)
def test_the_text_of_a_record_can_be_encoded(record):
    assert json.loads(record.to_json().encode()) == json.loads(record.to_json())


def test_names_of_the_world_stay_readable():
    assert '"cmd": "sbatch größe.sh"' in replace(RECORD, cmd="sbatch größe.sh").to_json()


def test_we_read_the_peers_messages():
    record = parse_message(PEERS_MESSAGE)
    log = "models/ice/05_02/slurm-10524535.out"
    facts = "models/ice/05_02/slurm-job-10524535.env.json"
    assert record == RunRecord(
        cmd="sbatch submit_ice.slurm",
        dsid="0d2cf1c4-41f6-4f3c-b0b5-1d1b0f2a7a11",
        slurm_job_id=10524535,
        inputs=("forcing/1850.nc",),
        outputs=("models/ice", log, facts),
        slurm_outputs=(log, facts),
    )
    assert record.declared_outputs == ("models/ice",)


@pytest.mark.parametrize(
    ("pwd", "outputs", "logs", "declared"),
    [
        # a job scheduled in a directory below the root
        ("sub", ["sub/out", "sub/slurm-1.out"], ["slurm-1.out"], ["sub/out"]),
        # one that the peer has scheduled again from the root
        ("sub", ["./sub/out", "sub/sub/slurm-1.out"], ["sub/slurm-1.out"], ["./sub/out"]),
        # a log outside the dataset, or none
        ("sub", ["sub/out", "../logs/1"], ["../../logs/1", ""], ["sub/out"]),
        (".", ["out", "../logs/1"], ["../logs/1"], ["out"]),
        # an output that is the directory itself
        ("out", ["out"], [""], ["out"]),
    ],
)
def test_logs_of_the_peer_are_no_declared_outputs_wherever_they_are(pwd, outputs, logs, declared):
    record = parse_record(content(pwd=pwd, outputs=outputs, slurm_outputs=logs))
    assert list(record.declared_outputs) == declared


def test_only_a_log_of_the_peer_may_lie_outside():
    for found in (
        content(outputs=["../x"], slurm_outputs=["../x"], slurm={}),
        content(outputs=["../x"], slurm_outputs=["../y"]),
    ):
        with pytest.raises(RecordError, match="outside the dataset"):
            parse_record(found)


@pytest.mark.parametrize(
    ("title", "ending"),
    [
        ("Slurm job 12: Completed", "Completed"),
        ("Slurm job 12: Out of memory", "Out of memory"),
        ("Slurm job 12: Array failed (some complete)", "Array failed (some complete)"),
        ("Slurm job 12: Cancelled by 1000", "Cancelled by 1000"),
        ("Slurm job 12", ""),
        ("my words: Failed", ""),
    ],
)
def test_the_first_line_says_how_a_job_ended(title, ending):
    assert parse_ending(f"[DATALAD SLURM RUN] {title}\n\nSlurm job 7: Other") == ending


@given(st.lists(words.map(str.strip).filter(lambda w: w and "Slurm job" not in w), max_size=2))
def test_what_the_user_said_is_found_again(said):
    said = ["\n\n".join(filter(None, map(str.strip, each.split("\n\n")))) for each in said]
    assert parse_words(message_of(RECORD, said)) == "\n\n".join(filter(None, said))


def test_what_the_peer_adds_was_not_said_by_the_user():
    text = render_message(
        "9",
        "FAILED",
        [
            "Slurm job(s) for job 9 are not complete.Statuses: 9: FAILED",
            "Slurm job 8: Completed",
            "why\nso",
            "Re-submission of job 8.",
        ],
        "{}",
    )
    assert parse_words(text) == "why\nso"


def test_a_record_of_datalad_run_is_told_apart():
    assert is_plain_run("[DATALAD RUNCMD] x")
    assert not is_plain_run(PEERS_MESSAGE)
    assert not is_plain_run("see [DATALAD RUNCMD] x")


def test_we_write_the_peers_message_as_the_peer_does():
    ours = message_of(parse_message(PEERS_MESSAGE))
    assert ours.replace(' "slurm": {},\n', "") == PEERS_MESSAGE


def test_what_the_user_said_stands_between_subject_and_record():
    text = render_message("7", "OUT_OF_MEMORY", ["  why \n", "", "how\nso"], "{}")
    title = "[DATALAD SLURM RUN] Slurm job 7: Out of memory"
    assert text == f"{title}\n\nwhy\n\nhow\nso\n\n{BEGIN}\n{{}}\n{END}\n"


def test_lines_that_git_or_people_add_at_the_end_do_no_harm():
    signed = f"{message_of(RECORD)}\nSigned-off-by: Alice <alice@example.org>\n"
    assert parse_message(signed) == RECORD


@pytest.mark.parametrize(
    "text",
    ["", "fix a typo", f"[DATALAD RUNCMD] x\n\n{BEGIN}\n{{}}\n{END}\n", f"x\n{PEERS_MESSAGE}"],
    ids=["empty", "ordinary", "of-datalad-run", "quoted"],
)
def test_other_messages_hold_no_record(text):
    assert parse_message(text) is None


def test_a_record_may_lie_in_a_sidecar():
    assert parse_message(render_message("7", "FAILED", [], '"3b1f"')) == Sidecar("3b1f")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "a.b", "a b"])
def test_a_sidecar_in_another_directory_is_refused(name):
    with pytest.raises(RecordError):
        parse_message(render_message("7", "FAILED", [], json.dumps(name)))


@pytest.mark.parametrize(
    "text",
    [
        "[DATALAD SLURM RUN] Slurm job 12: Completed",
        f"[DATALAD SLURM RUN]\n\n{BEGIN}\n{{}}",
        f"[DATALAD SLURM RUN]\n\n{{}}\n{END}\n",
        f"[DATALAD SLURM RUN]\n\n{BEGIN}\n{END}\n",
        f"[DATALAD SLURM RUN]\n\n{BEGIN}\n\n{END}\n",
        f"[DATALAD SLURM RUN]\n\n{BEGIN}\n{{,}}\n{END}\n",
        f"[DATALAD SLURM RUN]\n\n{BEGIN}\n{'[' * 100_000}\n{END}\n",
        f'[DATALAD SLURM RUN]\n\n{BEGIN}\n{{"slurm_job_id": {"9" * 5000}}}\n{END}\n',
    ],
    ids=["bare", "no-end", "no-begin", "nothing", "blank", "no-json", "deep", "huge-number"],
)
def test_a_damaged_message_is_refused(text):
    with pytest.raises(RecordError):
        parse_message(text)


@pytest.mark.parametrize(
    "found",
    [
        *(None, [], 7, True, {}),
        content(cmd=""),
        content(cmd=" \n"),
        content(cmd=None),
        content(cmd=["sbatch", "job.sh"]),
        content(cmd="sbatch \0"),
        content(outputs="out"),
        content(outputs=[1]),
        content(outputs={"out": 1}),
        content(inputs=["a\0b"]),
        content(pwd=1),
        content(slurm=[1]),
        content(slurm_job_id=None),
        content(slurm_job_id=0),
        content(slurm_job_id=-3),
        content(slurm_job_id=True),
        content(slurm_job_id=1.5),
        content(slurm_job_id="12a"),
        content(slurm_job_id="٣"),
        content(slurm_job_id="9" * 30),
    ],
    ids=repr,
)
def test_a_record_of_a_wrong_kind_is_refused(found):
    with pytest.raises(RecordError):
        parse_record(found)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/etc/passwd",
        "//x",
        "..",
        "../x",
        "../..",
        "a/../../b",
        "a/../..",
        "./../x",
        "a\0",
        "\0",
    ],
)
def test_a_path_that_leads_outside_is_refused(path):
    assert not is_inside(path)
    for key, value in (("pwd", path), ("outputs", ["ok", path])):
        with pytest.raises(RecordError):
            parse_record(content(**{key: value}))


@pytest.mark.parametrize("path", [".", "a", "a/b/", "./a", "a/..", "a/../b", "..a", "a/b/../../c"])
def test_a_path_that_stays_inside_is_taken(path):
    assert is_inside(path)
    assert parse_record(content(outputs=[path], pwd=path)).outputs == (path,)


def test_a_job_id_may_be_written_as_text():
    assert parse_record(content(slurm_job_id="12")).slurm_job_id == 12


def test_what_is_left_out_has_its_default():
    assert parse_record({"cmd": "x", "slurm_job_id": 1}) == RunRecord("x", "", 1)


@pytest.mark.faults
@given(texts)
def test_any_other_text_after_our_title_is_refused(text):
    with pytest.raises(RecordError):
        parse_message(f"[DATALAD SLURM RUN]{text}")


@pytest.mark.faults
@given(st.text() | texts)
def test_no_message_breaks_the_parser(text):
    for message in (text, f"[DATALAD SLURM RUN] x\n{BEGIN}\n{text}\n{END}\n"):
        with suppress(RecordError):
            parse_message(message)


@pytest.mark.faults
@given(
    values
    | st.fixed_dictionaries(
        {"cmd": st.just("x") | values, "slurm_job_id": st.just(1) | values},
        optional={
            key: values | lists.map(list)
            for key in (PEERS_KEYS | {"slurm"}) - {"cmd", "slurm_job_id"}
        },
    )
)
def test_no_json_breaks_the_parser(found):
    try:
        record = parse_record(found)
    except RecordError:
        return
    assert all(is_inside(path) for path in (*record.outputs, record.pwd))


@pytest.mark.parametrize("label", ["7_3", "7_[1-5,8]", "7_[1,3,...]"])
def test_a_message_about_some_tasks_is_read_as_one_about_the_job(label):
    text = render_message(label, "COMPLETED", ["why"], RECORD.to_json())
    assert text.startswith(f"[DATALAD SLURM RUN] Slurm job {label}: Completed\n")
    assert parse_message(text) == RECORD
    assert (parse_ending(text), parse_words(text)) == ("Completed", "why")
    assert recorded_job_id(text) == RECORD.slurm_job_id
    assert recorded_job_id(text.replace("cmd", "")[: text.index("===")]) == 7
