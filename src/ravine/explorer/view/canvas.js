// What all drawings share: sharp canvases, the page's colours, arrows, axes.

export const FONT = "12px system-ui, sans-serif";

export function sheet(canvas) {
  const ratio = Math.min(3, globalThis.devicePixelRatio || 1);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.lineJoin = pen.lineCap = "round";
  pen.font = FONT;
  return { pen, width, height };
}

export function inks() {
  const style = getComputedStyle(document.documentElement);
  const names = ["bg", "fg", "mute", "line", "card", "a", "b", "g", "m", "on"];
  const found = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  return { ...found, dark: matchMedia("(prefers-color-scheme: dark)").matches };
}

// Okabe and Ito's colours, which people with any colour vision tell apart; for areas.
export const AREAS = [[86, 180, 233], [230, 159, 0], [0, 158, 115], [204, 121, 167], [240, 228, 66], [213, 94, 0], [0, 114, 178]];

// From dark blue over grey to yellow (after cividis): the same order in grey and with any colour vision.
const STOPS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
export function heat(u) {
  const x = Math.max(0, Math.min(1, u)) * (STOPS.length - 1), i = Math.min(STOPS.length - 2, Math.floor(x));
  return STOPS[i].map((c, k) => c + (x - i) * (STOPS[i + 1][k] - c));
}

export function line(pen, points, { ink, width = 2, dash = [] }) {
  pen.strokeStyle = ink;
  pen.lineWidth = width;
  pen.setLineDash(dash);
  pen.beginPath();
  points.forEach(([x, y], i) => i ? pen.lineTo(x, y) : pen.moveTo(x, y));
  pen.stroke();
  pen.setLineDash([]);
}

export function dot(pen, [x, y], radius, ink, edge) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fillStyle = ink;
  pen.fill();
  if (edge) {
    pen.strokeStyle = edge;
    pen.lineWidth = 2;
    pen.stroke();
  }
}

export function arrow(pen, from, to, ink, width = 2.5) {
  const angle = Math.atan2(to[1] - from[1], to[0] - from[0]), length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (!(length > 1.5)) return;
  const head = Math.min(10, length * 0.6), end = [to[0] - 0.7 * head * Math.cos(angle), to[1] - 0.7 * head * Math.sin(angle)];
  line(pen, [from, end], { ink, width });
  pen.fillStyle = ink;
  pen.beginPath();
  pen.moveTo(...to);
  for (const side of [-0.42, 0.42]) pen.lineTo(to[0] - head * Math.cos(angle + side), to[1] - head * Math.sin(angle + side));
  pen.fill();
}

export function label(pen, text, x, y, ink, { align = "left", halo } = {}) {
  pen.textAlign = align;
  if (halo) {
    pen.strokeStyle = halo;
    pen.lineWidth = 4;
    pen.strokeText(text, x, y);
  }
  pen.fillStyle = ink;
  pen.fillText(text, x, y);
  pen.textAlign = "left";
}
