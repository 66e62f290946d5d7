"""The page of `slurm-report --html` in a real browser."""

from __future__ import annotations

import os

import pytest

from tests.browser import Browser, find_chromium
from tests.dataset.test_report import Made

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def browser(tmp_path):
    program = find_chromium()
    if not program:
        if os.environ.get("DATALAD_SLURM_REQUIRE_CHROMIUM"):
            pytest.fail("there is no Chromium")
        pytest.skip("there is no Chromium")
    with Browser(program, tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
def page(box):
    """Return a page about three jobs, one of which has a hostile name."""
    history = Made(box)
    blob = box.git("rev-parse", f"HEAD:{box.script('echo hello')}")
    times = {"submit": "2026-11-21T20:00:00+00:00", "start": "2026-11-21T20:01:00+00:00",
             "end": "2026-11-21T20:11:00+00:00", "elapsed": 600, "cpus": 4, "cpu_seconds": 600,
             "peak_memory": 2**30, "requested_memory": "4G", "exit_code": "0:0"}  # fmt: skip
    history.made(1, {"mid/a": "1", HOSTILE.replace("/", "|"): "1"}, name=HOSTILE, **times)
    history.made(
        2, {"end": "12"}, name="join", logs=["slurm-2.out"], **times,
        inputs=[{"path": "mid/a", "blob": blob}], script={"path": "job.sh", "blob": blob},
    )  # fmt: skip
    history.made(3, {"bad": "1"}, name="bad", state="FAILED", **times | {"exit_code": "7:0"})
    path = box.path.parent / "page.html"
    history.told(html=str(path))
    return path


def rows(browser):
    return browser.run("[...document.querySelectorAll('#jobs tbody tr')].map((r) => r.innerText)")


def search(browser, words):
    browser.run(f"$('words').value = '{words}', $('words').dispatchEvent("
                "new Event('input', { bubbles: true })), 0")  # fmt: skip


def test_it_draws_and_filters_without_a_complaint_or_a_look_at_the_network(browser, page):
    browser.open(page)
    assert [row.split()[0] for row in rows(browser)] == ["1", "2", "3"]
    told = browser.run("document.body.innerText")
    assert "FAILED, exit code 7" in told
    assert browser.run("document.querySelectorAll('#graph g').length") >= 6
    assert browser.run("document.querySelectorAll('#load path').length") == 3
    search(browser, "join")
    assert [row.split()[0] for row in rows(browser)] == ["2"]
    assert browser.run("$('count').textContent") == "1 of 3 jobs"
    assert browser.complaints == []


def test_a_name_that_is_a_script_does_nothing(browser, page):
    browser.open(page)
    assert HOSTILE in browser.run("document.body.innerText")
    browser.run("openJob(jobs[0]), 0")
    assert browser.run("$('panel-title').textContent") == f"job 1 {HOSTILE}"
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert browser.complaints == []


def test_a_job_and_a_file_are_opened_with_the_keyboard(browser, page):
    browser.open(page)
    search(browser, "join")
    browser.run("document.querySelector('#jobs tbody button').focus(), 0")
    browser.press("Enter", 13)
    told = browser.run("$('panel').innerText")
    assert browser.run("$('panel').open")
    for part in ("echo hello", "log of 2", "mid/a", '"slurm_job_id": 2'):
        assert part in browser.run("$('panel').textContent"), told
    browser.press("Escape", 27)
    assert not browser.run("$('panel').open")
    search(browser, "")
    browser.run("[...document.querySelectorAll('#graph g')].find((g) => "
                "g.getAttribute('aria-label') === 'file end').focus(), 0")  # fmt: skip
    browser.press("Enter", 13)
    told = browser.run("$('panel').textContent")
    assert "job 2 join" in told
    assert f"job 1 {HOSTILE}" in told
    assert browser.complaints == []


def test_everything_that_can_be_pressed_has_a_name(browser, page):
    browser.open(page)
    nameless = browser.run(
        "[...document.querySelectorAll('button, [role=button], [role=img], input, select')]"
        ".filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length))"
        ".length"
    )
    assert nameless == 0


def test_it_is_dark_for_who_likes_it_dark(browser, page):
    browser.open(page)
    light = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.dark()
    browser.open(page)
    assert browser.run("getComputedStyle(document.body).backgroundColor") != light
