// The whole state of the page, and how it is written in the address, where everyone can read it.

export const DEFAULTS = {
  rule: "adam", // a rule, or a stack such as cautious(adamw)
  source: "", // the text in the editor, once it is edited
  around: [], // chips: modifiers from the inside out
  values: {}, // hyperparameters that were set; without lr, the best one found is used
  land: "ravine",
  loss: "", // the loss's text, once it is edited
  knobs: {}, // a landscape's sliders that were moved
  start: null, // [x, y]; null: the landscape's
  steps: null, // at most; null: the landscape's
  t: null, // the step that is shown; null: the last
  operation: null, // which operation of that step; null: the whole step
  noise: null, // standard deviation over the gradient's size; null: the landscape's
  batch: 0, // rows in a batch, where the loss has rows; 0: all
  seed: 1,
  beside: "", // the rule in the other lane; "source": this one, unedited
  shade: "height", // or basins
  chart: "lr", // or pair, rate
  axis: "", // the hyperparameter beside lr; "": the first that fits
  fault: 0, // the number of a broken rule; 0: none
  embed: false,
};

const numbers = (text) => text.split(",").map(Number);
const READ = {
  around: (text) => text.split(",").filter(Boolean),
  start: (text) => numbers(text).every(Number.isFinite) ? numbers(text) : null,
  steps: (text) => Math.max(1, Math.min(5000, Math.round(Number(text)) || 200)),
  t: Number, operation: Number, noise: Number, batch: Number, seed: Number, fault: Number,
  embed: (text) => text !== "0",
};
const value = (text) => text === "true" ? true : text === "false" ? false : Number(text);

export function read(hash, first = {}) {
  const state = { ...structuredClone(DEFAULTS), ...structuredClone(first) };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (key.startsWith("k.")) state.knobs[key.slice(2)] = Number(text);
    else if (key === "values" || key === "knobs") continue;
    else if (key in READ) state[key] = READ[key](text);
    else if (key in DEFAULTS) state[key] = text;
    else if (text !== "" && !Number.isNaN(value(text))) state.values[key] = value(text);
  }
  return state;
}

// Only what differs from the defaults, so that addresses are short.
export function write(state) {
  const words = new URLSearchParams();
  for (const [key, standard] of Object.entries(DEFAULTS)) {
    const now = state[key];
    if (key === "values") for (const [k, v] of Object.entries(now)) words.set(k, v);
    else if (key === "knobs") for (const [k, v] of Object.entries(now)) words.set(`k.${k}`, v);
    else if (String(now) !== String(standard)) words.set(key, now === true ? 1 : now);
  }
  return words.toString().replaceAll("%2C", ",").replaceAll("%28", "(").replaceAll("%29", ")");
}
