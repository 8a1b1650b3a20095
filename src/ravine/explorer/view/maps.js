// What takes a while, in a worker: steps at every learning rate, basins, maps of two hyperparameters.
//
// The worker runs this very page's script. Where there can be none, the page computes by itself, in slices.

import { Paths } from "../core/index.js";
import { RATES, scale } from "./numbers.js";
import { apart, stepsTo } from "./running.js";
import { laneOf } from "./world.js";

const STRIP = 66;
const rates = Array.from({ length: STRIP + 1 }, (_, i) => 10 ** (RATES[0] + i / STRIP * (RATES[1] - RATES[0])));

// The best of [steps, height left]: the fewest steps, or the lowest end.
function bestOf(found) {
  let best = 0;
  found.forEach(([n, left], i) => {
    const [least, lowest] = found[best];
    if (n < least || (n === least && n === Infinity && left < lowest)) best = i;
  });
  return best;
}

// Each kind of map: what it needs -> what is drawn. `pause` lets newer work stop it.
const KINDS = {
  async strip({ state, data, beside, lowest }, pause) {
    const lane = laneOf(state, data, beside), land = { ...lane.land, set: { ...lane.land.set, flip: 0 } }, found = []; // nothing arrives by climbing
    for (const lr of rates) {
      found.push(stepsTo(lane.program, land, lane.loss, { ...lane.values, lr }, { steps: land.steps, seed: state.seed, lowest }));
      await pause();
    }
    return { rates, taken: found.map(([n]) => n), best: bestOf(found) };
  },

  async basins({ state, data, minima, bounds, nx, ny }, pause) {
    const lane = laneOf(state, data), { land, loss, values } = lane, [x0, x1, y0, y1] = bounds, n = land.names.length;
    const ends = new Int16Array(nx * ny), taken = new Float64Array(nx * ny), near = 0.02 * (x1 - x0);
    const paths = new Paths(lane.program, loss, { flip: land.set.flip }), over = { constants: land.constants, steps: land.steps, values, seed: state.seed };
    for (let j = 0; j < ny; j++) {
      const starts = new Float64Array(nx * n), targets = new Float64Array(nx * n);
      for (let i = 0; i < nx; i++) {
        starts.set(land.start, i * n);
        starts.set([x0 + (i + 0.5) / nx * (x1 - x0), y1 - (j + 0.5) / ny * (y1 - y0)], i * n);
      }
      const found = paths.run({ ...over, starts });
      for (let i = 0; i < nx; i++) {
        const end = minima.findIndex((m) => apart(m, found.subarray(i * n, (i + 1) * n)) < near);
        ends[j * nx + i] = end;
        targets.set(end < 0 ? new Float64Array(n).fill(NaN) : minima[end], i * n);
      }
      taken.set(paths.run({ ...over, starts, targets, near }), j * nx);
      await pause();
    }
    return { nx, ny, ends, taken, steps: land.steps };
  },

  async pair({ state, data, lowest, axis, nx, ny }, pause) {
    const lane = laneOf(state, data), { from } = scale(axis), values = new Float64Array(nx * ny);
    for (let j = 0; j < ny; j++) {
      const program = lane.rule.program({ ...lane.values, [axis.name]: from((j + 0.5) / ny) }, { shape: lane.land.shape }); // `if momentum` is settled
      for (let i = 0; i < nx; i++) {
        const set = { ...lane.values, lr: 10 ** (RATES[0] + (i + 0.5) / nx * (RATES[1] - RATES[0])), [axis.name]: from((j + 0.5) / ny) };
        values[j * nx + i] = stepsTo(program, lane.land, lane.loss, set, { steps: lane.land.steps, seed: state.seed, lowest })[0];
      }
      await pause();
    }
    return { nx, ny, values };
  },

  async rate({ state, data, axis, curvatures, nx, ny }, pause) {
    const { rule, values: set } = laneOf(state, data), program = rule.program(set, { shape: [1] });
    const { from } = scale(axis), values = new Float64Array(nx * ny);
    for (let j = 0; j < ny; j++) {
      for (let i = 0; i < nx; i++) {
        const now = { ...set, lr: 10 ** (RATES[0] + (i + 0.5) / nx * (RATES[1] - RATES[0])), [axis.name]: from((j + 0.5) / ny) };
        values[j * nx + i] = exactRate(program, rule, now, curvatures);
      }
      await pause();
    }
    return { nx, ny, values };
  },
};

// What the error is multiplied by in each step in the long run, on a quadratic with these curvatures: the
// largest eigenvalue, in size, of the step as a matrix on (p, slots). For rules that are linear.
export function exactRate(program, rule, values, curvatures) {
  return Math.max(...curvatures.map((h) => radius(matrixOf(program, rule, values, h))));
}

function matrixOf(program, rule, values, h) {
  const slots = rule.slots.map((s) => s.name), n = slots.length + 1;
  const columns = Array.from({ length: n }, (_, k) => {
    const z = Array.from({ length: n }, (_, i) => i === k ? 1 : 0);
    const state = Object.fromEntries(slots.map((name, i) => [name, Float64Array.of(z[i + 1])]));
    const done = program.step(Float64Array.of(z[0]), Float64Array.of(h * z[0]), state, 2, values, { seed: 1 });
    return [done.p[0], ...slots.map((name) => done.state[name][0])];
  });
  return columns[0].map((_, i) => columns.map((column) => column[i]));
}

// By squaring the matrix thirty times: its size grows as the radius to the power of 2**30.
function radius(m) {
  const n = m.length;
  let log = 0, a = m;
  for (let k = 0, power = 1; k <= 30; k++, power *= 2) {
    const size = Math.sqrt(a.flat().reduce((sum, x) => sum + x * x, 0));
    if (!(size > 0)) return 0;
    log += Math.log(size) / power;
    a = a.map((row) => row.map((x) => x / size));
    a = a.map((row) => Array.from({ length: n }, (_, j) => row.reduce((sum, x, i) => sum + x * a[i][j], 0)));
  }
  return Math.exp(log);
}

// The curvatures of a quadratic; null where the loss is none.
export function curvaturesOf(land, loss) {
  const n = land.names.length;
  if (n > 2) return null;
  const at = (x) => [...loss.hessian(Float64Array.from({ length: n }, (_, i) => x + 0.3 * i * x))].map((row) => [...row]).flat();
  const h = at(0.7), other = at(-1.3), size = Math.max(...h.map(Math.abs));
  if (!h.every((x, i) => Math.abs(x - other[i]) <= 1e-9 * size)) return null;
  const sign = land.set.flip ? -1 : 1;
  if (n === 1) return [sign * h[0]];
  const half = (h[0] + h[3]) / 2, root = Math.hypot((h[0] - h[3]) / 2, h[1]);
  return [sign * (half - root), sign * (half + root)];
}

// Whether a rule is linear in p, g and its slots, and the same at every step after the first.
export function isLinear(rule, values) {
  try {
    const program = rule.program(values, { shape: [1] }), slots = rule.slots.map((s) => s.name);
    const at = (scale, t) => {
      const state = Object.fromEntries(slots.map((name, i) => [name, Float64Array.of(scale * (0.3 + 0.2 * i))]));
      const done = program.step(Float64Array.of(0.7 * scale), Float64Array.of(-0.4 * scale), state, t, values, { seed: 1 });
      return [done.p[0], ...slots.map((name) => done.state[name][0])];
    };
    const one = at(1, 2), three = at(-3, 2), late = at(1, 1000);
    return one.every((x, i) => Math.abs(three[i] + 3 * x) < 1e-12 && Math.abs(late[i] - x) < 1e-12);
  } catch {
    return false;
  }
}

// ---- the worker and the page --------------------------------------------------------------------

// Runs in the worker: one task of each kind at a time; a newer one ends the older.
export function work(self) {
  let data = null;
  const latest = {};
  self.onmessage = async ({ data: message }) => {
    if (message.data) return void (data = message.data);
    const { kind, id, task } = message;
    latest[kind] = id;
    const result = await perform(kind, { ...task, data }, () => latest[kind] === id);
    if (result) self.postMessage({ kind, id, ...result });
  };
}

class Stopped extends Error {}

async function perform(kind, task, wanted) {
  let last = performance.now();
  const began = last;
  const pause = async () => {
    if (performance.now() - last < 25) return;
    await new Promise((resume) => setTimeout(resume));
    last = performance.now();
    if (!wanted()) throw new Stopped();
  };
  try {
    return { result: await KINDS[kind.split(" ")[0]](task, pause), milliseconds: performance.now() - began };
  } catch (error) {
    return error instanceof Stopped ? null : { error: error.message };
  }
}

export class Maps {
  constructor(data) {
    this.data = data;
    this.latest = {};
    this.waiting = {};
    try {
      const text = document.getElementById("script").textContent;
      this.worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
      this.worker.postMessage({ data });
      this.worker.onmessage = ({ data: message }) => this.done(message);
      this.worker.onerror = () => this.alone();
    } catch {
      this.worker = null;
    }
  }

  // Without a worker: what is due is done here.
  alone() {
    this.worker = null;
    for (const [kind, { id, task }] of Object.entries(this.waiting)) this.here(kind, id, task);
  }

  here(kind, id, task) {
    perform(kind, { ...task, data: this.data }, () => this.latest[kind] === id).then((found) => found && this.done({ kind, id, ...found }));
  }

  rateOf({ rule, values }, curvatures) {
    return exactRate(rule.program(values, { shape: [1] }), rule, values, curvatures);
  }

  // Ask for a map; `then` is called with it unless a newer one of its kind has been asked for meanwhile.
  ask(kind, task, then) {
    const id = this.latest[kind] = (this.latest[kind] ?? 0) + 1;
    this.waiting[kind] = { id, task, then };
    if (this.worker) this.worker.postMessage({ kind, id, task });
    else this.here(kind, id, task);
  }

  done({ kind, id, ...found }) {
    if (this.latest[kind] !== id) return;
    const { then } = this.waiting[kind];
    delete this.waiting[kind];
    then(found);
  }
}
