// What a step is made of: the gradient, means of gradients and of squares, the step, effective rates.

export function partsOf({ path }, t, n, slots) {
  const p = path.points[t - 1], g = path.gradients[t - 1], after = path.states[t], step = Float64Array.from(p, (x, i) => path.points[t][i] - x);
  const m = slots.first ? after[slots.first] : null, v = slots.second ? after[slots.second] : null;
  const along = m ?? g, rates = v && [...step].slice(0, 2).map((x, i) => Math.abs(x / along[i]));
  return {
    p, g, m, step, names: slots, ink: "a", all: { g, step: Array.from(step, (x) => -x) },
    roots: v && n > 1 ? [...v].slice(0, 2).map(Math.sqrt) : null,
    rates: rates?.every((x) => Number.isFinite(x) && x > 0) ? rates : null,
  };
}
