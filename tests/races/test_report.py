"""The page and its figures as text: complete, self-contained, small, and nothing that is not in run files."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from test_cli import ravine
from test_findings import reports, run, tuned

from ravine.races import drawing
from ravine.races import report as report_module
from ravine.races.drawing import DARK, DASHES, LIGHT, Drawing, Plot, Scale, apart, room, short
from ravine.races.facts import facts
from ravine.races.report import LIMIT, Report
from ravine.races.runs import REPORT, TUNE, keep, read
from ravine.races.sentences import Words


class Parsed(HTMLParser):
    """Tags that are opened and closed in order, ids, links and text."""

    VOID = frozenset(("meta", "br", "line", "circle"))

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.words = [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in ("meta",):
            self.open.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[x] for x in ("href", "src") if x in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += [data] if self.open[-1:] not in (["script"], ["style"]) else []

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def made(small):
    return Report(small)


@pytest.fixture(scope="module")
def page(made):
    return made.html()


def folder_of(tmp_path, runs):
    for each in runs:
        keep(tmp_path, each)
    return tmp_path


def test_the_page_is_whole_small_and_needs_no_network(page):
    assert len(page.encode()) < LIMIT
    parsed = Parsed(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert all(link[0] == "#" and link[1:] in parsed.ids for link in parsed.links)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|<link|<img|fetch\(", page)
    assert page.count("<h1>") == 1
    assert '<html lang="en">' in page


def test_everything_that_the_page_must_have_is_there(made, page):
    text = Parsed(page).text
    assert made.headline in text
    for comparison in made.comparisons:
        words = Words(comparison)
        assert text.count(words.verdict()) >= 2, "on its card and in its section"
        assert f'<h2 id="{comparison.title}">' in page
        for m in comparison.methods:
            assert words.score(m.result) in text
            assert words.interval(m.result) in text
    found = made.figures()
    kinds = ("slope", "differences", "scores", "losses", "sensitivity", "trials")
    assert set(found) == {"profile"} | {f"{c.title}-{k}" for c in made.comparisons for k in kinds}
    assert page.count("<figure>") == len(found)
    for words in (
        "Versions and machine",
        "Every run",
        "All pairs of optimizers",
        "Performance profile",
    ):
        assert words in text


def test_all_runs_are_on_the_page(small, page):
    text = Parsed(page).text
    for problem in ("saddle", "waves"):
        of = [r for r in read(small) if r.problem == problem and r.role == REPORT and not r.lost]
        words = Words(next(c for c in Report(small).comparisons if c.title == problem))
        assert all(
            f"{r.seed}: {words.number(r.score)}" in text for r in of if not report_module.lost(r)
        )


def test_figures_and_verdicts_are_one_statement(made):
    for comparison in made.comparisons:
        figure, _ = made.figures()[f"{comparison.title}-differences"]
        rings = {mark.about.partition(":")[0]: mark for mark in figure.marks if mark.kind == "dot"}
        ties = {comparison.methods[i].name for i in comparison.ties}
        assert {name for name, mark in rings.items() if mark.hollow} == ties
        zero = next(m for m in figure.marks if m.kind == "line" and m.series == drawing.INK)
        lines = [m for m in figure.marks if m.kind == "line" and m.series >= 0]
        for mark in lines:
            crosses = mark.points[0][0] <= zero.points[0][0]
            assert crosses == (mark.about.partition(":")[0] in ties)
            assert ("not distinguishable" in mark.about) == crosses


def test_names_are_text_wherever_they_come_from(tmp_path):
    bad = '<script>alert("1")</script>&'
    runs = reports(bad, [0.9, 0.8], about=bad, problem=bad) + reports("b", [0.1, 0.2], problem=bad)
    page = Report(folder_of(tmp_path, runs)).html()
    assert "<script>alert" not in page
    assert bad in Parsed(page).text


def test_one_seed_one_optimizer_one_problem(tmp_path):
    page = Report(folder_of(tmp_path, reports("a", [0.9]))).html()
    text = Parsed(page).text
    assert "Only a was raced" in text
    assert "Over all problems" not in text
    assert "Nothing was tuned" in text
    assert "nan" not in text.lower()


def test_a_race_in_which_everything_is_lost(tmp_path):
    gone = {"lost": "the loss is nan at step 1", "score": math.nan, "evaluations": (), "curve": ()}
    runs = [replace(r, **gone) for name in "ab" for r in reports(name, [0.5, 0.5])]
    text = Parsed(Report(folder_of(tmp_path, runs)).html()).text
    assert "2 of 2 report runs of a are lost" in text
    assert "0: lost, the loss is nan at step 1" in text


def test_an_optimizer_that_is_lost_early_has_a_short_curve(tmp_path):
    """The others' curves go on; the range of the axes is of what there is."""
    gone = {"lost": "the loss is nan at step 4", "lost_at": 4, "score": math.nan}
    short_ = {"evaluations": ((0, 0.4), (2, 0.5)), "curve": ((1, 2.0), (4, math.nan))}
    runs = [replace(r, **gone, **short_) for r in reports("a", [0.5, 0.5])]
    for others in ([], reports("b", [0.6, 0.7])):
        text = Parsed(Report(folder_of(tmp_path, [*runs, *others])).html()).text
        assert "0: lost, the loss is nan at step 4" in text


def halved(tmp_path):
    runs = tuned("a", [0.4, 0.9, 0.5, 0.3], {2: 0.9}, 2, [0.9, 0.9], [0.3, 0.3])
    stops = {1: 15, 3: 15, 4: 7}
    its = [
        replace(r, rivals="x", stopped_at=stops.get(r.trial)) if r.role == TUNE else r for r in runs
    ]
    return folder_of(tmp_path, its), runs


def test_halving_is_said_and_what_it_leaves_unknown_is_not_shown(tmp_path):
    folder, whole = halved(tmp_path)
    made = Report(folder)
    text = Parsed(made.html()).text
    assert (
        "Halving stopped the worse trials of each optimizer on p after 7 and 15 of 30 steps" in text
    )
    assert "(stopped at step 7)" in text
    assert not {"p-sensitivity", "p-trials"} & {*made.figures()}
    (method,) = made.comparisons[0].methods
    assert (method.best_at, method.works, method.halved) == (None, None, True)
    assert facts(made)["problems"][0]["optimizers"][0]["trials_stopped"] == 3
    for run_ in whole:  # the same trials without halving, in the same folder, are what counts
        keep(folder, run_)
    (method,) = Report(folder).comparisons[0].methods
    assert not method.halved
    assert method.best_at is not None


def test_the_command_prints_json_that_says_what_the_page_says(small, made):
    found = json.loads(ravine("race", "report", small, "--json").stdout)
    assert found["headline"] == made.headline
    assert [p["problem"] for p in found["problems"]] == [c.title for c in made.comparisons]
    for problem, comparison in zip(found["problems"], made.comparisons, strict=True):
        assert problem["verdict"] == Words(comparison).verdict()
        for row, method in zip(problem["optimizers"], comparison.methods, strict=True):
            assert row["optimizer"] == method.name
            assert row["result"]["value"] == pytest.approx(comparison.shown(method.result).value)
        assert len(problem["pairs"]) == 4 * 3 / 2
    assert [x["optimizer"] for x in found["over_all_problems"]] == [*made.overall.names]


def test_a_race_of_many_runs_lists_fewer_of_them(tmp_path, monkeypatch):
    runs = tuned("a", [0.4, 0.9, 0.5], {2: 0.9}, 2, [0.9, 0.9], [0.3, 0.3])
    made = Report(folder_of(tmp_path, runs))
    whole = made.html()
    assert "by seed: 0: 0.9" in whole
    assert "lr 0.01: 0.9, again 0.9 0.9 0.9" in whole
    assert "Left out here" not in whole
    monkeypatch.setattr(report_module, "LIMIT", len(whole.encode()))
    fewer = made.html()
    assert "lr 0.01: 0.9" in fewer
    assert "again 0.9" not in fewer
    monkeypatch.setattr(report_module, "LIMIT", len(fewer.encode()))
    assert "Left out here, to keep the page under 1 MB: the runs." in made.html()
    assert "by seed" not in made.html()


def test_a_page_stays_small_however_many_problems_there_are(tmp_path, monkeypatch):
    runs = [
        replace(each, problem=f"problem {i}", task=f"{i:032x}")
        for i in range(12)
        for each in (*reports("a", [0.9, 0.7, 0.8]), *reports("b", [0.5, 0.6, 0.4]))
    ]
    made = Report(folder_of(tmp_path, runs))
    whole = len(made.html().encode())
    monkeypatch.setattr(report_module, "LIMIT", 1)
    least = len(made.html().encode())
    shown = []
    for limit in (whole + 1, whole * 2 // 3, (whole + 3 * least) // 4, least + 5000, least + 1500):
        monkeypatch.setattr(report_module, "LIMIT", limit)
        page = made.html()
        parsed = Parsed(page)
        assert limit * 0.6 < len(page.encode()) < limit
        assert all(link[1:] in parsed.ids for link in parsed.links)
        shown.append([page.count(x) for x in ("<figure>", "<h2 id=", "Left out here")])
        if limit == least + 5000:
            (first,) = re.findall(r"These are the first (\d+) of 12 problems", parsed.text)
            assert int(first) == shown[-1][1] - 1  # the method has a heading, too
    figures, sections, less = zip(*shown, strict=True)
    assert figures[0] == 1 + 12 * 3 > figures[1] > figures[2] == 1
    assert sections[:3] == (13, 13, 13) > sections[3:4] > sections[4:]
    assert less[0] == 0 < less[1] <= less[2] == 12


def test_the_commands_are_those_that_the_run_files_and_the_manifest_name(tmp_path):
    runs = reports("a", [0.9, 0.8], made={"ravine": "1.2", "command": ["ravine", "race", "x.py"]})
    folder = folder_of(tmp_path, runs)
    (folder / "manifest.json").write_text('{"command": ["ravine", "race", "y.py"]}')
    page = Report(folder).html()
    assert "<pre>ravine race x.py\nravine race y.py</pre>" in page
    assert "ravine 1.2" in page
    (folder / "manifest.json").write_text("[]")
    assert "y.py" not in Report(folder).html()


def test_a_search_of_several_hyperparameters(tmp_path):
    space = {"lr": (1e-4, 10.0, 0.0), "beta1": (1e-3, 1.0, 1.0)}
    both = [
        replace(
            r,
            space=space,
            hyperparameters={"lr": 10.0 ** (r.trial - 4), "beta1": 0.9 - r.trial / 10},
        )
        for r in tuned("a", [0.4, 0.9, 0.5, 0.3], {2: 0.9}, 2, [0.9, 0.8], [0.3, 0.3])
    ]
    made = Report(folder_of(tmp_path, both))
    assert made.comparisons[0].methods[0].luck.any()
    text = Parsed(made.html()).text
    assert "beta1 0.7" in text
    assert "whose other hyperparameters differ" in text


# ---- the command -----------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_what_it_says(small, made, tmp_path):
    done = ravine("race", "report", small, "--out", tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text("utf-8") == made.html()
    flat = " ".join(done.stdout.split())
    assert made.headline in flat
    for comparison in made.comparisons:
        assert Words(comparison).verdict() in flat
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "mine.html" in done.stderr


def test_figures_are_written_as_png_and_svg(tmp_path):
    pytest.importorskip("matplotlib")
    folder = folder_of(tmp_path, reports("a", [0.9, 0.8]) + reports("b", [0.1, 0.2]))
    ravine("race", "report", folder, "--figures")
    names = {"p-differences", "p-scores", "p-losses"}
    files = {path.name for path in (folder / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name in names:
        tree = ElementTree.parse(folder / "figures" / f"{name}.svg").getroot()
        assert tree.attrib["aria-label"]
        assert "var(" not in ElementTree.tostring(tree, "unicode")
        assert (folder / "figures" / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (folder / "report.html").exists()


def test_folders_without_a_race_are_refused(tmp_path):
    assert "is no folder" in ravine("race", "report", tmp_path / "none", code=1).stderr
    assert "holds no run" in ravine("race", "report", tmp_path, code=2).stderr
    folder_of(tmp_path, [run(role="tune", trial=1)])
    said = ravine("race", "report", tmp_path, code=2).stderr
    assert "holds 1 run of the search, but no final runs yet" in said


# ---- drawing ---------------------------------------------------------------------------------------


def luminance(colour):
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_colours_can_be_read_on_both_backgrounds():
    css = report_module._file("report.css")
    light, dark = re.findall(r"--bg: (#\w+)", css)
    assert (light, dark) == ("#fff", "#101318")
    for colours, background in ((LIGHT, "#ffffff"), (DARK, dark)):
        for colour in colours:
            a, b = sorted((luminance(colour), luminance(background)))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (colour, background)
    assert len(set(LIGHT)) == len(LIGHT) == len(DARK) == len(set(DARK))


def test_series_differ_in_more_than_their_colour():
    looks = [(i % len(LIGHT), i % len(DASHES)) for i in range(60)]
    assert len(set(looks)) == len(looks)
    assert all(a[1] != b[1] for a, b in pairwise(looks))


def test_scales_and_ticks():
    scale = Scale(0, 10, 100, 200)
    assert [scale(v) for v in (0, 5, 10, 99, -9)] == [100, 150, 200, 200, 100]
    assert scale.ticks(5) == [0, 2, 4, 6, 8, 10]
    assert Scale(0.13, 0.31, 0, 1).ticks(5) == pytest.approx([0.15, 0.2, 0.25, 0.3])
    log = Scale(1e-4, 10, 0, 5, log=True)
    assert log(0.1) == pytest.approx(3)
    assert log.ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10])


def test_labels_are_moved_apart_and_no_further_than_needed():
    assert apart([50, 100], 0, 200) == [50, 100]
    moved = apart([99, 100, 101, 180], 0, 200, gap=10)
    assert moved == pytest.approx([90, 100, 110, 180])
    crowded = apart([5] * 9, 0, 80, gap=20)
    assert crowded == pytest.approx([10 * i for i in range(9)])
    assert apart([300], 0, 200) == [200]
    low = apart([1, 2, 3], 10, 100, gap=10)
    assert low == pytest.approx([10, 20, 30])


def test_long_names_are_cut_in_figures():
    assert short("x" * 40) == "x" * 17 + "…"
    assert room(["mm", "i"]) > room(["ii"])
    assert room([]) == 0


def test_what_is_not_finite_is_not_drawn():
    plot = Plot("p", (0, 3), (0, 1))
    plot.line([0, 1, 2], [0.5, math.nan, math.inf], 0)
    plot.line([0, 1], [math.nan, math.nan], 1)
    plot.band([0, 1], [0, math.nan], [1, 1], 0)
    line, band = plot.drawing.marks
    assert len(line.points) == 1
    assert len(band.points) == 2
    assert "nan" not in plot.drawing.svg()


def test_svg_says_what_it_shows_and_escapes_it():
    drawn = Drawing(10, 10, 'a "b" <c>')
    drawn.dot(1, 2, 3, about="x < y")
    drawn.text(1, 2, "<b>", 0, "end")
    drawn.line([(0, 0), (1.26, 2)], 1)
    tree = ElementTree.fromstring(drawn.svg(alone=True))
    assert tree.attrib["aria-label"] == 'a "b" <c>'
    assert [e.text for e in tree.iter() if e.text] == ["x < y", "<b>"]
    path = next(e for e in tree.iter() if e.tag.endswith("path"))
    assert path.attrib["d"] == "M0 0l1.3 2"
    assert path.attrib["stroke-dasharray"] == DASHES[1]
    assert json.dumps(drawn.svg()).count("var(--c") == 4
