// The map: heights as shades and contours, paths on them, and what a step is made of.

import { AREAS, FONT, arrow, dot, inks, label, line, sheet } from "./canvas.js";

const LEVELS = 15;
const FACE = [[244, 247, 250], [186, 203, 220]], NIGHT = [[23, 28, 36], [64, 82, 102]]; // low, high

// The window on the plane: the same scale in x and in y.
export function frame(land, width, height) {
  const [cx, cy, half] = land.view, tall = height / width;
  const w = tall < 0.66 ? half * 0.66 / tall : half, h = w * tall;
  const bounds = [cx - w, cx + w, cy - h, cy + h];
  return {
    bounds, width, height,
    to: (p) => [(p[0] - bounds[0]) / (2 * w) * width, (bounds[3] - p[1]) / (2 * h) * height],
    from: (x, y) => [bounds[0] + x / width * 2 * w, bounds[3] - y / height * 2 * h],
    unit: width / (2 * w),
  };
}

// Heights on a grid over the frame.
function relief(land, loss, view) {
  const nx = Math.max(60, Math.min(260, Math.round(view.width / 3))), ny = Math.max(40, Math.round(nx * view.height / view.width));
  const z = new Float64Array(nx * ny), p = Float64Array.from(land.start);
  let low = Infinity, high = -Infinity;
  for (let j = 0; j < ny; j++) {
    for (let i = 0; i < nx; i++) {
      [p[0], p[1]] = view.from((i + 0.5) / nx * view.width, (j + 0.5) / ny * view.height);
      const value = loss.value(p);
      z[j * nx + i] = value;
      if (value < low) low = value;
      if (value > high && value < Infinity) high = value;
    }
  }
  const share = (value) => high > low ? Math.cbrt(Math.max(0, Math.min(1, (value - low) / (high - low)))) : 0;
  return { nx, ny, u: Float64Array.from(z, share) };
}

function picture(nx, ny, colour) {
  const canvas = document.createElement("canvas");
  canvas.width = nx;
  canvas.height = ny;
  const pen = canvas.getContext("2d"), image = pen.createImageData(nx, ny);
  for (let k = 0; k < nx * ny; k++) image.data.set([...colour(k), 255], 4 * k);
  pen.putImageData(image, 0, 0);
  return canvas;
}

// Marching squares: where u crosses a level, in pixels of the frame.
function contour(pen, { nx, ny, u }, level, view) {
  const sx = view.width / nx, sy = view.height / ny;
  for (let j = 0; j + 1 < ny; j++) {
    for (let i = 0; i + 1 < nx; i++) {
      const k = j * nx + i, a = u[k], b = u[k + 1], c = u[k + nx + 1], d = u[k + nx];
      const cuts = [];
      const cut = (p, q, x0, y0, x1, y1) => {
        if (p < level === q < level) return;
        const f = (level - p) / (q - p);
        cuts.push([(i + 0.5 + x0 + f * (x1 - x0)) * sx, (j + 0.5 + y0 + f * (y1 - y0)) * sy]);
      };
      cut(a, b, 0, 0, 1, 0);
      cut(b, c, 1, 0, 1, 1);
      cut(c, d, 1, 1, 0, 1);
      cut(d, a, 0, 1, 0, 0);
      for (let m = 0; m + 1 < cuts.length; m += 2) {
        pen.moveTo(...cuts[m]);
        pen.lineTo(...cuts[m + 1]);
      }
    }
  }
}

export function drawMap(canvas, scene) {
  const { pen, width, height } = sheet(canvas), ink = inks(), { land } = scene;
  const view = frame(land, width, height);
  if (land.names.length === 1) drawCurve(pen, view, ink, scene);
  else drawPlane(pen, view, ink, scene);
  if (land.rows) drawRows(pen, view, ink, scene);
  if (land.shape.length === 2) drawMatrices(pen, view, ink, scene);
  return view;
}

function drawPlane(pen, view, ink, scene) {
  const { land } = scene, { width, height } = view;
  pen.drawImage(background(view, ink, scene, pen.getTransform().a), 0, 0, width, height);
  if (land.names.length === 2) for (const p of scene.minima.length > 9 ? scene.minima.slice(0, 1) : scene.minima) cross(pen, view.to(p), ink);
  for (const lane of [...scene.lanes].reverse()) drawPath(pen, view, ink, lane, scene);
  if (scene.parted) ring(pen, view.to(scene.lanes[0].path.points[scene.parted.t]), ink);
  drawParts(pen, view, ink, scene);
}

const kept = { key: null };

// Heights, basins and axes, as a canvas; kept until they change, so that a frame draws no more than what moves.
function background(view, ink, { land, loss, basins }, ratio) {
  const { width, height } = view, key = JSON.stringify([land.text, land.constants, land.start.slice(2), view.bounds, width, ratio, ink.dark]);
  if (kept.key === key && kept.basins === basins) return kept.canvas;
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d"), ground = relief(land, loss, view), [low, high] = ink.dark ? NIGHT : FACE;
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  pen.scale(ratio, ratio);
  pen.font = FONT;
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  const faces = picture(ground.nx, ground.ny, (k) => low.map((c, m) => c + ground.u[k] * (high[m] - c)));
  pen.drawImage(faces, 0, 0, width, height);
  if (basins) drawBasins(pen, view, ink, basins);
  pen.beginPath();
  for (let k = 1; k < LEVELS; k++) contour(pen, ground, k / LEVELS, view);
  pen.strokeStyle = ink.dark ? "#ffffff2e" : "#1f3a5530";
  pen.lineWidth = 1;
  pen.stroke();
  drawAxes(pen, view, ink);
  Object.assign(kept, { key, basins, canvas });
  return canvas;
}

function drawBasins(pen, view, ink, { nx, ny, ends, taken, steps }) {
  const floor = ink.dark ? [48, 48, 52] : [214, 214, 214], paper = ink.dark ? 16 : 255;
  const image = picture(nx, ny, (k) => {
    if (ends[k] < 0) return floor;
    const fade = 0.15 + 0.75 * Math.sqrt(Math.min(1, taken[k] / steps));
    return AREAS[ends[k] % AREAS.length].map((c) => c + fade * (paper - c));
  });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, view.width, view.height);
  pen.imageSmoothingEnabled = true;
}

function drawAxes(pen, view, ink) {
  const [x0, x1, y0, y1] = view.bounds, step = nice((x1 - x0) / 7);
  for (let x = Math.ceil(x0 / step) * step; x < x1; x += step) {
    const [px] = view.to([x, 0]);
    if (px < 30 || px > view.width - 20) continue;
    label(pen, tidy(x, step), px, view.height - 6, ink.mute, { align: "center", halo: haze(ink) });
  }
  for (let y = Math.ceil(y0 / step) * step; y < y1; y += step) {
    const [, py] = view.to([0, y]);
    if (py < 16 || py > view.height - 26) continue;
    label(pen, tidy(y, step), 6, py + 4, ink.mute, { halo: haze(ink) });
  }
}

const haze = (ink) => ink.dark ? "#12161cb0" : "#ffffffb0";
const nice = (x) => { const ten = 10 ** Math.floor(Math.log10(x)); return ten * [1, 2, 5, 10].find((k) => k * ten >= x); };
const tidy = (x, step) => (Math.abs(x) < step / 1e6 ? "0" : String(Number(x.toPrecision(6)))).replace("-", "−");

function cross(pen, [x, y], ink) {
  line(pen, [[x - 6, y], [x + 6, y]], { ink: ink.fg, width: 2 });
  line(pen, [[x, y - 6], [x, y + 6]], { ink: ink.fg, width: 2 });
}

function ring(pen, [x, y], ink) {
  pen.beginPath();
  pen.arc(x, y, 11, 0, 2 * Math.PI);
  pen.strokeStyle = ink.fg;
  pen.lineWidth = 2.5;
  pen.setLineDash([4, 4]);
  pen.stroke();
  pen.setLineDash([]);
}

// A lane's path up to the time shown; the first lane is solid, the other dashed and square.
function drawPath(pen, view, ink, lane, { time }) {
  const points = lane.path.points.slice(0, time + 1).map(view.to), colour = ink[lane.ink];
  line(pen, points, { ink: ink.bg, width: 5 });
  line(pen, points, { ink: colour, width: 2.2, dash: lane.ink === "b" ? [7, 5] : [] });
  if (points.length < 400) for (const p of points) dot(pen, p, 2.4, colour);
  dot(pen, points[0], 5, ink.bg, colour);
  dot(pen, points.at(-1), 7.5, colour, ink.bg);
}

// What the step at hand is made of: the gradient, the mean of gradients, the step; mean squares; rates.
function drawParts(pen, view, ink, { parts }) {
  if (!parts) return;
  const at = view.to(parts.p), pixels = (v) => [at[0] + v[0] * view.unit, at[1] - v[1] * view.unit];
  dot(pen, at, 7.5, ink[parts.ink], ink.bg);
  if (parts.rates) {
    const top = Math.max(...parts.rates), reach = 0.13 * view.width;
    pen.beginPath();
    pen.ellipse(...at, Math.max(1, parts.rates[0] / top * reach), Math.max(1, parts.rates[1] / top * reach), 0, 0, 2 * Math.PI);
    pen.strokeStyle = ink.fg;
    pen.lineWidth = 1.5;
    pen.setLineDash([2, 5]);
    pen.stroke();
    pen.setLineDash([]);
  }
  if (parts.roots) {
    const top = Math.max(...parts.roots), reach = 0.07 * view.width;
    const [a, b] = parts.roots.map((r) => r / top * reach);
    pen.fillStyle = pen.strokeStyle = ink.m;
    pen.lineWidth = 1.5;
    for (const [x, y, s] of [[at[0] - a / 2, view.height - 24 - a, a], [34, at[1] - b / 2, b]]) {
      pen.globalAlpha = 0.25;
      pen.fillRect(x, y, s, s);
      pen.globalAlpha = 1;
      pen.strokeRect(x, y, s, s);
    }
  }
  const arrowOf = (v, colour) => {
    const size = Math.hypot(v[0], v[1]);
    if (!(size > 0)) return;
    const reach = 0.11 * view.width;
    arrow(pen, at, [at[0] - v[0] / size * reach, at[1] + v[1] / size * reach], colour);
  };
  arrowOf(parts.g, ink.g);
  if (parts.m) arrowOf(parts.m, ink.m);
  arrow(pen, at, pixels(parts.step), ink.bg, 6);
  arrow(pen, at, pixels(parts.step), ink.fg, 3);
}

// One weight: the loss as a curve, the tangent, and the step along the axis.
function drawCurve(pen, view, ink, scene) {
  const { land, loss, time, parts } = scene, { width, height } = view, [x0, x1] = view.bounds;
  const xs = Array.from({ length: width + 1 }, (_, i) => x0 + i / width * (x1 - x0));
  const zs = xs.map((x) => loss.value(Float64Array.of(x)));
  const low = Math.min(...zs), high = Math.max(...zs.filter(Number.isFinite)), span = high - low || 1;
  const to = (x, z) => [(x - x0) / (x1 - x0) * width, height - 40 - (z - low) / span * (height - 70)];
  const ground = xs.map((x, i) => to(x, zs[i]));
  pen.beginPath();
  pen.moveTo(0, height);
  for (const p of ground) pen.lineTo(...p);
  pen.lineTo(width, height);
  pen.fillStyle = ink.card;
  pen.fill();
  line(pen, ground, { ink: ink.mute, width: 2 });
  drawAxes(pen, { ...view, to: (p) => [to(p[0], low)[0], -100] }, ink);
  for (const lane of [...scene.lanes].reverse()) {
    const colour = ink[lane.ink], seen = lane.path.points.slice(0, time + 1);
    const balls = seen.map((p, t) => to(p[0], lane.path.heights[t]));
    line(pen, balls, { ink: colour, width: 1.2, dash: lane.ink === "b" ? [7, 5] : [] });
    for (const b of balls) dot(pen, b, 2.6, colour);
    if (lane === scene.lanes[0]) {
      const p = seen.at(-1), slope = loss.gradient(p)[0], z = lane.path.heights[seen.length - 1], reach = 0.16 * (x1 - x0);
      line(pen, [to(p[0] - reach, z - slope * reach), to(p[0] + reach, z + slope * reach)], { ink: ink.g, width: 2.5 });
    }
    dot(pen, balls.at(-1), 9, colour, ink.bg);
  }
  if (parts) {
    const z = loss.value(parts.p), [x, y] = to(parts.p[0], z), [end] = to(parts.p[0] + parts.step[0], low);
    line(pen, [[x, y + 12], [x, height - 32]], { ink: ink.fg, width: 1, dash: [2, 4] });
    arrow(pen, [x, height - 32], [end, height - 32], ink.fg, 3);
  }
}

// The rows of the loss, and the line through them at this time.
function drawRows(pen, view, ink, { land, lanes, time }) {
  const size = Math.min(190, view.width * 0.34), x0 = view.width - size - 10, y0 = 10, tall = size * 0.72;
  pen.fillStyle = ink.bg;
  pen.globalAlpha = 0.92;
  pen.fillRect(x0, y0, size, tall);
  pen.globalAlpha = 1;
  pen.strokeStyle = ink.line;
  pen.lineWidth = 1;
  pen.strokeRect(x0, y0, size, tall);
  pen.save();
  pen.beginPath();
  pen.rect(x0, y0, size, tall);
  pen.clip();
  const { carat, price } = land.constants;
  const to = (x, y) => [x0 + (x + 1.6) / 5.4 * size, y0 + tall - (y + 1.4) / 5.6 * tall];
  carat.forEach((x, i) => dot(pen, to(x, price[i]), 1.3, ink.mute));
  for (const lane of [...lanes].reverse()) {
    const [m, b] = lane.path.points[Math.min(time, lane.path.points.length - 1)];
    line(pen, [to(-2, -2 * m + b), to(5, 5 * m + b)], { ink: ink[lane.ink], width: 2.2, dash: lane.ink === "b" ? [7, 5] : [] });
  }
  pen.restore();
  label(pen, "price by carat", x0 + 7, y0 + 15, ink.mute);
}

// A matrix as what it makes of a circle: the gradient an ellipse; after Muon, the step is nearly a circle.
function drawMatrices(pen, view, ink, { parts }) {
  if (!parts) return;
  const size = Math.min(84, view.width * 0.17);
  [["gradient", parts.all.g, ink.g], ["step", parts.all.step, ink.fg]].forEach(([name, w, colour], k) => {
    const x = view.width - (2 - k) * (size + 8) - 2, y = 10, r = size * 0.36;
    pen.fillStyle = ink.bg;
    pen.globalAlpha = 0.92;
    pen.fillRect(x, y, size, size + 16);
    pen.globalAlpha = 1;
    label(pen, name, x + size / 2, y + 13, ink.mute, { align: "center" });
    const turn = Array.from({ length: 65 }, (_, i) => [Math.cos(i * Math.PI / 32), Math.sin(i * Math.PI / 32)]);
    const out = turn.map(([c, s]) => [w[0] * c + w[1] * s, w[2] * c + w[3] * s]), top = Math.max(...out.map((p) => Math.hypot(...p))) || 1;
    line(pen, turn.map(([c, s]) => [x + size / 2 + r * c, y + 16 + size / 2 - r * s]), { ink: ink.line, width: 1 });
    line(pen, out.map(([a, b]) => [x + size / 2 + r * a / top, y + 16 + size / 2 - r * b / top]), { ink: colour, width: 2 });
  });
}

