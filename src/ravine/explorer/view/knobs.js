// The sliders of a landscape: its own, noise or batch, steps.

import { rounded } from "./numbers.js";

const powers = (low, high) => ({ to: (x) => Math.log(x / low) / Math.log(high / low), from: (u) => Math.round(low * (high / low) ** u) });
const linear = (low, high, step) => ({ to: (x) => (x - low) / (high - low), from: (u) => rounded(Math.round((low + u * (high - low)) / step) * step, 6) });
export function knobsOf(land, rows, draws) {
  const list = land.knobs.map((k) => k.check
    ? { name: k.name, label: k.label, isSwitch: true, numeric: true }
    : { ...k, scale: k.log ? powers(k.low, k.high) : linear(k.low, k.high, k.step), notch: k.log ? 0.005 : k.step / (k.high - k.low) });
  if (land.rows) list.push({ name: "batch", label: "rows in a batch", scale: powers(1, rows), notch: 0.01 });
  else list.push({ name: "noise", label: "noise of the gradient", scale: linear(0, 2, 0.02), notch: 0.01 });
  if (land.noise || land.batch || draws) list.push({ name: "seed", label: "seed of the noise", scale: linear(1, 50, 1), notch: 1 / 49 });
  list.push({ name: "steps", label: "number of steps", scale: powers(10, 5000), notch: 0.005 });
  return list;
}
