"""The registry: rules are found where they are written, and nothing that another package does hides them."""

import json
import os
import re
import subprocess
import sys
import warnings

import pytest

import ravine
import ravine.rules
from ravine import Rule, RuleError, get, names, registry, rule
from ravine.registry import resolve, rules
from ravine.rules import adam

SOURCE = """
from ravine import rule
from ravine.ops import sign

@rule(paper="Me", at="here")
def sign_descent(p, g, *, lr=1e-3):
    '''Only the sign.'''
    return p - lr * sign(g)

def plain(p, g, m, *, lr=1e-3):
    m = 0.5 * m + g
    return p - lr * m, m

number = 3
"""
NAME = "rules_of_a_test"


@pytest.fixture(autouse=True)
def fresh():
    registry.rules.cache_clear()
    yield
    registry.rules.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a distribution that offers a module of rules: package(source)."""
    before = {*sys.modules}

    def install(source, name=NAME, points="", metadata=None):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.5.dist-info"
        info.mkdir()
        metadata = metadata or f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n"
        if metadata != "none":
            (info / "METADATA").write_text(metadata)
        points = points or f"[ravine.rules]\nmine = {name}\n"
        (info / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    for name in {*sys.modules} - before:
        if name.startswith(NAME):
            del sys.modules[name]


def warned():
    """The one warning that `names` gives."""
    with pytest.warns(UserWarning, match=NAME) as given:
        names()
    assert len(given) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names()  # it is said once
    return str(given[0].message)


def test_the_rules_of_the_package():
    assert names() == sorted(names())
    assert {"sgd", "momentum", "momentum_classical", "nesterov"} < {*names()}
    assert {"rmsprop", "adam", "amsgrad", "adamw"} < {*names()}
    for name in names():
        assert isinstance(get(name), Rule)
        assert get(name).name == name
        assert getattr(ravine.rules, name) is get(name)
        assert rules().package(name) == ""
    assert ravine.get("adam") is adam


def test_a_function_in_a_family_file_is_enough(monkeypatch):
    made = rule(lambda p, g: p - g).named("found_at_once")
    monkeypatch.setattr(sys.modules["ravine.rules.adam"], "anything", made, raising=False)
    assert get("found_at_once") is made


def test_a_new_family_file_is_enough(tmp_path, monkeypatch):
    (tmp_path / "a_new_family.py").write_text(SOURCE)
    monkeypatch.setattr(ravine.rules, "__path__", [*ravine.rules.__path__, str(tmp_path)])
    assert get("sign_descent").paper == "Me"
    sys.modules.pop("ravine.rules.a_new_family")


def test_two_rules_of_ours_of_one_name_are_refused(monkeypatch):
    twin = rule(lambda p, g: p - g).named("adam")
    monkeypatch.setattr(sys.modules["ravine.rules.rprop"], "anything", twin, raising=False)
    with pytest.raises(ValueError, match="two rules are called 'adam'"):
        names()


# --- other packages -------------------------------------------------------------------------------


def test_rules_of_another_package(package):
    package(SOURCE)
    assert get("sign_descent")(1.0, 5.0, lr=0.25) == 0.75
    assert get("Sign-Descent") is get(f"{NAME}:sign_descent") is get("sign_descent")
    assert get("rules.of-a_TEST:sign_descent") is get("sign_descent")
    assert rules().package("sign_descent") == f"{NAME} 1.5"
    assert "plain" not in names()
    assert "adam" in names()


def test_a_package_may_import_our_rules(package):
    package(SOURCE + "\nfrom ravine.rules import adam, sgd\n")
    assert get("adam") is adam
    assert [name for name in names() if rules().package(name)] == ["sign_descent"]


def test_an_entry_point_may_name_one_rule(package):
    package(SOURCE, points=f"[ravine.rules]\nmine = {NAME}:sign_descent\n")
    assert get("sign_descent")(1.0, 5.0, lr=0.25) == 0.75


BROKEN = {
    "missing": ("", "mine = nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere"),
    "raises": ("\n1 / 0", f"mine = {NAME}", f"{NAME}.py, line 2: ZeroDivisionError: division"),
    "syntax": ("def f(:", f"mine = {NAME}", f"{NAME}.py, line 1: SyntaxError"),
    "exits": ("import sys\nsys.exit(3)", f"mine = {NAME}", r"calls sys.exit\(3\)"),
    "exits silently": ("raise SystemExit", f"mine = {NAME}", r"calls sys.exit\(\)"),
    "skips": ("import pytest\npytest.skip('x')", f"mine = {NAME}", "Skipped"),
    "not a rule": (SOURCE, f"mine = {NAME}:number", "is a int, not a module and not a rule"),
    "a function": (SOURCE, f"mine = {NAME}:plain", "is a function, not a module and not a rule"),
    "no attribute": (SOURCE, f"mine = {NAME}:gone", "has no attribute 'gone'"),
    "no place": (SOURCE, "mine = !!", "'mine' is left out: !! cannot be run: .* form module:name"),
    "no rules": ("number = 3", f"mine = {NAME}", f"there is no rule in {NAME}$"),
    "ends the path": ("import sys\nsys.path.clear()", f"mine = {NAME}", "there is no rule"),
    "of no exception's kind": (
        "class Base(BaseException): ...\nraise Base('x')",
        f"mine = {NAME}",
        f"{NAME}.py, line 2: Base: x",
    ),
    "no value": (SOURCE, "mine", "its entry points cannot be read"),
    "not a rule's form": (
        "from ravine import rule\n\n@rule\ndef f(x): ...",
        f"mine = {NAME}",
        f"{NAME}.py, line [34]: RuleError",
    ),
    "warns": ("import warnings\nwarnings.warn('old')", f"mine = {NAME}", "warns: UserWarning: old"),
}


@pytest.mark.parametrize(("source", "point", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_entry_point_is_one_warning(package, source, point, said):
    package(source, points=f"[ravine.rules]\n{point}\n")
    ours = {"adam": adam, "rmsprop": ravine.rules.rmsprop}
    # Ravine's own are found without a look at any other package, whatever they are called.
    assert {name: get(name) for name in ours} == ours
    assert get("Adam") is adam
    assert get("l2(Adam)").name == "l2(adam)"
    message = warned()
    assert message.startswith(f"{NAME} 1.5 offers rules to Ravine: ")
    assert re.search(said, message), message
    assert {*ours} < {*names()}
    assert sys.path


def test_to_warn_is_not_to_be_broken(package):
    package(SOURCE + "import warnings\nwarnings.warn('old')\n")
    assert "its import warns: UserWarning: old" in warned()
    assert get("sign_descent").paper == "Me"


def test_one_broken_entry_point_leaves_the_others(package, tmp_path):
    (tmp_path / f"{NAME}_too.py").write_text("boom")
    package(SOURCE, points=f"[ravine.rules]\na = {NAME}_too\nb = {NAME}\nc = {NAME}_gone\n")
    message = warned()
    assert "'a' is left out" in message
    assert "'c' is left out" in message
    assert get("sign_descent").paper == "Me"


def test_an_interrupt_is_no_broken_package(package):
    package("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        names()


@pytest.mark.parametrize("metadata", ["none", "\0", "Version: 2"])
def test_damaged_metadata(package, metadata):
    package(SOURCE, metadata=metadata)
    assert get("sign_descent").paper == "Me"
    assert rules().package("sign_descent").startswith(NAME)


def test_a_package_broken_elsewhere_is_none_of_our_business(package):
    package(SOURCE, points="[console_scripts]\nmine\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "sign_descent" not in names()


def test_a_rule_with_our_name_shadows_nothing(package):
    package(SOURCE.replace("sign_descent", "adam"))
    message = warned()
    assert f"its rule 'adam' has Ravine's name, and is '{NAME}:adam' here" in message
    assert get("adam") is adam
    assert get(f"{NAME}:adam").paper == "Me"
    assert rules()[f"{NAME}:adam"].paper == "Me"
    assert get(f"l2({NAME}:adam)")(1.0, 5.0, lr=0.25) == 0.75


def test_a_rule_with_another_name_of_ours_shadows_nothing(package):
    package(SOURCE.replace("sign_descent", "HeavyBall"))
    assert "'HeavyBall' has Ravine's name" in warned()
    assert get("heavy ball") is ravine.rules.momentum_classical
    assert get(f"{NAME}:HeavyBall").paper == "Me"


def test_two_packages_with_one_name_shadow_each_other_in_nothing(package):
    package(SOURCE)
    package(SOURCE.replace('"Me"', '"You"'), name=f"{NAME}_too")
    with pytest.warns(UserWarning, match="has another package's name") as given:
        assert {f"{NAME}:sign_descent", f"{NAME}_too:sign_descent"} < {*names()}
    assert len(given) == 2
    assert get(f"{NAME}:sign_descent").paper == "Me"
    assert get(f"{NAME}_too:sign_descent").paper == "You"
    with pytest.raises(
        LookupError, match=f"in several packages; write {NAME}:sign_descent or {NAME}_too:"
    ):
        get("sign_descent")


def test_one_rule_in_two_packages_is_one_rule(package):
    package(SOURCE)
    package(f"from {NAME} import sign_descent", name=f"{NAME}_too")
    assert get("sign_descent") is get(f"{NAME}:sign_descent") is get(f"{NAME}_too:sign_descent")


def test_two_rules_of_one_name_in_one_package(package):
    package(SOURCE + "\nother = rule(lambda p, g: p).named('sign_descent')\n")
    assert "it has two rules called 'sign_descent', of which the first is taken" in warned()
    assert get("sign_descent").paper == "Me"


def test_a_package_that_asks_for_rules_while_it_is_imported(package):
    package(SOURCE + "\nimport ravine\nthere = ravine.names()\n")
    package("boom", name=f"{NAME}_too")
    assert f"{NAME}_too 1.5 offers" in warned()
    assert {"adam", "sign_descent"} < {*names()}


def test_the_command_lives_with_broken_packages(package, tmp_path):
    package(SOURCE.replace("sign_descent", "adam"))
    package("import sys\nprint('hello')\nsys.exit(7)", name=f"{NAME}_too")

    def ravine_(*words):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        return subprocess.run(
            [sys.executable, "-m", "ravine", *words],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )

    for words in (("show", "adam"), ("show", "Adam", "--kernel")):
        done = ravine_(*words)
        assert (done.returncode, done.stderr) == (0, "")
    done = ravine_("list")
    assert done.returncode == 0
    assert "hello" not in done.stdout
    assert f"{NAME}:adam" in done.stdout
    assert f"From {NAME} 1.5" in done.stdout
    assert done.stderr.count("Warning") + done.stderr.count("ravine: ") == 2
    assert f"{NAME}_too 1.5" in done.stderr
    rows = json.loads(ravine_("list", "--json").stdout)
    assert {row["rule"]: row["package"] for row in rows}[f"{NAME}:adam"] == f"{NAME} 1.5"
    assert "Only the sign" in ravine_("show", f"{NAME}:adam").stdout


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [("adma", "adam"), ("sdg", "sgd"), ("nestrov", "nesterov"), ("amsgard", "amsgrad")],
)
def test_an_unknown_name_suggests_the_nearest(name, meant):
    with pytest.raises(LookupError) as caught:
        get(name)
    message = caught.value.args[0]
    assert f"no rule is called {name!r}; did you mean {meant!r}? `ravine list`" in message


@pytest.mark.parametrize("name", ["zzzzzz", "SWATS", "AdaShift", "keras.Ftrl", "torch.optim.LBFGS"])
def test_a_name_like_no_other_suggests_nothing(name):
    with pytest.raises(LookupError) as caught:
        get(name)
    assert "did you mean" not in caught.value.args[0]
    assert f"no rule is called {name!r}; `ravine list`" in caught.value.args[0]


def test_stacks():
    made = get("clip_by_norm(L2(Adam, weight_decay=0.5), max_norm=0.25)")
    assert made.name == "clip_by_norm(l2(adam))"
    assert made.hyperparameters["max_norm"].default == 0.25
    assert made.hyperparameters["weight_decay"].default == 0.5
    by_hand = ravine.modifiers.clip_by_norm(ravine.modifiers.l2(adam))
    settings = {"weight_decay": 0.5, "max_norm": 0.25, "lr": 0.1}
    p, g = 1.0, 3.0
    expected = by_hand.update(p, g, by_hand.init(p), 1, **settings)
    assert made.update(p, g, made.init(p), 1, lr=0.1) == expected
    assert get("maximize(l2(sgd))")(1.0, 1.0, lr=0.5, weight_decay=0.5) == 1.25
    assert get("l2(adam)") is get("L2( ADAM )"), "engines keep what they made for a rule"


@pytest.mark.parametrize(
    "name",
    [
        "l2(Adam)",
        "clip_by_norm(adam, max_norm=0.5)",
        "keras.Nadam",
        "SGD(nesterov=True)",
        "torch.optim.Muon",
    ],
)
def test_a_name_found_has_one_spelling(name):
    found = resolve(name)
    again = resolve(found.name)
    assert again.name == found.name
    assert again.rule.name == found.rule.name
    assert not again.note
    defaults = [
        {k: h.default for k, h in r.hyperparameters.items()} for r in (found.rule, again.rule)
    ]
    assert defaults[0] == defaults[1]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", LookupError, "no name of a rule is given; `ravine list`"),
        ("l2", LookupError, r"'l2' is a modifier, a function from rule to rule; write l2\(adam\)"),
        (
            "AGC",
            LookupError,
            r"'AGC' is a modifier, a function from rule to rule; write AGC\(adam\)",
        ),
        ("l2()", LookupError, r"write l2\(adam\)"),
        (
            "l3(adam)",
            LookupError,
            "no modifier is called 'l3'; modifiers are adagc, adaptive_grad_clip",
        ),
        ("maximise(adam)", LookupError, "'maximise'; did you mean 'maximize'"),
        (
            "adam(sgd)",
            LookupError,
            r"no modifier is called 'adam', which is a rule: adam\(lr=0.1\)",
        ),
        ("l2(adma)", LookupError, "no rule is called 'adma'"),
        ("l2(adam", ValueError, "its parentheses do not match"),
        ("l2(adam))", ValueError, "its parentheses do not match"),
        ("l2(adam, sgd)", ValueError, "write one rule and then options"),
        ("l2(weight_decay=1, adam)", ValueError, "write one rule and then options"),
        ("l2(adam, weight_decay=x)", ValueError, "'x' is not a number, true or false"),
        ("l2(adam, weight_decay=-1)", ValueError, "weight_decay=-1.0 is invalid"),
        ("l2(adam, decay=1)", ValueError, "has no hyperparameter 'decay'"),
        ("l2(adamw)", RuleError, "adamw and l2 both have 'weight_decay'"),
        (
            "adam(weight_decay=1)",
            ValueError,
            r"write decoupled_decay\(adam, weight_decay=...\) or l2",
        ),
        ("l2(" * 3000 + "adam" + ")" * 3000, LookupError, "nested too deeply"),
        ("ravine.modifiers:l2(sgd, lr=1, lr=2)", ValueError, "sets lr twice"),
        ("math:sqrt(adam)", LookupError, "math:sqrt cannot modify adam: TypeError: must be real"),
        (
            "builtins:str(adam)",
            LookupError,
            "builtins:str is not a modifier: applied to adam it returns '<rule",
        ),
    ],
)
def test_what_is_not_accepted_is_explained(name, error, message):
    with pytest.raises(error, match=message):
        get(name)


def test_a_name_is_a_string():
    with pytest.raises(TypeError, match="the name of a rule must be a string, got None"):
        get(None)


# --- rules of one's own ---------------------------------------------------------------------------


def test_a_rule_in_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    assert get(f"{path}:sign_descent")(1.0, 5.0, lr=0.25) == 0.75
    made = get(f"{path}:plain")
    assert isinstance(made, Rule)
    assert made(1.0, 1.0, 2.0, lr=0.25) == (0.5, 2.0)
    assert get(f"{path}:plain") is made
    stack = resolve(f"L2({path}:sign_descent, weight_decay=3)")
    assert stack.name == f"l2({path}:sign_descent, weight_decay=3.0)"
    assert stack.rule(-1.0, 2.0, lr=0.25) == -0.75


def test_a_modifier_in_a_file(tmp_path):
    path = tmp_path / "mine (copy).py"
    path.write_text(
        "from ravine import modifier\n@modifier\n"
        "def halved(step, p, g, *, share=0.5):\n    return step(p, share * g)\n"
    )
    assert get(f"{path}:halved(sgd, share=0.25)")(1.0, 4.0, lr=0.5) == 0.5
    assert get(f"l2({path}:halved(sgd))")(1.0, 4.0, lr=0.5, weight_decay=4.0) == -1.0


def test_a_rule_in_a_module():
    assert get("ravine.rules:adam") is adam


def test_a_mistake_in_the_place_is_explained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    has = "it has sign_descent, plain"
    for name, message in {
        f"{path}:sign_decent": f"has no rule 'sign_decent'; did you mean 'sign_descent'. I{has[1:]}",
        f"{path}:number": f"has no rule 'number'; {has}",
        f"{path}:": f"names no rule; write .*mine.py:NAME; {has}",
        "mine.py": f"'mine.py' is a file's name; a rule in it is mine.py:NAME; {has}",
        "mine:plain": "no module 'mine'; a rule in the file mine.py is named as mine.py:NAME",
        f"{tmp_path}/gone.py:adam": r"no file '.*gone\.py'.*path/to/file\.py:name",
        f"{tmp_path}:adam": "is a folder; a rule of your own is named as path/to/file.py:name",
        "no_such_module:adam": "no module 'no_such_module'$",
        "no such module:adam": "no module 'no such module'$",
        "mine": f"'mine' is a file's name; a rule in it is mine.py:NAME; {has}",
        "gone.py": "'gone.py' is no rule; a rule of your own is named as path/to/file.py:name",
        ".:adam": "'.' is a folder; a rule of your own is named as path/to/file.py:name",
        ":adam": "':adam' names no file; write path/to/file.py:adam",
    }.items():
        with pytest.raises(LookupError, match=message):
            get(name)
    with pytest.raises(RuleError, match="math:sqrt: a rule is made from a function"):
        get("math:sqrt")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("AGC(adam)", "adaptive_grad_clip(adam)"),
        ("Gradient centralization(adam)", "centralize(adam)"),
        ("GC(adam)", "centralize(adam)"),
        ("stochastic weight averaging(sgd)", "swa(sgd)"),
        ("Decoupled weight decay(adam)", "decoupled_decay(adam)"),
    ],
)
def test_modifiers_are_found_by_what_people_call_them(written, name):
    assert registry.get(written).name == name
