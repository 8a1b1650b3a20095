"""The explorer in Chromium: what moves is what NumPy computes; keyboard, phone, screen readers."""

import csv
import io
import shlex
import urllib.parse
from pathlib import Path

import pytest
from browsing import VIEWS, is_too_wide, violations
from test_cli import ravine

from ravine import registry
from ravine.explorer import build
from ravine.explorer.sources import state_of
from ravine.reading.worked import worked

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def opened(browse, explorer_page):
    """Opens the page in a state and a view."""

    def open_(state="", view="desktop", file=explorer_page, script=""):
        page = browse(f"{file.as_uri()}#{state}", view, script, accept_downloads=True)
        settled(page)
        return page

    return open_


def settled(page):
    """Once the worker has answered all that it was asked."""
    page.wait_for_function("'ready' in document.body.dataset && !explorer.waiting")


def said(page):
    settled(page)
    return page.inner_text("#say")


def state(page):
    """The address, as a dictionary, once it has been written."""
    page.wait_for_timeout(350)
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).fragment))


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_wrong(opened, view):
    page = opened("fault=1&rule=momentum&beside=source&land=himmelblau&t=5&around=cautious", view)
    page.click("#quiz")  # leave
    page.click("#quiz")  # and begin
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.wait_for_timeout(300)
    assert not violations(page, passes=20)
    assert not is_too_wide(page)


def test_axe_finds_what_is_wrong(opened):
    page = opened()
    page.evaluate("document.getElementById('first').removeAttribute('aria-label')")
    page.evaluate("document.getElementById('first').removeAttribute('title')")
    page.evaluate("document.getElementById('say').style.color = '#ccc'")
    assert violations(page, passes=20).keys() >= {"button-name", "color-contrast"}


@pytest.mark.parametrize(
    "name",
    [
        "sgd",
        "momentum",
        "adam",
        "rmsprop",
        "lookahead(cautious(adamw))",
        "prodigy",
        "nadam",
        "aggmo",
        "sgld",
    ],
)
def test_what_moves_is_what_show_works_out(opened, name):
    """Every named value of twenty steps, from the table that the page saves."""
    page = opened(f"rule={name}&land=parabola&steps=20&lr=0.05&start=-4&seed=0")
    rows = list(csv.DictReader(io.StringIO(page.evaluate("explorer.csv()"))))
    assert len(rows) == 20
    gradients = [float(row["g"]) for row in rows]
    assert gradients[0] == -4.0
    wanted = worked(registry.get(name), gradients, -4.0, lr=0.05)
    compared = 0
    for found, row in zip(rows, wanted, strict=True):
        for key in {*found} & {*row} - {"t"}:
            assert float(found[key]) == pytest.approx(float(row[key]), rel=1e-12, abs=1e-15), key
            compared += 1
    assert compared >= 20 * (4 if name not in ("sgd", "sgld") else 3)
    assert float(rows[3]["g"]) == float(rows[2]["p"]), "the gradient of x**2 / 2 is where it is"


def test_all_of_it_by_keyboard(opened):
    page = opened("t=0")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
    wanted = "land map first back play next operation t knobs-angle loss chart rule beside source"
    assert {*wanted.split(), "Find the fault", "quiz", "cautious", "hypers-lr"} - {*seen} <= {
        "Find the fault"
    }
    page.focus("#map")
    before = page.evaluate("explorer.state.start")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    after = page.evaluate("explorer.state.start")
    assert before is None
    assert after[0] == pytest.approx(-9 + 10 / 60, abs=1e-3)
    assert after[1] == pytest.approx(3)
    page.keyboard.press(".")
    page.keyboard.press(".")
    page.keyboard.press(",")
    assert page.inner_text("#time").startswith("step 1 of")
    page.keyboard.press(" ")
    page.wait_for_function("explorer.state.t > 5")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press(" ")
    assert page.get_attribute("#play", "aria-label") == "Play"
    page.focus("#chart")
    lr = page.evaluate("explorer.now.lanes[0].values.lr")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("explorer.now.lanes[0].values.lr") > 1.2 * lr


def test_one_operation_at_a_time(opened):
    page = opened("t=0")
    page.click("#operation")
    assert said(page).startswith("Operation 1 of")
    assert "beta1 * m" in said(page)
    mark = page.locator("#marks .now")
    assert mark.evaluate("e => e.style.getPropertyValue('--line')") == "1"
    total = int(said(page).split(" of ")[1].split(":")[0])
    for _ in range(total - 1):
        page.click("#operation")
    assert page.inner_text("#time").startswith("step 0 of")
    page.click("#operation")
    assert page.inner_text("#time").startswith("step 1 of")
    assert mark.count() == 0


def test_an_edit_moves_the_path_and_parts_from_the_rule_as_it_was(opened):
    page = opened("rule=adam&lr=0.3")
    source = page.input_value("#source")
    page.fill("#source", source.replace("m / (1 - beta1**t)", "m"))
    page.wait_for_function("explorer.now.lanes.length === 2")
    assert "They part at step 1, where they are" in said(page)
    page.fill("#source", source.replace("m / (1", "mm / (1"))
    page.wait_for_function("document.getElementById('error').textContent")
    assert page.inner_text("#error") == (
        "Line 4: name 'mm' is not defined; use only operators and ravine.ops. Did you mean: 'm'?"
    )
    assert page.get_attribute("#source", "aria-invalid") == "true"
    assert page.evaluate("explorer.now.lanes[0].path.points.length") == 201, (
        "the last good one moves"
    )
    page.fill("#source", source)
    page.wait_for_function("explorer.now.lanes.length === 1")
    assert page.inner_text("#error") == ""


def test_what_is_typed_stays(opened):
    """Also where something is drawn before it has been read."""
    page = opened()
    typed = page.evaluate(
        """() => {
             const area = document.getElementById("source");
             area.focus();
             area.value = "def mine";
             area.dispatchEvent(new Event("input"));
             document.querySelector("[data-shade=height]").click();
             return area.value;
           }"""
    )
    assert typed == "def mine"
    page.fill("#source", "")
    page.click("h1")
    page.wait_for_function("document.getElementById('source').value.startsWith('def adam(')")


OWN = """
from ravine import rule
from ravine.ops import sqrt

EPS = 1e-8


def mean(old, new, beta):
    return beta * old + (1 - beta) * new


@rule
def my_adam(p, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m, v = mean(m, g, beta1), mean(v, g**2, beta2)
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m_hat / FAULT, m, v
"""


@pytest.mark.parametrize("fault", ["sqrt(v_hat + EPS)", "(sqrt(v_hat) + EPS)"])
def test_mine_beside_the_reference(opened, tmp_path, fault):
    """Of a file with a helper and a constant."""
    path = tmp_path / "mine.py"
    path.write_text(OWN.replace("FAULT", fault))
    (tmp_path / "page.html").write_text(build(**state_of(registry.resolve(f"{path}:my_adam"))))
    page = opened("land=parabola&start=-4&lr=0.05", file=tmp_path / "page.html")
    assert page.input_value("#source").startswith("EPS = 1e-08")
    assert page.input_value("#beside") == "adam"
    steps = 40
    mine, theirs = [-4.0, 0.0, 0.0], [-4.0, 0.0, 0.0]
    own, adam = registry.get(f"{path}:my_adam"), registry.get("adam")
    first = None
    for t in range(1, steps + 1):
        mine = [*own(mine[0], mine[0], *mine[1:], t, lr=0.05)]
        theirs = [*adam(theirs[0], theirs[0], *theirs[1:], t, lr=0.05)]
        if first is None and abs(mine[0] - theirs[0]) > 1e-11 * max(1e-3, abs(mine[0])):
            first = t, abs(mine[0] - theirs[0])
    parted = page.evaluate("explorer.now.parted")
    if first is None:
        assert parted is None
        assert "Both take the same path." in said(page)
    else:
        assert parted["t"] == first[0]
        assert parted["distance"] == pytest.approx(first[1], rel=1e-6)
        assert f"They part at step {first[0]}, where they are" in said(page)


def test_without_a_worker_the_page_computes_by_itself(opened):
    there = opened("land=himmelblau&rule=adam&shade=basins")
    alone = opened("land=himmelblau&rule=adam&shade=basins", script="delete globalThis.Worker")
    assert alone.evaluate("typeof Worker") == "undefined"
    for what in ("said", "lr"):
        both = [
            said(page) if what == "said" else page.evaluate("explorer.now.lanes[0].values.lr")
            for page in (there, alone)
        ]
        assert both[0] == both[1]
    ends = "[...explorer.now.grids.basins.result.ends]"
    assert there.evaluate(ends) == alone.evaluate(ends)


def test_a_broken_rule_in_the_address_is_told(opened):
    source = urllib.parse.quote("def mine(p, g, *, lr=1):\n    return p - lr * gg\n")
    page = opened(f"source={source}")
    assert page.inner_text("#error").startswith("Line 2: name 'gg' is not defined;")
    assert said(page).startswith("adam with lr"), "the default moves"


def test_a_fault_is_found(opened):
    page = opened("fault=1&embed=1")
    assert "Fault 1 of 10" in page.inner_text("#quiz-panel")
    assert page.is_hidden(".menu"), "it is embedded"
    assert page.input_value("#source").startswith("def my_momentum(")
    page = opened()
    page.click("#quiz")
    settled(page)
    for _ in range(2):
        page.click("#quiz-panel >> text=Next")
        settled(page)
    assert "Fault 3 of 10" in page.inner_text("#quiz-panel")
    assert "They part at step 1" in said(page)
    page.click("#quiz-panel summary")
    assert "applied twice" in page.inner_text("#quiz-panel")
    source = page.input_value("#source")
    page.fill("#source", source.replace(" / (1 - beta1**t) / (sqrt", " / (sqrt"))
    page.wait_for_function("!explorer.now.parted")
    assert "Found: it now equals adam" in page.inner_text("#quiz-panel")
    page.click("#quiz-panel >> text=Leave")
    settled(page)
    assert page.is_hidden("#quiz-panel")


def test_the_whole_state_is_in_the_address(opened):
    page = opened()
    page.select_option("#land", "ravine")
    page.select_option("#rule", "nadam")
    page.select_option("#beside", "sgd")
    page.click("text=cautious")
    page.fill("input[aria-label='angle, as a number']", "40")
    page.keyboard.press("Enter")
    page.fill("input[aria-label='beta1, as a number']", "0.8")
    page.keyboard.press("Enter")
    page.fill("#loss", "x**2 + c*x*y + 9*y**2")
    page.wait_for_function("explorer.state.loss")
    page.click("[data-chart=pair]")
    page.click("[data-shade=basins]")
    page.click("#first")
    page.click("#next")
    first = state(page)
    assert first == {
        "rule": "nadam", "beside": "sgd", "around": "cautious", "beta1": "0.8", "k.angle": "40",
        "loss": "x**2 + c*x*y + 9*y**2", "chart": "pair", "shade": "basins", "t": "1",
    }  # fmt: skip
    again = opened(urllib.parse.urlsplit(page.url).fragment)
    assert state(again) == first
    for what in ("explorer.now.lanes.map(l => [...l.path.points.at(-1)])", "explorer.csv()"):
        assert again.evaluate(what) == page.evaluate(what)
    assert said(again) == said(page)


def test_maps_are_made_in_a_worker(opened):
    page = opened("land=himmelblau&shade=basins&chart=pair&rule=adam&lr=0.1")
    page.wait_for_function("explorer.now.grids.basins?.result && explorer.now.grids.pair?.result")
    assert len(page.context.pages) == 1
    assert page.evaluate("explorer.now.minima.length") == 4
    counts = page.evaluate(
        "[-1, 0, 1, 2, 3].map(k => explorer.now.grids.basins.result.ends.filter(x => x === k).length)"
    )
    assert all(n > 1000 for n in counts[1:])
    assert page.evaluate("Math.min(...explorer.now.grids.pair.result.values)") > 5
    # What the map says of a point is what the path from there does.
    for start in ([-3, 3], [3.2, -3.4]):
        end = page.evaluate(
            """(start) => {
                 const { now } = explorer, { nx, ny, ends } = now.grids.basins.result;
                 const [x, y] = now.view.to(start);
                 const i = Math.floor(x / now.view.width * nx), j = Math.floor(y / now.view.height * ny);
                 return [...now.minima[ends[j * nx + i]]];
               }""",
            start,
        )
        other = opened(f"land=himmelblau&rule=adam&lr=0.1&start={start[0]},{start[1]}&steps=200")
        last = other.evaluate("[...explorer.now.lanes[0].path.points.at(-1)]")
        assert end == pytest.approx(last, abs=0.3)


@pytest.mark.parametrize("state", ["rule=muon", "land=himmelblau", "rule=momentum&land=rosenbrock"])
def test_the_best_learning_rate_arrives_when_the_strip_says(opened, state):
    page = opened(state)
    taken, arrived = page.evaluate(
        """(() => {
             const [{ path, strip }] = explorer.now.lanes, taken = strip.taken[strip.best];
             return [taken === Infinity ? null : taken, path.arrived];
           })()"""
    )
    assert taken == arrived


def test_turning_the_ravine_costs_what_the_page_says(opened):
    def steps(state):
        taken = opened(state).evaluate("explorer.now.lanes[0].path.arrived")
        return str(taken)

    text = " ".join((DOCS / "explorer.md").read_text("utf-8").split())
    assert (
        f"RMSprop takes {steps('rule=rmsprop')} steps at 0° and {steps('rule=rmsprop&k.angle=45')} at 45°."
        in text
    )
    adam, turned = steps("k.condition=1000"), steps("k.condition=1000&k.angle=45")
    assert f"at 1,000 it takes {adam} and {turned} steps." in text
    assert 0 < int(steps("k.angle=45")) - int(steps("")) < 5, "at a condition number of 50"


def test_a_map_over_momentum_ends_below_1(opened):
    page = opened("rule=momentum&chart=pair&lr=0.01")
    top, bottom = page.evaluate("[16, 1000].map((y) => explorer.now.hit.pick(300, y)[1])")
    assert (top, bottom) == (0.999, 0)
    page.evaluate("document.getElementById('hypers-momentum').value = 1")
    page.dispatch_event("#hypers-momentum", "input")
    settled(page)
    assert page.evaluate("explorer.state.values.momentum") == 0.999


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("loss=log(x) %2B y**2", "The loss has no value at the start; start elsewhere."),
        ("loss=1 %2B 0*x", "starts at the lowest point."),
        ("loss=x**2 %2B y**2&start=0,0", "starts at the lowest point."),
        ("rule=sgd&lr=10", "diverges at step "),
    ],
)
def test_a_start_that_leads_nowhere_is_told(opened, state, says):
    assert says in said(opened(state))


def test_the_exact_rate_is_that_of_theory(opened):
    """Heavy ball on eigenvalues 1 and 50: its best rate is (√50 − 1) / (√50 + 1)."""
    root = 50**0.5
    best = (root - 1) / (root + 1)
    lr, momentum = (2 / (1 + root)) ** 2, best**2
    page = opened(f"rule=momentum&land=ravine&k.angle=25&chart=rate&lr={lr}&momentum={momentum}")
    page.wait_for_function("explorer.now.grids.rate?.result")
    assert f"At your point: {best:.3f}" in page.inner_text("#chart-note")
    page.select_option("#rule", "adam")
    settled(page)
    assert "adam is not" in page.inner_text("#chart-note")
    page.select_option("#land", "rosenbrock")
    settled(page)
    assert "for quadratic losses" in page.inner_text("#chart-note")


def test_what_an_address_says_wrongly_is_left_out(opened):
    page = opened(
        "t=abc&operation=x&batch=x&start=1,x&steps=&seed=x&k.angle=x&around=foo&beside=zzz&fault=99"
    )
    assert state(page) == {}
    page.goto("about:blank")
    page = opened("loss=x - y&rule=adam&t=999999")
    assert "there is no minimum in view" in said(page)
    assert page.inner_text("#time") == "step 200 of 200"


def test_a_rule_for_matrices_gets_a_matrix(opened):
    assert opened("rule=muon").input_value("#land") == "matrix"
    page = opened()
    page.select_option("#rule", "muon")
    settled(page)
    assert page.input_value("#land") == "matrix"
    assert page.inner_text("#error") == ""
    assert page.evaluate("explorer.now.lanes[0].path.points[1].length") == 4


@pytest.mark.parametrize(
    "land", ["saddle", "noisy", "sparse", "drawn", "diamonds", "plateau", "rastrigin"]
)
def test_every_landscape_says_what_happened(opened, land):
    page = opened(f"land={land}&rule=adam")
    assert said(page).startswith("adam with lr")
    assert page.inner_text("#error") + page.inner_text("#loss-error") == ""
    if land == "drawn":
        loss = page.input_value("#loss")
        page.click("#map", position={"x": 200, "y": 200})
        settled(page)
        assert page.input_value("#loss").startswith(loss + " - 1.5*exp(-((x")
        page.click("text=raises a hill")
        page.focus("#map")
        page.keyboard.press("Enter")
        settled(page)
        assert page.input_value("#loss").endswith(" + 1.5*exp(-((x + 4)**2 + (y - 1.5)**2)/0.8)"), (
            "at the start"
        )
        page.click("text=moves the start")
        page.click("#map", position={"x": 300, "y": 100})
        settled(page)
        assert page.evaluate("explorer.state.start")
        page.click("#reset")
        settled(page)
        assert page.input_value("#loss") == loss
        assert page.is_hidden("#reset")
    if land == "diamonds":
        page.check("#knobs-flip")
        page.wait_for_function("document.getElementById('say').textContent.includes('climbed')")
    if land == "noisy":
        ends = [
            opened(f"land=noisy&lr=0.1&seed={seed}").evaluate(
                "[...explorer.now.lanes[0].path.points.at(-1)]"
            )
            for seed in (1, 1, 2)
        ]
        assert ends[0] == ends[1] != ends[2]


def test_basins_need_a_plane(opened):
    assert opened("land=parabola").is_disabled("[data-shade=basins]")
    assert opened().is_enabled("[data-shade=basins]")


def test_the_spreadsheet_of_a_path(opened, tmp_path, monkeypatch):
    openpyxl = pytest.importorskip("openpyxl")
    page = opened("rule=adam&around=lookahead&land=parabola&lr=0.3&beta1=0.8")
    page.evaluate("navigator.clipboard.writeText = async (text) => { globalThis.copied = text }")
    page.click(".menu summary")
    page.click("[data-out=sheet]")
    page.wait_for_function("globalThis.copied")
    command = shlex.split(page.evaluate("globalThis.copied"))
    monkeypatch.chdir(tmp_path)
    ravine(*command[1:])
    book = openpyxl.load_workbook("adam.xlsx", data_only=True).active
    last = [cell.value for cell in list(book.iter_rows())[-1]]
    assert last[0] == 20
    assert last[-1] == pytest.approx(
        page.evaluate("explorer.now.lanes[0].path.points[20][0]"), rel=1e-12
    )


def test_what_leaves_the_page(opened, tmp_path):
    page = opened("rule=adam&around=cautious&land=saddle&lr=0.1")
    page.evaluate("navigator.clipboard.writeText = async (text) => { globalThis.copied = text }")

    def copied(which):
        page.click(".menu summary")
        page.click(f"[data-out={which}]")
        page.wait_for_function("globalThis.copied")
        return page.evaluate("[globalThis.copied, globalThis.copied = null][0]")

    assert (
        copied("link").endswith("#rule=adam&around=cautious&lr=0.1&land=saddle")
        or "lr=0.1" in page.url
    )
    assert "embed=1" in copied("embed")
    path = tmp_path / "mine.py"
    path.write_text(copied("python"))
    assert worked(registry.get(f"{path}:adam"), [0.5], lr=0.1) == worked(
        registry.get("adam"), [0.5], lr=0.1
    )
    names = {"__name__": "copied"}
    torch = pytest.importorskip("torch")
    names["model"] = torch.nn.Linear(2, 1)
    exec(copied("torch"), names)
    assert names["optimizer"].param_groups[0]["lr"] == 0.1
    for which, begins in (("csv", b"t,coordinate,g"), ("png", b"\x89PNG")):
        page.click(".menu summary")
        with page.expect_download() as download:
            page.click(f"[data-out={which}]")
        assert Path(download.value.path()).read_bytes().startswith(begins)
