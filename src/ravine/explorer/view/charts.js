// The charts below the map: height over steps, steps over learning rates, and maps of two hyperparameters.

import { dot, heat, inks, label, line, sheet } from "./canvas.js";
import { RATES, shown } from "./numbers.js";

const LEFT = 54, RIGHT = 10, TOP = 16, BOTTOM = 20;

// Height above the lowest point over steps, on a logarithmic scale; a line at the time shown.
export function drawHeights(canvas, { lanes, steps, time, lowest, parted }) {
  const { pen, width, height } = sheet(canvas), ink = inks();
  const first = Math.max(...lanes.map((lane) => lane.path.heights[0] - lowest), 1e-12);
  const above = (z) => Math.log10(Math.max(1e-16, (z - lowest) / first));
  const top = Math.min(4, Math.max(0.3, ...lanes.map((lane) => Math.max(...lane.path.heights.map((z) => Number.isFinite(z) ? above(z) : 4))))), low = -8;
  const x = (t) => 8 + t / steps * (width - 16), y = (v) => 6 + (top - Math.max(low, Math.min(top, v))) / (top - low) * (height - 12);
  line(pen, [[8, y(-4)], [width - 8, y(-4)]], { ink: ink.line, width: 1, dash: [3, 4] });
  label(pen, "height, log scale", width - 16, 14, ink.mute, { align: "right" });
  label(pen, "target", width - 16, y(-4) - 4, ink.mute, { align: "right" });
  for (const lane of [...lanes].reverse()) {
    const curve = lane.path.heights.map((z, t) => [x(t), y(above(z))]);
    line(pen, curve, { ink: ink[lane.ink], width: 2, dash: lane.ink === "b" ? [7, 5] : [] });
  }
  if (parted) label(pen, "part here", Math.min(width - 60, x(parted.t) + 4), height - 4, ink.fg);
  if (parted) line(pen, [[x(parted.t), 4], [x(parted.t), height]], { ink: ink.fg, width: 1, dash: [4, 4] });
  line(pen, [[x(time), 2], [x(time), height - 2]], { ink: ink.mute, width: 1 });
  for (const lane of lanes) {
    const t = Math.min(time, lane.path.heights.length - 1);
    dot(pen, [x(t), y(above(lane.path.heights[t]))], 4.5, ink[lane.ink], ink.bg);
  }
  return { time: (px) => Math.round((px - 8) / (width - 16) * steps) };
}

const decades = (pen, ink, x, low, high, bottom, right) => {
  const every = x(10) - x(1) < 44 ? 2 : 1; // where labels would meet
  for (let e = Math.ceil(low); e <= high; e++) {
    if (e % every) continue;
    const text = e < -3 || e > 3 ? `1e${e}`.replace("-", "−") : String(Number(`1e${e}`));
    label(pen, text, Math.min(right - 14, Math.max(LEFT + 10, x(10 ** e))), bottom, ink.mute, { align: "center" });
  }
};

// Steps to the target at every learning rate, a bar each: the shorter the better. Where there is none, it fails.
export function drawRates(canvas, { strips, lr, steps, best }) {
  const { pen, width, height } = sheet(canvas), ink = inks(), [low, high] = RATES;
  const x = (rate) => LEFT + (Math.log10(rate) - low) / (high - low) * (width - LEFT - RIGHT);
  const floor = height - BOTTOM, y = (n) => TOP + (1 - Math.log(n) / Math.log(steps)) * (floor - TOP);
  for (const n of [1, 10, 100, 1000].filter((k) => k <= steps)) {
    line(pen, [[LEFT, y(n)], [width - RIGHT, y(n)]], { ink: ink.line, width: 1 });
    label(pen, String(n), LEFT - 6, y(n) + 4, ink.mute, { align: "right" });
  }
  label(pen, "steps", LEFT - 6, 10, ink.mute, { align: "right" });
  decades(pen, ink, x, low, high, height - 5, width);
  for (const { ink: name, rates, taken } of strips ?? []) {
    const wide = (x(rates[1]) - x(rates[0])) * 0.78, main = name === "a";
    rates.forEach((rate, i) => {
      if (!Number.isFinite(taken[i])) {
        if (main) dot(pen, [x(rate), floor - 2], 1.2, ink.mute);
        return;
      }
      if (main) {
        pen.fillStyle = ink.a;
        pen.globalAlpha = i === best ? 1 : 0.5;
        pen.fillRect(x(rate) - wide / 2, y(taken[i]), wide, floor - y(taken[i]));
        pen.globalAlpha = 1;
      } else line(pen, [[x(rate) - wide / 2, y(taken[i])], [x(rate) + wide / 2, y(taken[i])]], { ink: ink.b, width: 3 });
    });
  }
  if (lr > 0) {
    const at = Math.max(LEFT, Math.min(width - RIGHT, x(lr)));
    line(pen, [[at, TOP - 8], [at, floor]], { ink: ink.fg, width: 2 });
    label(pen, `lr ${shown(lr, 3)}`, at + (at > width - 90 ? -6 : 6), TOP - 3, ink.fg, { align: at > width - 90 ? "right" : "left", halo: ink.bg });
  }
  return { rate: (px) => 10 ** (low + (px - LEFT) / (width - LEFT - RIGHT) * (high - low)) };
}

// A map over two hyperparameters: steps to the target, or the exact rate. `axis.to` and `axis.from` go from the
// second one's value to 0 .. 1 and back.
export function drawPair(canvas, { grid, steps, lr, value, axis, rate }) {
  const { pen, width, height } = sheet(canvas), ink = inks(), [low, high] = RATES;
  const x = (v) => LEFT + (Math.log10(v) - low) / (high - low) * (width - LEFT - RIGHT), floor = height - BOTTOM;
  const y = (v) => floor - axis.to(v) * (floor - TOP);
  if (grid) {
    const { nx, ny, values } = grid, image = new OffscreenCanvas(nx, ny), brush = image.getContext("2d"), data = brush.createImageData(nx, ny);
    const fast = Math.min(...values), none = ink.dark ? [44, 46, 52] : [226, 228, 232];
    // From fast, which is bright, to slow. A rate r needs ln(1e-4) / ln(r) steps.
    const needs = (v) => !rate ? v : v < 1 ? Math.log(1e-4) / Math.log(Math.max(v, 1e-9)) : Infinity;
    const first = Math.max(1, needs(fast)), slow = Math.max(2 * first, rate ? 300 * first : steps);
    for (let k = 0; k < nx * ny; k++) {
      const v = values[k], j = ny - 1 - Math.floor(k / nx);
      const n = Math.max(first, needs(v));
      const colour = Number.isFinite(n) ? heat(1 - Math.log(n / first) / Math.log(slow / first)) : none;
      data.data.set([...colour, 255], 4 * (j * nx + k % nx));
    }
    brush.putImageData(data, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, LEFT, TOP, width - LEFT - RIGHT, floor - TOP);
  } else label(pen, "…", LEFT + 10, TOP + 20, ink.mute);
  decades(pen, ink, x, low, high, height - 5, width);
  for (const u of [0, 0.25, 0.5, 0.75, 1]) label(pen, shown(axis.from(u), 4), LEFT - 5, floor - u * (floor - TOP) + 4, ink.mute, { align: "right" });
  label(pen, axis.name, LEFT, 10, ink.mute);
  const at = [Math.max(LEFT, Math.min(width - RIGHT, x(lr))), y(value)];
  pen.lineWidth = 4;
  dot(pen, at, 7, "transparent", "#000");
  dot(pen, at, 5, "#fff", "#fff");
  return { pick: (px, py) => [10 ** (low + (px - LEFT) / (width - LEFT - RIGHT) * (high - low)), axis.from(Math.max(0, Math.min(1, (floor - py) / (floor - TOP))))] };
}
