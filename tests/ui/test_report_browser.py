"""The page in headless Chromium: no error, no request, light and dark, narrow and on paper."""

import re

import pytest
from browser import DARK, chromium, visit
from pages import Page
from pretend import PretendDevice, session

from autobatch import tuner
from autobatch.engine.record_file import read_record
from autobatch.ui.report import render

LOOK = """
<script>addEventListener("load", () => setTimeout(() => {
  const requests = performance.getEntriesByType("resource").map((each) => each.name);
  document.body.dataset.requests = requests.join(" ");
  document.body.dataset.overflow = document.documentElement.scrollWidth - innerWidth;
  const figures = [...document.querySelectorAll(".figures dd")];
  document.querySelector(".figures").style.width = "270px";
  for (const each of figures) each.firstChild.data = "1.234e-05";
  const wide = figures.filter((each) => each.scrollWidth > each.clientWidth);
  document.body.dataset.wide = wide.length;
  document.body.dataset.all = figures.length;
}, 500));</script></body>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    chromium()
    folder = tmp_path_factory.mktemp("browser")
    with session(folder, PretendDevice()) as opened:
        tuner.tune(opened)
    path = folder / "page.html"
    path.write_text(render(read_record(folder), "run"))
    return path


@pytest.fixture(scope="module")
def looked_at(page):
    """The page without its policy, saying what was requested and how wide things are."""
    path = page.with_name("looked-at.html")
    html = re.sub(r"<meta http-equiv.*?>", "", page.read_text(), count=1)
    path.write_text(html.replace("</body>", LOOK))
    return path


@pytest.fixture(scope="module")
def visited(page):
    return visit(page)


@pytest.fixture(scope="module")
def narrow(looked_at):
    return visit(looked_at, width=500)[0]


@pytest.fixture(scope="module")
def wide(looked_at):
    return visit(looked_at, width=1400)[0]


def test_charts_are_drawn_without_a_message_on_the_console(page, visited):
    dom, console = visited
    assert console == []
    charts = re.findall(r'data-figure="(\w+)" role="img"[^>]*>\s*<div class="plot-container', dom)
    assert set(charts) == set(Page(page.read_text()).figures)
    assert len(re.findall(r'class="copy"[^>]*hidden', dom)) == 0


def test_the_policy_of_the_page_is_in_force(page):
    spoiled = page.with_name("spoiled.html")
    html = page.read_text().replace("</body>", "<script>document.title = 'broken'</script></body>")
    spoiled.write_text(html)
    dom, console = visit(spoiled)
    assert "<title>broken" not in dom
    assert any("Content Security Policy" in line for line in console)


@pytest.mark.parametrize("width", ["narrow", "wide"])
def test_nothing_is_requested_and_nothing_stands_out_at_the_side(request, width):
    dom = request.getfixturevalue(width)
    assert re.search(r'data-requests="([^"]*)"', dom)[1] == ""
    assert int(re.search(r'data-overflow="([^"]*)"', dom)[1]) <= 0


def test_the_answers_figures_do_not_overlap_on_a_phone(narrow):
    assert 'data-all="3"' in narrow
    assert 'data-wide="0"' in narrow


def test_a_request_would_have_been_seen(looked_at):
    path = looked_at.with_name("requesting.html")
    path.write_text(
        looked_at.read_text().replace("<main", '<img src="http://127.0.0.1:9/nothing.png"><main')
    )
    assert "nothing.png" in re.search(r'data-requests="([^"]*)"', visit(path)[0])[1]


def test_charts_follow_the_colour_scheme(page, visited):
    ink = {"light": "rgb(27, 36, 48)", "dark": "rgb(231, 235, 240)"}
    light, dark = visited[0], visit(page, scheme=DARK)[0]
    assert ink["light"] in light and ink["dark"] not in light
    assert ink["dark"] in dark and ink["light"] not in dark


def test_the_page_prints(page):
    paper = page.with_name("paper.pdf")
    visit(page, f"--print-to-pdf={paper}", scheme=DARK)
    assert paper.read_bytes().count(b"/Type /Page\n") >= 3
