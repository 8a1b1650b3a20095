// From the state to what is shown: rules, losses, minima, learning rates, paths; and the maps that a worker makes.

import { LANDSCAPES } from "./landscapes.js";
import { frame } from "./map.js";
import { curvaturesOf, isLinear, Maps } from "./maps.js";
import { rounded } from "./numbers.js";
import { BOTTOMLESS, minima, parting, roles, walk } from "./running.js";
import { DEFAULTS } from "./state.js";
import { compares, groundOf, laneOf, runsOn, valuesOf } from "./world.js";

export const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([k]) => k !== name));

export class Following {
  // size: how large the map is drawn, in pixels. drawn: what is called with "all", "stage" or "chart" to be drawn
  // again; said: with words for the reader.
  constructor(data, { size, drawn, said }) {
    Object.assign(this, { data, size, drawn, said, state: null, maps: new Maps(data), cache: {} });
    this.now = { lanes: [], minima: [], lowest: 0, error: null, grids: {}, strips: {}, view: null };
  }

  memo(name, key, make) {
    const text = JSON.stringify(key);
    if (this.cache[name]?.text !== text) this.cache[name] = { text, value: make() };
    return this.cache[name].value;
  }

  get ground() {
    return [this.state.land, this.state.loss, this.state.knobs];
  }

  get subject() {
    return [this.state.rule, this.state.source, this.state.around, ...this.ground, this.state.start];
  }

  get problem() {
    return [...this.ground, this.state.start, this.state.noise, this.state.batch, this.state.seed, this.state.steps];
  }

  // Keeps the last rule and loss that worked where those in the text do not.
  read() {
    const { now, data } = this, { noise, batch, start } = this.state;
    let land;
    try {
      land = this.memo("ground", [...this.ground, start, noise, batch], () => groundOf(this.state, data));
      now.lossError = null;
    } catch (error) {
      now.lossError = error;
      this.state = { ...this.state, loss: now.goodLoss ?? "" };
      land = groundOf(this.state, data);
    }
    now.goodLoss = this.state.loss;
    // A program is made for values that `if` asks for; only lr is never asked.
    const asked = without(this.state.values, "lr");
    let mine;
    try {
      mine = this.memo("mine", [this.subject, asked, noise, batch], () => laneOf(this.state, data));
      now.good = { rule: this.state.rule, source: this.state.source, around: this.state.around };
      now.error = null;
    } catch (error) {
      const forMatrices = land.land.shape.length < 2 && runsOn(this.state, data, LANDSCAPES.matrix.shape);
      now.error = forMatrices ? new Error("this rule is for matrices; choose the landscape “A 2 × 2 matrix”") : error;
      mine = laneOf(this.working, data);
    }
    now.mine = mine;
    let other = null;
    if (this.state.beside) {
      try {
        other = this.memo("other", [this.state.beside, this.subject, asked, noise, batch], () => laneOf(this.state, data, true));
      } catch {
        this.state.beside = "";
      }
    }
    return { land: land.land, loss: land.loss, mine, other };
  }

  // The state that a worker is told: one that works.
  get working() {
    const { error, good = { rule: DEFAULTS.rule, source: "", around: [] } } = this.now;
    return { ...this.state, ...(error ? good : {}) };
  }

  // Steps to the target at every lr, once a worker has counted them; undefined until then. In what is dragged,
  // the last ones stand.
  strip(ink, lane, { quick }) {
    const { now } = this, kind = `strip ${ink}`, beside = ink === "b";
    if (!lane.rule.hyperparameters.some((h) => h.name === "lr")) return null;
    const text = JSON.stringify([this.problem, this.subject, beside && this.state.beside, beside && !compares(this.state) ? {} : { ...this.state.values, lr: 0 }, now.lowest, now.error && now.good]);
    const known = now.strips[ink];
    if (known?.text === text && "result" in known) return known.result;
    if (quick && known?.last) return known.last;
    if (known?.text === text) return undefined;
    now.strips[ink] = { text, last: known?.last };
    this.maps.ask(kind, { state: this.working, beside, lowest: now.lowest }, ({ result, error }) => {
      now.strips[ink].result = now.strips[ink].last = result ?? null;
      this.follow();
      if (error) this.said(error);
    });
    return undefined;
  }

  // quick: something is being dragged, so what takes a while waits.
  follow({ quick = false } = {}) {
    const { now } = this, { land, loss, mine, other } = this.read(), { state } = this, [width, height] = this.size();
    const { bounds } = frame(land, width, height), own = compares(state);
    [now.minima, now.lowest] = this.memo("minima", [this.ground, land.start.slice(2), bounds], () => {
      const found = minima(land, loss, bounds);
      return [found, found.length ? loss.value(found[0]) : BOTTOMLESS];
    });
    const wanted = [[mine, mine.rule.name, "a"]];
    const whose = state.fault ? "" : state.beside === "source" ? ", unedited" : other?.rule.name === mine.rule.name ? ", Ravine’s" : "";
    if (other) wanted.push([other, `${other.rule.name}${whose}`, "b"]);
    const strips = wanted.map(([lane, , ink]) => this.strip(ink, lane, { quick }));
    const auto = wanted.map(([, , ink]) => (ink === "b" && !own) || state.values.lr === undefined);
    if (strips.some((found, i) => found === undefined && auto[i] && !(i && own))) return; // it goes on when they are there
    Object.assign(now, { land, loss });
    const lanes = [];
    wanted.forEach(([lane, name, ink], i) => {
      const values = valuesOf(lane.rule, i && !own ? {} : state.values), found = strips[i];
      if (auto[i] && i && own) values.lr = lanes[0].values.lr;
      else if (auto[i] && found) values.lr = rounded(found.rates[found.best], 3);
      const key = [this.problem, this.subject, i && state.beside, values, now.error && now.good];
      const path = this.memo(`path ${ink}`, key, () => walk(lane.program, lane.land, lane.loss, values, { steps: land.steps, seed: state.seed, lowest: now.lowest }));
      lanes.push({ ...lane, name, ink, values, path, strip: found, auto: auto[i] });
    });
    now.lanes = lanes;
    now.parted = other && own ? parting(lanes[0].path, lanes[1].path) : null;
    now.last = Math.max(...lanes.map((lane) => lane.path.points.length - 1));
    this.drawn("all");
    if (!quick) this.askForMaps();
  }

  // The hyperparameter beside lr on a map of two.
  axis() {
    const list = this.now.lanes[0].rule.hyperparameters.filter((h) => h.name !== "lr" && !h.isSwitch && typeof h.default === "number");
    const order = ["momentum", "beta1", "beta", "alpha", "beta2", "rho"];
    return list.find((h) => h.name === this.state.axis) ?? order.map((name) => list.find((h) => h.name === name)).find(Boolean) ?? list.find((h) => h.high === 1) ?? list[0];
  }

  askForMaps() {
    const { now, state } = this, lane = now.lanes[0], task = { state: { ...this.working, values: lane.values }, lowest: now.lowest };
    const key = (more) => JSON.stringify([this.problem, this.subject, { ...lane.values, ...more }, now.lowest]);
    const ask = (kind, wanted, more, part) => {
      const text = key(more.key);
      if (!wanted || now.grids[kind]?.text === text) return;
      now.grids[kind] = { text };
      this.maps.ask(kind, { ...task, ...more }, ({ result, milliseconds, error }) => {
        if (error) return this.said(error);
        Object.assign(now.grids[kind], { result, milliseconds });
        this.drawn(part);
      });
    };
    const [width, height] = this.size(), { bounds } = frame(now.land, width, height), plane = now.land.names.length > 1;
    ask("basins", state.shade === "basins" && plane && now.minima.length, { minima: now.minima, bounds, nx: 200, ny: Math.round(200 * height / width), key: {} }, "stage");
    const second = this.axis();
    if (!second) return;
    const grid = { axis: second, nx: 66, ny: 40, key: { lr: 0, [second.name]: second.name } };
    ask("pair", state.chart === "pair", grid, "chart");
    const curved = state.chart === "rate" && curvaturesOf(now.land, now.loss);
    ask("rate", curved && isLinear(lane.rule, lane.values), { ...grid, curvatures: curved }, "chart");
  }

  get time() {
    return Math.min(this.state.t ?? this.now.last, this.now.last);
  }

  // The step that begins at the time shown; at the end, the last one.
  get step() {
    return Math.max(1, Math.min(this.time + 1, this.now.lanes[0].path.points.length - 1));
  }

  // Which slots hold means of gradients, and of their squares.
  get roles() {
    const lane = this.now.lanes[0];
    return this.memo("roles", [this.subject, lane.values], () => roles(lane.program, lane.rule, lane.values, this.now.land.names.length));
  }
}
