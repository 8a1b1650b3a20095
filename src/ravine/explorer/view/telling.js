// What happened, in a sentence or two: for eyes, and for screen readers as the page's live region.

import { list } from "./worked.js";
import { plural, shown } from "./numbers.js";
import { compares } from "./world.js";
import { apart, BOTTOMLESS } from "./running.js";

const safe = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

export function told({ lanes, parted, lowest, land, step }, state, operation) {
  if (operation) {
    const value = list(operation.value).map((x) => shown(x)).join(", ");
    const { name, text, line, column, endColumn } = operation, words = (text.split("\n")[line - 1] ?? "").slice(column, endColumn);
    return `Operation ${Math.min(state.operation + 1, step.traced.length)} of ${step.traced.length}: <code>${safe(words)}</code> ${name ? "gives" : "is"} <b>${value}</b>.`;
  }
  const words = lanes.map((lane) => sentence(lane, lowest, land));
  if (lanes.length > 1 && compares(state)) {
    const last = Math.min(...lanes.map((lane) => lane.path.points.length)) - 1;
    words.push(parted
      ? `They part at step ${parted.t}, where they are ${shown(parted.distance, 3)} apart; after ${plural(last, "step")} it is ${shown(apart(lanes[0].path.points[last], lanes[1].path.points[last]), 3)}.`
      : "Both take the same path.");
  }
  return words.join(" ");
}

function sentence({ name, path, values, auto, strip, ink }, lowest, land) {
  const rate = values.lr === undefined ? "" : ` with lr ${shown(values.lr, 3)}${auto && strip && ink === "a" ? `, the best of ${strip.rates.length} tried,` : ""}`;
  const who = `<b>${safe(name)}</b>${rate}`, steps = path.points.length - 1;
  if (path.lost) return `${who} flies off after ${plural(steps + 1, "step")}.`;
  if (path.arrived) return `${who} arrives after <b>${plural(path.arrived, "step")}</b>.`;
  if (lowest === BOTTOMLESS) return `${who} goes from ${shown(path.heights[0], 3)} to ${shown(path.heights.at(-1), 3)} in ${plural(steps, "step")}; there is no minimum in view.`;
  const first = path.heights[0] - lowest, left = path.heights.at(-1) - lowest;
  if (left > first) return `${who} has climbed from height ${shown(first, 3)} to ${shown(left, 3)} in ${plural(steps, "step")}.`;
  return `${who} has not arrived after ${plural(steps, "step")}: ${shown(100 * left / first, 3)} % of the height is left.`;
}
