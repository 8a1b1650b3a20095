"""The page as a file: its size, that it asks for nothing, how it is put together, the command, the server."""

import json
import re
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from unittest import mock

import pytest
from test_cli import ravine

from ravine import registry
from ravine.explorer import LIMIT, build, fragment, page, serve
from ravine.explorer.sources import families, missing, offered, sources, state_of

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import make_faults

OWN = """
from ravine import rule, scalar
from ravine.modifiers import cautious, lookahead
from ravine.ops import sign, sqrt
_EPS = "added"
@rule(eps=_EPS, n=scalar(1.0))
def mine(p, g, v, n, *, lr=0.1, eps=1e-8):
    '''Mine.'''
    v = v + g**2
    return p - lr * g / (sqrt(v / n) + eps), v, n + 1


TWICE = 2


def helper(x):
    return TWICE * x


@rule
def two(p, g, *, lr=0.1):
    return p - lr * helper(g)


stack = lookahead(cautious(two))
"""


def data(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_size_and_no_network(explorer_page):
    text = explorer_page.read_text("utf-8")
    assert len(text.encode()) < LIMIT == 300_000
    assert "default-src 'none'" in text, "the browser refuses what is not in the page"
    for word in (
        "http:",
        "https:",
        "//cdn",
        "@import",
        "fetch(",
        "XMLHttpRequest",
        "url(",
        " src=",
    ):
        inside = text.replace('<iframe src="${escaped}"', "")
        assert word not in inside, word
    assert "/*data*/" not in text
    assert "/*script*/" not in text
    assert text.count("</script") == 2


def test_the_state_is_in_the_page_and_cannot_leave_its_place():
    text = build("cautious(adam)", {"source": "# </script><b>", "start": [1, 2]})
    assert data(text)["state"] == {
        "rule": "cautious(adam)",
        "source": "# </script><b>",
        "start": [1, 2],
    }
    assert text.count("</script") == 2


def test_a_page_has_the_modifiers_of_its_stack():
    def texts(page):
        return "\n".join(data(page)["sources"]["texts"])

    assert "def zclip(" in texts(build("cautious(zclip(adamw))"))
    assert "def zclip(" not in texts(build())
    assert "def cautious(" in texts(build())


def test_fragment_is_what_the_page_reads():
    state = {"rule": "cautious(adam)", "values": {"lr": 0.1, "nesterov": True}, "start": (-9, 1.5)}
    assert fragment({**state, "knobs": {"angle": 30}, "embed": True}) == (
        "rule=cautious(adam)&lr=0.1&nesterov=1&start=-9,1.5&k.angle=30&embed=1"
    )


def test_modules_are_put_into_one_script(monkeypatch):
    modules = {
        "view/main.js": 'import { f as g, K } from "./a.js";\n'
        'import * as all from "../b.js";\n// said\ng(K);\n',
        "view/a.js": 'import { h } from "../b.js";\n'
        "export function f() {}\nexport const K = 1;\nexport { h };\n",
        "b.js": 'export { x as y } from "./c.js";\nexport const h = 2;\n',
        "c.js": "const x = 3;\nexport { x };\n",
    }
    monkeypatch.setattr(page, "_file", modules.__getitem__)
    text = page.bundle.__wrapped__()
    assert [*re.findall(r"^const (\$\w+) = \(", text, re.M)] == [
        "$c",
        "$b",
        "$view_a",
        "$view_main",
    ]
    assert "const { f: g, K } = $view_a;" in text
    assert "return {h, y: $c.x};" in text
    assert "said" not in text
    modules["c.js"] = 'import { h } from "./b.js";\n'
    with pytest.raises(ValueError, match=r"circle: view/main.js → view/a.js → b.js → c.js → b.js"):
        page.bundle.__wrapped__()
    modules["c.js"] = "export default 1;\n"
    with pytest.raises(ValueError, match=r"c\.js: cannot bundle 'export default 1;'"):
        page.bundle.__wrapped__()


def test_what_is_offered():
    names = [name for _, names in families() for name in names]
    assert sorted(names) == sorted(offered())
    assert {"sgd", "momentum", "adam", "adamw", "lion", "muon", "prodigy"} <= {*names}
    assert {"soap", "shampoo", "sophia", "adahessian", "aggmo", "sgld", "adafactor"} <= {*names}
    assert {*registry.own()} - {*names} == {"sophia_g"}
    assert missing(registry.get("sophia_g")) == "a landscape has no sampled to pass to its steps"
    texts = "\n".join(sources()["texts"])
    assert "@modifier(slow=like_p)\ndef lookahead(step" in texts
    assert "adamw = decoupled_decay(adam, weight_decay=0.01)" in texts
    assert '"""' not in texts


def test_state_of_names(tmp_path):
    def of(name):
        return state_of(registry.resolve(name))

    assert of("cautious(adamw)") == {"rule": "cautious(adamw)", "state": {}}
    assert of("adam(beta1=0.8)") == {"rule": "adam", "state": {"values": {"beta1": 0.8}}}
    assert of("zclip(adamw)") == {"rule": "zclip(adamw)", "state": {}}
    (tmp_path / "mine.py").write_text(OWN)
    found = of(f"cautious({tmp_path}/mine.py:mine)")
    assert found["rule"] == "cautious(mine)"
    assert found["state"]["source"].startswith("@rule(n=scalar(1))\ndef mine(p, g, v, n, *,")
    assert "Mine." not in found["state"]["source"]
    text = of(f"{tmp_path}/mine.py:two")["state"]["source"]
    assert text == (
        "TWICE = 2\n\ndef helper(x):\n    return TWICE * x\n\n"
        "@rule\ndef two(p, g, *, lr=0.1):\n    return p - lr * helper(g)\n"
    )
    stack = of(f"{tmp_path}/mine.py:stack")
    assert stack == {"rule": "lookahead(cautious(two))", "state": {"source": text}}
    with pytest.raises(
        ValueError, match="'sophia_g' cannot run in the explorer: a landscape has no sampl"
    ):
        of("sophia_g")


def test_the_command_writes_a_page(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    out = tmp_path / "page.html"
    done = ravine("explore", f"{tmp_path}/mine.py:mine", "--out", out)
    assert f"{out.stat().st_size:,} bytes" in done.stdout
    assert "runs" in done.stderr or "mine.py" in done.stderr, "it says which file is run"
    assert data(out.read_text("utf-8"))["state"]["rule"] == "mine"
    assert "did you mean" in ravine("explore", "adma", code=2).stderr
    assert "--out and --port" in ravine("explore", "--out", out, "--port", "0", code=2).stderr


def test_the_command_serves_this_machine_only(tmp_path):
    with (
        mock.patch("webbrowser.open") as opened,
        mock.patch("socketserver.BaseServer.serve_forever", side_effect=KeyboardInterrupt),
    ):
        assert not opened.called
        done = ravine("explore", "adam", "--no-open")
        assert re.search(r"http://127\.0\.0\.1:\d+/", done.stdout)
        assert not opened.called
        opening = ravine("explore")
        assert opened.call_args.args[0] in opening.stdout


def test_the_server():
    with serve.server("<p>π</p>") as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{at}/") as answer:
            assert answer.read().decode() == "<p>π</p>"
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        with urllib.request.urlopen(urllib.request.Request(at, method="HEAD")) as answer:
            assert answer.read() == b""
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{at}/etc/passwd")
        taken = server.server_port
        assert "is not available" in ravine("explore", "--port", taken, "--no-open", code=1).stderr
        server.shutdown()


def test_the_faults_are_those_of_the_script():
    """The facts that are available without torch."""
    written = json.loads(make_faults.FILE.read_text("utf-8"))
    assert len(written) == 10
    for found, broken in zip(written, make_faults.BROKEN, strict=True):
        assert {k: found[k] for k in ("like", "from", "source")} == make_faults.asked(*broken)
        assert found["like"] in offered()
        assert broken[0].name not in found["source"] + found["says"]


@pytest.mark.torch  # which decides what the optimizer is asked with
@pytest.mark.filterwarnings("ignore:rule .* is never used")  # which are faults
def test_the_answers_are_those_of_the_checker():
    assert make_faults.text() == make_faults.FILE.read_text("utf-8")
