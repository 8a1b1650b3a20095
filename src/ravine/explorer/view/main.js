// The page: a state, what follows from it, and what the reader does to it.

import { choice, $, drag, element, options, Sliders } from "./controls.js";
import { drawHeights, drawPair, drawRates } from "./charts.js";
import { Editor } from "./editor.js";
import { copy, embed, python, save, torch } from "./exports.js";
import { knobsOf } from "./knobs.js";
import { LANDSCAPES } from "./landscapes.js";
import { legend } from "./legend.js";
import { drawMap, frame } from "./map.js";
import { curvaturesOf, isLinear, Maps, stripOf, work } from "./maps.js";
import { plural, RATES, rounded, scale, shown } from "./numbers.js";
import { partsOf } from "./parts.js";
import { drawQuiz } from "./quiz.js";
import { BOTTOMLESS, minima, parting, roles, walk } from "./running.js";
import { told } from "./telling.js";
import { DEFAULTS, read, write } from "./state.js";
import { csv, drawWorked, valuesOfStep } from "./worked.js";
import { groundOf, laneOf, MODIFIERS, ruleOf, runsOn, valuesOf } from "./world.js";

function page() {
  const data = JSON.parse($("data").textContent), first = data.state;
  const maps = new Maps(data);
  let state = read(location.hash, first);
  const now = { lanes: [], strips: [], minima: [], lowest: 0, error: null, basins: null, grids: {}, view: null };
  const cache = {};
  const memo = (name, key, make) => {
    const text = JSON.stringify(key);
    if (cache[name]?.text !== text) cache[name] = { text, value: make() };
    return cache[name].value;
  };

  // ---- from the state to what is shown ------------------------------------------------------------

  const ground = () => [state.land, state.loss, state.knobs];
  const subject = () => [state.rule, state.source, state.around, ...ground(), state.start];
  const problem = () => [...ground(), state.start, state.noise, state.batch, state.seed, state.steps];

  const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([k]) => k !== name));

  // Keeps the last rule and loss that worked where those in the text do not.
  function lanes() {
    let land;
    try {
      land = memo("ground", [...ground(), state.start, state.noise, state.batch], () => groundOf(state, data));
      now.lossError = null;
    } catch (error) {
      now.lossError = error;
      state = { ...state, loss: now.goodLoss ?? "" };
      land = groundOf(state, data);
    }
    now.goodLoss = state.loss;
    let mine;
    try {
      // A program is made for values that `if` asks for; only lr is never asked.
      mine = memo("mine", [subject(), without(state.values, "lr"), state.noise, state.batch], () => laneOf(state, data));
      now.good = { rule: state.rule, source: state.source, around: state.around };
      now.error = null;
    } catch (error) {
      now.error = land.land.shape.length < 2 && runsOn(state, data, LANDSCAPES.matrix.shape) ? new Error("this rule is for matrices; choose the landscape “A 2 × 2 matrix”") : error;
      const last = now.good ?? { rule: DEFAULTS.rule, source: "", around: [] };
      mine = laneOf({ ...state, ...last }, data);
    }
    let other = null;
    if (state.beside) {
      try {
        other = memo("other", [state.beside, subject(), without(state.values, "lr"), state.noise, state.batch], () => laneOf(state, data, true));
      } catch {
        state.beside = "";
      }
    }
    return { land: land.land, loss: land.loss, mine, other };
  }

  // Everything that follows from the state. `quick`: something is being dragged, so what takes a while waits.
  function refresh({ quick = false } = {}) {
    const { land, loss, mine, other } = lanes(), canvas = $("map");
    const bounds = frame(land, canvas.clientWidth || 600, canvas.clientHeight || 400).bounds;
    const [lows, lowest] = memo("minima", [ground(), land.start.slice(2), bounds], () => {
      const found = minima(land, loss, bounds);
      return [found, found.length ? loss.value(found[0]) : BOTTOMLESS];
    });
    const settings = { steps: land.steps, seed: state.seed, lowest };
    const strip = (name, lane) => {
      if (!lane.rule.hyperparameters.some((h) => h.name === "lr")) return null;
      const given = { ...state.values, lr: 0 };
      if (quick && cache[name]) return cache[name].value;
      return memo(name, [problem(), subject(), name === "strip b" && state.beside, given, lowest], () => stripOf(lane, settings));
    };
    const made = (lane, name, ink) => {
      const found = strip(`strip ${ink}`, lane), auto = ink === "b" && state.beside !== "source" ? true : state.values.lr === undefined;
      const values = valuesOf(lane.rule, ink === "b" && state.beside !== "source" ? {} : state.values);
      if (found && auto) values.lr = ink === "b" && state.beside === "source" && now.lanes[0] ? now.lanes[0].values.lr : rounded(found.rates[found.best], 3);
      const key = [problem(), subject(), ink === "b" && state.beside, values, now.error && now.good];
      const path = memo(`path ${ink}`, key, () => walk(lane.program, lane.land, lane.loss, values, settings));
      return { ...lane, name, ink, values, path, strip: found, auto };
    };
    now.land = land;
    now.loss = loss;
    now.minima = lows;
    now.lowest = lowest;
    now.lanes = [made(mine, mine.rule.name, "a")];
    if (other) now.lanes.push(made(other, state.beside === "source" && !state.fault ? `${other.rule.name}, unedited` : other.rule.name, "b"));
    now.parted = other && state.beside === "source" ? parting(now.lanes[0].path, now.lanes[1].path) : null;
    now.last = Math.max(...now.lanes.map((lane) => lane.path.points.length - 1));
    drawAll();
    address();
    if (quick) later("slow", () => refresh());
    else askForMaps();
  }

  const timers = {};
  function later(name, what, wait = 140) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(what, wait);
  }

  const time = () => Math.min(state.t ?? now.last, now.last);

  function address() {
    later("address", () => {
      history.replaceState(null, "", `#${write(state)}`);
      $("whole").href = `#${write({ ...state, embed: false })}`;
    }, 200);
  }

  // ---- maps that a worker makes -------------------------------------------------------------------

  function axis() {
    const lane = now.lanes[0];
    const list = lane.rule.hyperparameters.filter((h) => h.name !== "lr" && !h.isSwitch && typeof h.default === "number");
    const order = ["momentum", "beta1", "beta", "alpha", "beta2", "rho"];
    return list.find((h) => h.name === state.axis) ?? order.map((name) => list.find((h) => h.name === name)).find(Boolean) ?? list.find((h) => h.high === 1) ?? list[0];
  }

  function askForMaps() {
    const lane = now.lanes[0], task = { state: { ...state, ...(now.error ? now.good : {}), values: lane.values }, lowest: now.lowest };
    const key = (more) => JSON.stringify([problem(), subject(), { ...lane.values, ...more }, now.lowest]);
    const ask = (kind, wanted, more, then) => {
      const text = key(more.key);
      if (!wanted || now.grids[kind]?.text === text) return;
      now.grids[kind] = { text };
      maps.ask(kind, { ...task, ...more }, ({ result, milliseconds, error }) => {
        if (error) return say(error);
        Object.assign(now.grids[kind], { result, milliseconds });
        then();
      });
    };
    const { bounds } = frame(now.land, $("map").clientWidth, $("map").clientHeight), plane = now.land.names.length > 1;
    ask("basins", state.shade === "basins" && plane && now.minima.length, { minima: now.minima, bounds, nx: 200, ny: Math.round(200 * $("map").clientHeight / $("map").clientWidth), key: {} }, drawStage);
    const second = axis();
    if (!second) return;
    const grid = { axis: second, nx: 66, ny: 40, key: { lr: 0, [second.name]: second.name } };
    ask("pair", state.chart === "pair", grid, drawChart);
    const curved = state.chart === "rate" && curvaturesOf(now.land, now.loss);
    ask("rate", curved && isLinear(lane.rule, lane.values), { ...grid, curvatures: curved }, drawChart);
  }

  // ---- drawing ------------------------------------------------------------------------------------

  // The step that begins at the time shown; at the end, the last one.
  const stepAt = () => Math.max(1, Math.min(time() + 1, now.lanes[0].path.points.length - 1));

  function partsAt() {
    const lane = now.lanes[0], n = now.land.names.length;
    // At first the whole path is shown, and nothing else.
    if (state.t === null || lane.path.points.length < 2 || time() > lane.path.points.length - 1) return null;
    const slots = memo("roles", [subject(), lane.values], () => roles(lane.program, lane.rule, lane.values, n));
    return partsOf(lane, stepAt(), n, slots);
  }

  function drawStage() {
    const basins = state.shade === "basins" && now.grids.basins?.result;
    now.view = drawMap($("map"), {
      land: now.land, loss: now.loss, lanes: now.lanes, time: time(), minima: now.minima, parts: now.parts, parted: now.parted && now.parted.t <= time() ? now.parted : null, basins,
    });
    $("map").dataset.ms = now.grids.basins?.milliseconds ?? "";
  }

  function drawChart() {
    const canvas = $("chart"), lane = now.lanes[0], second = axis(), lr = lane.values.lr;
    canvas.classList.toggle("tall", state.chart !== "lr");
    $("axis").textContent = second?.name ?? "…";
    $("charts").querySelector("[data-chart=pair]").disabled = !second;
    const note = $("chart-note");
    if (state.chart === "lr" || !second) {
      const strips = now.lanes.filter((each) => each.strip).map((each) => ({ ...each.strip, ink: each.ink }));
      now.hit = drawRates(canvas, { strips, lr, steps: now.land.steps, best: lane.strip?.best });
      note.textContent = `Steps until a ten-thousandth of the height is left, for ${strips[0]?.rates.length ?? 0} learning rates; a dot marks those that never get there.${now.land.set.flip ? " Computed with the right sign." : ""} Click, or use the arrow keys, to choose one.`;
      return;
    }
    const exact = state.chart === "rate", curved = exact && curvaturesOf(now.land, now.loss), fits = !exact || (curved && isLinear(lane.rule, lane.values));
    const found = fits ? now.grids[exact ? "rate" : "pair"] : null;
    now.hit = drawPair(canvas, { grid: found?.result, steps: now.land.steps, lr, value: lane.values[second.name], axis: { ...scale(second), name: second.name }, rate: exact });
    canvas.dataset.ms = found?.milliseconds ?? "";
    if (!exact) note.textContent = `Steps to the target over lr and ${second.name}: bright is fast, grey never arrives. Click to choose a point.`;
    else if (!curved) note.textContent = "An exact rate exists for quadratic losses: parabola, ravine, diamonds.";
    else if (!fits) note.textContent = `An exact rate exists for rules that are linear, such as momentum; ${lane.rule.name} is not.`;
    else note.textContent = `What is left of the error after each step in the long run, from eigenvalues: bright is fast, grey diverges. ${rateHere(curved)}`;
  }

  function rateHere(curved) {
    const lane = now.lanes[0], rate = maps.rateOf(lane, curved), list = now.grids.rate?.result?.values;
    const best = list ? ` The best on this map: ${shown(Math.min(...list), 4)}.` : "";
    return `At your point: ${shown(rate, 4)}.${best}`;
  }

  function drawStep() {
    const lane = now.lanes[0], t = stepAt();
    let step = null;
    now.step = null;
    try {
      step = memo("step", [problem(), subject(), lane.values, t, now.error && now.good], () => valuesOfStep(lane, t));
    } catch (error) {
      $("worked").replaceChildren(error.message);
      return;
    }
    now.step = step;
    const reached = state.operation === null ? null : Math.min(state.operation, step.traced.length - 1);
    const operation = reached === null ? null : step.traced[reached];
    editor.mark({ bad: now.error?.line ? now.error : null, now: operation?.text === lane.base.text ? operation : null });
    drawWorked($("worked"), { step, names: now.land.names, reached });
    $("worked").previousElementSibling.textContent = `Step ${t.toLocaleString("en")}, worked`;
    return operation;
  }

  const text = () => state.source || now.lanes[0]?.base.source || "";

  function drawAll() {
    const lane = now.lanes[0];
    now.parts = partsAt();
    drawStage();
    drawChart();
    drawHeightsNow();
    drawTime();
    $("say").innerHTML = told(now, state, drawStep());
    // The rule.
    editor.show(state.source || lane.base.source);
    $("error").textContent = now.error ? `${now.error.line ? `Line ${now.error.line}: ` : ""}${now.error.message}.${now.error.hint ?? ""}` : "";
    $("undo").hidden = !state.source || state.fault > 0;
    $("summary").textContent = lane.rule.summary ?? "";
    options($("rule"), ruleGroups(), state.source && !state.fault ? "" : state.rule);
    options($("beside"), besideGroups(), state.beside);
    chips.forEach(([chip, button]) => button.setAttribute("aria-pressed", String(state.around.includes(chip))));
    hypers.show(lane.rule.hyperparameters, lane.values, { lr: lane.strip && !lane.auto ? () => change({ values: without(state.values, "lr") }) : null });
    memo("read", [subject(), lane.values, now.error && now.good], () => drawReading(lane) ?? true);
    drawQuiz(state, data.faults, { parted: now.parted, error: now.error }, { go: openFault, leave: () => change({ ...DEFAULTS, land: state.land }) });
    // The landscape.
    options($("land"), landGroups, state.land);
    $("teach").textContent = state.loss ? "A loss of your own." : LANDSCAPES[state.land]?.teaches ?? "";
    const { land } = now;
    knobs.show(knobsOf(land, data.diamonds.carat.length, lane.program.draws), { ...land.set, noise: land.noise, batch: state.batch || data.diamonds.carat.length, steps: land.steps, seed: state.seed });
    if (document.activeElement !== $("loss")) $("loss").value = now.lossError ? $("loss").value : land.text;
    $("loss-error").textContent = now.lossError?.message ?? "";
    $("hint").hidden = (Boolean(state.start) || state.t !== null) && !land.drawn;
    $("hint").textContent = land.drawn ? "Click to dig, Alt + click to pile up, Shift + click to start there" : land.names.length === 1 ? "Click to start there" : "Click anywhere to start there";
    shade(state.shade);
    charts(state.chart);
    $("legend").innerHTML = legend(now);
  }

  function drawTime() {
    const slider = $("t");
    slider.max = now.last;
    slider.value = time();
    slider.setAttribute("aria-valuetext", `step ${time()} of ${now.last}`);
    $("time").textContent = `step ${time().toLocaleString("en")} of ${now.last.toLocaleString("en")}`;
  }

  const drawHeightsNow = () => (now.curve = drawHeights($("curve"), { lanes: now.lanes, steps: Math.max(1, now.last), time: time(), lowest: now.lowest, parted: now.parted }));

  // While time passes only this changes.
  function drawMoment() {
    now.parts = partsAt();
    drawStage();
    drawHeightsNow();
    drawTime();
    return drawStep();
  }

  function drawReading(lane) {
    const shownAs = (host, make) => {
      try {
        host.innerHTML = "";
        make(host);
      } catch (error) {
        host.textContent = error.message;
      }
    };
    shownAs($("equations"), (host) => (host.innerHTML = lane.program.equations()));
    shownAs($("kernel"), (host) => (host.textContent = lane.program.python()));
    $("modifiers").hidden = lane.rule.parts.length < 2;
    $("modifiers").querySelector("pre").textContent = lane.rule.parts.filter((part) => part.text !== lane.base.text).map((part) => part.text.trim()).join("\n\n\n");
  }

  // ---- lists --------------------------------------------------------------------------------------

  const landGroups = [["", Object.entries(LANDSCAPES).map(([name, land]) => [name, land.title])]];
  function ruleGroups() {
    const groups = data.rules.map(([family, names]) => [family, names.map((name) => [name, name])]);
    const all = data.rules.flatMap(([, names]) => names);
    if (state.source && !state.fault) groups.unshift(["Yours", [["", now.lanes[0].base.name]]]);
    else if (!all.includes(state.rule)) groups.unshift(["Shown", [[state.rule, state.rule]]]);
    return groups;
  }
  function besideGroups() {
    const own = state.source || state.around.length ? [["source", state.fault ? data.faults[state.fault - 1].like : "the rule as it was"]] : [];
    return [["", [["", "nothing"], ...own]], ...data.rules.map(([family, names]) => [family, names.map((name) => [name, name])])];
  }

  // ---- what the reader does -----------------------------------------------------------------------

  function change(patch, how) {
    state = { ...state, ...patch };
    refresh(how);
  }

  function moveTime(t, operation = null) {
    state.t = Math.max(0, Math.min(now.last, t));
    state.operation = operation;
    const at = drawMoment();
    if (!playing) $("say").innerHTML = told(now, state, at);
    address();
  }

  let playing = 0;
  function play(on = !playing) {
    cancelAnimationFrame(playing);
    playing = 0;
    $("play").toggleAttribute("data-on", on);
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on) return void ($("say").innerHTML = told(now, state, drawStep()));
    if (time() >= now.last) moveTime(0);
    const began = performance.now(), from = time(), rate = Math.max(12, now.last / 9); // steps a second
    const frameOf = (at) => {
      const t = Math.min(now.last, from + Math.floor(Math.max(0, at - began) / 1000 * rate));
      playing = requestAnimationFrame(frameOf);
      if (t !== time() || state.operation !== null) moveTime(t);
      if (t >= now.last) play(false);
    };
    playing = requestAnimationFrame(frameOf);
  }

  function nextOperation() {
    play(false);
    const t = stepAt() - 1, count = now.step?.traced.length ?? 0, next = state.operation === null ? 0 : state.operation + 1;
    if (time() >= now.last) moveTime(0, 0);
    else if (next >= count) moveTime(t + 1);
    else moveTime(t, next);
  }

  // A rule for matrices comes with the landscape of one.
  function chosen(patch) {
    change(patch);
    withMatrix();
  }
  function withMatrix() {
    if (now.error && now.land.names.length < 4 && runsOn(state, data, LANDSCAPES.matrix.shape)) change({ land: "matrix", loss: "", start: null, t: null });
  }

  const startAt = (p, how) => change({ start: [...p.slice(0, Math.min(2, now.land.names.length)).map((x) => rounded(x, 4))], t: state.operation === null ? state.t : 0, operation: null }, how);

  function faultAt(n) {
    const { like, source } = data.faults[n - 1];
    return { ...DEFAULTS, embed: state.embed, fault: n, rule: like, source, beside: "source" };
  }

  function openFault(n) {
    change(faultAt(n));
    $("quiz-panel").scrollIntoView({ block: "nearest" });
  }

  const editor = new Editor((source) => later("edit", () => {
    const original = ruleOf({ ...state, source: "" }, data).base.source;
    const edited = source !== original;
    change({ source: edited ? source : "", beside: edited && !state.beside ? "source" : !edited && state.beside === "source" ? "" : state.beside });
  }));
  const hypers = new Sliders($("hypers"), (name, value) => change({ values: { ...state.values, [name]: value } }, { quick: true }));
  const knobs = new Sliders($("knobs"), (name, value) => {
    if (["noise", "batch", "steps", "seed"].includes(name)) change({ [name]: name === "batch" && value >= data.diamonds.carat.length ? 0 : value, t: null }, { quick: true });
    else change({ knobs: { ...state.knobs, [name]: value } }, { quick: true });
  });
  const shade = choice($("shade"), "shade", (name) => change({ shade: name }));
  const charts = choice($("charts"), "chart", (name) => change({ chart: name }));
  const chips = MODIFIERS.map(([chip, , title]) => {
    const button = element("button", { title, "aria-pressed": "false", onclick: () => change({ around: state.around.includes(chip) ? state.around.filter((x) => x !== chip) : [...state.around, chip] }) }, chip);
    $("chips").append(button);
    return [chip, button];
  });

  $("rule").addEventListener("change", (event) => chosen({ rule: event.target.value || state.rule, source: event.target.value ? "" : state.source, values: {}, fault: 0, axis: "", beside: state.beside === "source" ? "" : state.beside, operation: null }));
  $("beside").addEventListener("change", (event) => change({ beside: event.target.value }));
  $("undo").addEventListener("click", () => change({ source: "", beside: state.beside === "source" ? "" : state.beside }));
  $("land").addEventListener("change", (event) => {
    change({ land: event.target.value, loss: "", knobs: {}, start: null, noise: null, batch: 0, t: null, operation: null, steps: null, values: without(state.values, "lr") });
  });
  $("loss").addEventListener("input", (event) => later("loss", () => {
    const text = event.target.value.replace(/\s*\n\s*/g, " ").trim();
    change({ loss: text === LANDSCAPES[state.land].text ? "" : text });
  }));
  $("loss").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  $("loss").addEventListener("blur", () => refresh());

  // Buttons of time.
  const press = (id, what) => $(id).addEventListener("click", what);
  const by = (n) => { play(false); moveTime(Math.max(0, Math.min(now.last, time() + n))); };
  press("first", () => { play(false); moveTime(0); });
  press("back", () => by(-1));
  press("next", () => by(1));
  press("play", () => play());
  press("operation", nextOperation);
  $("t").addEventListener("input", (event) => { play(false); moveTime(Number(event.target.value)); });
  drag($("curve"), (x) => { play(false); moveTime(Math.max(0, Math.min(now.last, now.curve.time(x)))); });
  press("quiz", () => state.fault ? change({ ...DEFAULTS, land: state.land }) : openFault(1));

  // The map: a click or a drag moves the start; in the drawn landscape it digs.
  drag($("map"), (x, y, event) => {
    const p = now.view.from(x, y);
    if (now.land.drawn && !event.shiftKey) {
      if (event.type === "pointerdown") dig(p, event.altKey);
    } else startAt(p, { quick: true });
  });
  function dig([x, y], pile) {
    const term = (v, c) => `(${v} ${c < 0 ? "+" : "-"} ${Math.abs(rounded(c, 2))})**2`;
    change({ loss: `${now.land.text} ${pile ? "+" : "-"} 1.5*exp(-(${term("x", x)} + ${term("y", y)})/0.8)` });
  }
  $("map").addEventListener("keydown", (event) => {
    const by_ = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (by_) {
      const size = now.land.view[2] / (event.shiftKey ? 10 : 60), p = now.land.start;
      startAt([p[0] + by_[0] * size, (p[1] ?? 0) + by_[1] * size], { quick: true });
    } else if (event.key === " ") play();
    else if (event.key === ".") by(1);
    else if (event.key === ",") by(-1);
    else if (event.key === "Home") moveTime(0);
    else return;
    event.preventDefault();
  });

  // The chart: a click chooses what lies there.
  const limited = (rate) => rounded(Math.max(10 ** RATES[0], Math.min(10 ** RATES[1], rate)), 3);
  drag($("chart"), (x, y) => {
    if (now.hit?.rate) change({ values: { ...state.values, lr: limited(now.hit.rate(x)) } }, { quick: true });
    else if (now.hit?.pick) {
      const [lr, value] = now.hit.pick(x, y);
      change({ values: { ...state.values, lr: limited(lr), [axis().name]: value } }, { quick: true });
    }
  });
  $("chart").addEventListener("keydown", (event) => {
    const lane = now.lanes[0], side = { ArrowLeft: -1, ArrowRight: 1 }[event.key], up = { ArrowDown: -1, ArrowUp: 1 }[event.key];
    if (side) change({ values: { ...state.values, lr: limited(lane.values.lr * 10 ** (side * 6.5 / 66)) } }, { quick: true });
    else if (up && axis() && state.chart !== "lr") {
      const { to, from } = scale(axis());
      change({ values: { ...state.values, [axis().name]: from(Math.max(0, Math.min(1, to(lane.values[axis().name]) + up / 40))) } }, { quick: true });
    } else return;
    event.preventDefault();
  });

  // What leaves the page.
  const say = (words) => ($("say").textContent = words);
  const link = () => `${location.href.split("#")[0]}#${write(state)}`;
  const outs = {
    link: () => copy(link()).then(() => say("The link is copied: whoever opens it sees this.")),
    embed: () => copy(embed(`${location.href.split("#")[0]}#${write({ ...state, embed: true })}`)).then(() => say("An iframe with this state is copied.")),
    python: () => copy(python(now.lanes[0].base, text())).then(() => say("The rule is copied as Python: save it as mine.py, and ravine show mine.py:" + now.lanes[0].base.name + " reads it.")),
    torch: () => copy(torch(now.lanes[0].rule, now.lanes[0].base, text(), now.lanes[0].values, Boolean(state.source))).then(() => say("An optimizer for PyTorch is copied.")),
    csv: () => save(new Blob([csv(now.lanes[0], now.last, now.land.names)], { type: "text/csv" }), `${now.lanes[0].base.name}.csv`),
    png: () => $("map").toBlob((blob) => save(blob, `${now.lanes[0].base.name}-${state.land}.png`)),
  };
  for (const button of document.querySelectorAll("[data-out]")) {
    button.addEventListener("click", () => {
      button.closest("details").open = false;
      outs[button.dataset.out]();
    });
  }
  document.addEventListener("keydown", (event) => {
    const menu = document.querySelector(".menu");
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("pointerdown", (event) => event.target.closest(".menu") || (document.querySelector(".menu").open = false));

  // From the address; a fault's number alone stands for all that belongs to it.
  function begin() {
    state = read(location.hash, first);
    if (!data.faults[state.fault - 1]) state.fault = 0;
    if (state.fault && !state.source) state = faultAt(state.fault);
    state.around = state.around.filter((chip) => MODIFIERS.some(([name]) => name === chip));
    refresh();
    withMatrix();
  }
  addEventListener("hashchange", begin);
  addEventListener("resize", () => later("resize", refresh));
  for (const query of ["(prefers-color-scheme: dark)"]) matchMedia(query).addEventListener("change", () => drawAll());

  document.body.classList.toggle("embed", state.embed);
  $("whole").hidden = !state.embed;
  begin();
  globalThis.explorer = { get state() { return state; }, now, csv: () => csv(now.lanes[0], now.last, now.land.names) };
}

if (typeof document === "undefined") work(self);
else page();
