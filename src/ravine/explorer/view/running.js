// A rule going down a landscape: paths, what is arrived at, and where minima are.

export const TARGET = 1e-4; // arrived: this share of the start's height is left
export const BOTTOMLESS = -1e300; // stands for the lowest height of a loss that has no minimum in view
const FAR = 1e9;

// Numbers from a seed: mulberry32, and normals by Box and Muller.
export function generator(seed) {
  let a = seed | 0;
  const uniform = () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal };
}

// (p, t) -> what a step is given: the gradient, with the sign, the gaps and the noise of the landscape; and
// besides it the seed of what is drawn and, where `bent`, the diagonal of the Hessian.
export function given(land, loss, { seed, bent = false }) {
  const { uniform, normal } = generator(seed);
  const at = loss.gradient(Float64Array.from(land.start));
  const spread = land.noise * Math.hypot(...at) / Math.sqrt(at.length);
  const rows = land.rows ? land.constants.carat.length : 0;
  const batch = land.batch > 0 && land.batch < rows ? land.batch : 0;
  return (p, t) => {
    let constants = land.constants;
    if (batch) {
      const chosen = Array.from({ length: batch }, () => Math.floor(uniform() * rows));
      constants = Object.fromEntries(Object.entries(constants).map(([k, all]) => [k, chosen.map((i) => all[i])]));
    }
    const g = Float64Array.from(batch ? loss.gradient(p, constants) : loss.gradient(p));
    if (spread) for (let i = 0; i < g.length; i++) g[i] += spread * normal();
    const x = { seed, hessian: bent ? loss.hessian(p, constants).map((row, i) => row[i]) : null };
    if (land.set.every > 1 && t % land.set.every) {
      g[1] = 0;
      if (bent) x.hessian[1] = 0;
    }
    if (land.set.flip) for (let i = 0; i < g.length; i++) g[i] = -g[i];
    return [g, x];
  };
}

// The path of a program: points[0] is the start; gradients[t], besides[t] and states[t] are what step t + 1 is given.
export function walk(program, land, loss, values, { steps, seed, lowest }) {
  const at = given(land, loss, { seed, bent: program.bent });
  let p = Float64Array.from(land.start), state = program.start(p, values);
  const path = { points: [p], gradients: [], besides: [], states: [state], heights: [loss.value(p)], arrived: null, lost: false }; // arrived: the step after which it stays
  const first = path.heights[0] - lowest;
  for (let t = 1; t <= steps; t++) {
    const [g, x] = at(p, t);
    ({ p, state } = program.step(p, g, state, t, values, x));
    const height = loss.value(p);
    path.gradients.push(g);
    path.besides.push(x);
    if (!p.every((x) => Math.abs(x) < FAR)) {
      path.lost = true;
      break;
    }
    path.points.push(p);
    path.states.push(state);
    path.heights.push(height);
    if (height - lowest > TARGET * first) path.arrived = null;
    else path.arrived ??= t;
  }
  if (path.lost) path.arrived = null;
  return path;
}

// [steps until the target is reached for good, or Infinity; the height that is left]; the way is not kept.
export function stepsTo(program, land, loss, values, { steps, seed, lowest }) {
  const at = given(land, loss, { seed, bent: program.bent });
  let p = Float64Array.from(land.start), state = program.start(p, values), height = loss.value(p);
  const target = lowest + TARGET * (height - lowest);
  let arrived = Infinity;
  for (let t = 1; t <= steps; t++) {
    const [g, x] = at(p, t);
    ({ p, state } = program.step(p, g, state, t, values, x));
    height = loss.value(p);
    if (!(Math.abs(height) < FAR * FAR)) return [Infinity, Infinity];
    if (height > target) arrived = Infinity;
    else if (arrived === Infinity) arrived = t;
  }
  return [arrived, lowest === BOTTOMLESS ? height : height - lowest];
}

// The minima in view: the lowest points of a grid, then Newton's steps, shortened until they go down.
export function minima(land, loss, bounds) {
  const free = Math.min(2, land.names.length), n = free === 1 ? 400 : 60;
  const [x0, x1, y0, y1] = bounds;
  const at = (i, j) => {
    const p = Float64Array.from(land.start);
    p[0] = x0 + (i + 0.5) / n * (x1 - x0);
    if (free > 1) p[1] = y0 + (j + 0.5) / n * (y1 - y0);
    return p;
  };
  const rows = free === 1 ? 1 : n, heights = [];
  for (let j = 0; j < rows; j++) for (let i = 0; i < n; i++) heights.push(loss.value(at(i, j)));
  const found = [], near = 0.02 * (x1 - x0);
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < n; i++) {
      let least = true;
      for (let b = Math.max(0, j - 1); b <= Math.min(rows - 1, j + 1) && least; b++) {
        for (let a = Math.max(0, i - 1); a <= Math.min(n - 1, i + 1); a++) {
          if (heights[b * n + a] < heights[j * n + i]) least = false;
        }
      }
      if (!least) continue;
      const p = polished(loss, at(i, j));
      const inside = p[0] >= x0 && p[0] <= x1 && (free === 1 || (p[1] >= y0 && p[1] <= y1));
      if (inside && !found.some((q) => Math.hypot(q[0] - p[0], (q[1] ?? 0) - (p[1] ?? 0)) < near)) found.push(p);
    }
  }
  found.sort((p, q) => loss.value(p) - loss.value(q));
  return found.slice(0, 64);
}

function polished(loss, p) {
  for (let k = 0; k < 40; k++) {
    const g = loss.gradient(p), size = Math.hypot(...g);
    if (!(size > 1e-13)) break;
    let d = solved(loss.hessian(p), g);
    if (!d || d.reduce((sum, x, i) => sum + x * g[i], 0) <= 0) d = [...g];
    const height = loss.value(p);
    let rate = 1, q = null;
    for (let tries = 0; tries < 30; tries++, rate /= 2) {
      q = Float64Array.from(p, (x, i) => x - rate * d[i]);
      if (loss.value(q) < height) break;
      q = null;
    }
    if (!q) break;
    p = q;
  }
  return p;
}

// x of h x = g, by elimination with pivots; null where h is singular.
function solved(h, g) {
  const n = g.length, rows = Array.from({ length: n }, (_, i) => [...(h[i] ?? []), g[i]]);
  for (let k = 0; k < n; k++) {
    let best = k;
    for (let i = k; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[best][k])) best = i;
    [rows[k], rows[best]] = [rows[best], rows[k]];
    if (!(Math.abs(rows[k][k]) > 1e-14)) return null;
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const f = rows[i][k] / rows[k][k];
      for (let j = k; j <= n; j++) rows[i][j] -= f * rows[k][j];
    }
  }
  return rows.map((row, i) => row[n] / row[i]);
}

// What slots hold, found by what they do: with a gradient twice as long, a mean of gradients doubles, and a
// mean of squares is four times as large.
export function roles(program, rule, values, n) {
  const found = { first: null, second: null };
  const probe = (scale) => {
    const p = new Float64Array(n), g = Float64Array.from({ length: n }, (_, i) => scale * (0.37 + 0.11 * i));
    return program.step(p, g, program.start(p, values), 1, values, { seed: 1, hessian: g }).state;
  };
  const one = probe(1), two = probe(2);
  for (const { name } of rule.slots) {
    const a = one[name], b = two[name];
    if (!(a?.length === n) || !a.every((x) => x !== 0)) continue;
    const ratio = b[0] / a[0];
    if (Math.abs(ratio - 2) < 1e-6) found.first ??= name;
    if (Math.abs(ratio - 4) < 1e-6) found.second ??= name;
  }
  return found;
}

// The first step after which two paths are apart by more than rounding, and by how much then.
export function parting(a, b) {
  for (let t = 1; t < Math.min(a.points.length, b.points.length); t++) {
    const distance = apart(a.points[t], b.points[t]);
    if (distance > 1e-11 * Math.max(1e-3, Math.hypot(...a.points[t]))) return { t, distance };
  }
  return null;
}

export const apart = (p, q) => Math.hypot(...Array.from(p, (x, i) => x - q[i]));
