// Draws all that follows from a state.

import { $, options } from "./controls.js";
import { drawHeights, drawPair, drawRates } from "./charts.js";
import { knobsOf } from "./knobs.js";
import { LANDSCAPES } from "./landscapes.js";
import { legend } from "./legend.js";
import { drawMap } from "./map.js";
import { curvaturesOf, isLinear } from "./maps.js";
import { scale, shown } from "./numbers.js";
import { partsOf } from "./parts.js";
import { drawQuiz } from "./quiz.js";
import { told } from "./telling.js";
import { drawWorked, valuesOfStep } from "./worked.js";

const landGroups = [["", Object.entries(LANDSCAPES).map(([name, land]) => [name, land.title])]];

export class Drawing {
  // controls: the parts of the page that keep something of their own. doing: what the reader's buttons do.
  constructor(following, controls, doing) {
    Object.assign(this, { following, controls, doing, now: following.now, data: following.data });
  }

  get state() {
    return this.following.state;
  }

  parts() {
    const { following, now } = this, lane = now.lanes[0], n = now.land.names.length;
    // At first the whole path is shown, and nothing else.
    if (this.state.t === null || lane.path.points.length < 2 || following.time > lane.path.points.length - 1) return null;
    return partsOf(lane, following.step, n, following.roles);
  }

  stage() {
    const { now } = this, { time } = this.following, basins = this.state.shade === "basins" && now.grids.basins?.result;
    now.view = drawMap($("map"), {
      land: now.land, loss: now.loss, lanes: now.lanes, time, minima: now.minima, parts: now.parts, parted: now.parted && now.parted.t <= time ? now.parted : null, basins,
    });
    $("map").dataset.ms = now.grids.basins?.milliseconds ?? "";
  }

  chart() {
    const { now, state } = this, canvas = $("chart"), lane = now.lanes[0], second = this.following.axis(), lr = lane.values.lr;
    canvas.classList.toggle("tall", state.chart !== "lr");
    $("axis").textContent = second?.name ?? "…";
    $("charts").querySelector("[data-chart=pair]").disabled = !second;
    const note = $("chart-note");
    if (state.chart === "lr" || !second) {
      const strips = now.lanes.filter((each) => each.strip).map((each) => ({ ...each.strip, ink: each.ink }));
      now.hit = drawRates(canvas, { strips, lr, steps: now.land.steps, best: lane.strip?.best });
      note.textContent = strips.length
        ? `Steps until a ten-thousandth of the height is left, for ${strips[0].rates.length} learning rates; a dot marks those that never get there.${now.land.set.flip ? " Computed with the right sign." : ""} Click, or use the arrow keys, to choose one.`
        : lr === undefined ? `${lane.rule.name} has no learning rate.` : "Counting the steps at every learning rate …";
      return;
    }
    const exact = state.chart === "rate", curved = exact && curvaturesOf(now.land, now.loss), fits = !exact || (curved && isLinear(lane.rule, lane.values));
    const found = fits ? now.grids[exact ? "rate" : "pair"] : null;
    now.hit = drawPair(canvas, { grid: found?.result, steps: now.land.steps, lr, value: lane.values[second.name], axis: { ...scale(second), name: second.name }, rate: exact });
    canvas.dataset.ms = found?.milliseconds ?? "";
    if (!exact) note.textContent = `Steps to the target over lr and ${second.name}: bright is fast, grey never arrives. Click to choose a point.`;
    else if (!curved) note.textContent = "An exact rate exists for quadratic losses: parabola, ravine, diamonds.";
    else if (!fits) note.textContent = `An exact rate exists for rules that are linear, such as momentum; ${lane.rule.name} is not.`;
    else note.textContent = `What is left of the error after each step in the long run, from eigenvalues: bright is fast, grey diverges. ${this.rateHere(curved)}`;
  }

  rateHere(curved) {
    const rate = this.following.maps.rateOf(this.now.lanes[0], curved), list = this.now.grids.rate?.result?.values;
    const best = list ? ` The best on this map: ${shown(Math.min(...list), 4)}.` : "";
    return `At your point: ${shown(rate, 4)}.${best}`;
  }

  // The step that is worked out; returns the operation at hand.
  step() {
    const { following, now, state } = this, lane = now.lanes[0], t = following.step;
    let step = null;
    now.step = null;
    try {
      step = following.memo("step", [following.problem, following.subject, lane.values, t, now.error && now.good], () => valuesOfStep(lane, t));
    } catch (error) {
      $("worked").replaceChildren(error.message);
      return null;
    }
    now.step = step;
    const reached = state.operation === null ? null : Math.min(state.operation, step.traced.length - 1);
    const operation = reached === null ? null : step.traced[reached];
    this.controls.editor.mark({ bad: now.error?.line ? now.error : null, now: operation?.text === lane.base.text ? operation : null });
    drawWorked($("worked"), { step, names: now.land.names, reached });
    $("worked").previousElementSibling.textContent = `Step ${t.toLocaleString("en")}, worked`;
    return operation;
  }

  all() {
    const { now, controls } = this;
    now.parts = this.parts();
    this.stage();
    this.chart();
    this.heights();
    this.time();
    $("say").innerHTML = told(now, this.state, this.step());
    this.rule(now.lanes[0]);
    this.land(now.lanes[0]);
    controls.shade(this.state.shade);
    controls.charts(this.state.chart);
    $("legend").innerHTML = legend(now);
  }

  rule(lane) {
    const { now, state, controls, following } = this, { error } = now;
    controls.editor.show(state.source || lane.base.source);
    $("error").textContent = error ? `${error.line ? `Line ${error.line}: ` : ""}${error.message}.${error.hint ?? ""}` : "";
    $("undo").hidden = !state.source || state.fault > 0;
    $("summary").textContent = lane.rule.summary ?? "";
    options($("rule"), this.ruleGroups(), state.source && !state.fault ? "" : state.rule);
    options($("beside"), this.besideGroups(), state.beside);
    controls.chips.forEach(([chip, button]) => button.setAttribute("aria-pressed", String(state.around.includes(chip))));
    controls.hypers.show(lane.rule.hyperparameters, lane.values, { lr: lane.strip && !lane.auto ? this.doing.best : null });
    following.memo("read", [following.subject, lane.values, error && now.good], () => this.reading(lane) ?? true);
    drawQuiz(state, this.data.faults, { parted: now.parted, error }, this.doing);
  }

  land(lane) {
    const { now, state } = this, { land } = now, rows = this.data.diamonds.carat.length;
    options($("land"), landGroups, state.land);
    $("teach").textContent = state.loss ? "A loss of your own." : LANDSCAPES[state.land]?.teaches ?? "";
    this.controls.knobs.show(knobsOf(land, rows, lane.program.draws), { ...land.set, noise: land.noise, batch: state.batch || rows, steps: land.steps, seed: state.seed });
    if (document.activeElement !== $("loss")) $("loss").value = now.lossError ? $("loss").value : land.text;
    $("loss-error").textContent = now.lossError?.message ?? "";
    $("hint").hidden = (Boolean(state.start) || state.t !== null) && !land.drawn;
    $("hint").textContent = land.drawn ? "Click to dig, Alt + click to pile up, Shift + click to start there" : land.names.length === 1 ? "Click to start there" : "Click anywhere to start there";
  }

  time() {
    const slider = $("t"), { last } = this.now, { time } = this.following;
    slider.max = last;
    slider.value = time;
    slider.setAttribute("aria-valuetext", `step ${time} of ${last}`);
    $("time").textContent = `step ${time.toLocaleString("en")} of ${last.toLocaleString("en")}`;
  }

  heights() {
    const { now } = this;
    now.curve = drawHeights($("curve"), { lanes: now.lanes, steps: Math.max(1, now.last), time: this.following.time, lowest: now.lowest, parted: now.parted });
  }

  // While time passes only this changes.
  moment() {
    this.now.parts = this.parts();
    this.stage();
    this.heights();
    this.time();
    return this.step();
  }

  reading(lane) {
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

  get families() {
    return this.data.rules.map(([family, names]) => [family, names.map((name) => [name, name])]);
  }

  ruleGroups() {
    const { state } = this, all = this.data.rules.flatMap(([, names]) => names);
    if (state.source && !state.fault) return [["Yours", [["", this.now.lanes[0].base.name]]], ...this.families];
    return all.includes(state.rule) ? this.families : [["Shown", [[state.rule, state.rule]]], ...this.families];
  }

  besideGroups() {
    const { state } = this, own = state.source || state.around.length ? [["source", state.fault ? this.data.faults[state.fault - 1].like : "the rule as it was"]] : [];
    return [["", [["", "nothing"], ...own]], ...this.families];
  }
}
