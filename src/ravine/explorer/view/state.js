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
  brush: "dig", // what a click does in the landscape that is drawn: dig, raise, or start
  shade: "height", // or basins
  chart: "lr", // or pair, rate
  axis: "", // the hyperparameter beside lr; "": the first that fits
  fault: 0, // the number of a broken rule; 0: none
  embed: false,
};

// How each is read; undefined, and so the default, where it says nothing that is accepted.
const within = (low, high, whole = true) => (text) => {
  const x = text === "" ? NaN : Number(text);
  return Number.isFinite(x) ? Math.max(low, Math.min(high, whole ? Math.round(x) : x)) : undefined;
};
const READ = {
  around: (text) => [...new Set(text.split(",").filter(Boolean))],
  start: (text) => text.split(",").map(Number).every(Number.isFinite) ? text.split(",").map(Number) : undefined,
  steps: within(1, 5000), t: within(0, 5000), operation: within(0, 1e5), noise: within(0, 10, false), batch: within(0, 1e5),
  seed: within(0, 1e9), fault: within(0, 1e3),
  embed: (text) => text !== "0",
};
const value = (text) => text === "true" ? true : text === "false" ? false : Number(text);

export function read(hash, first = {}) {
  const state = { ...structuredClone(DEFAULTS), ...structuredClone(first) };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (key.startsWith("k.")) {
      if (Number.isFinite(Number(text))) state.knobs[key.slice(2)] = Number(text);
    }
    else if (key === "values" || key === "knobs") continue;
    else if (key in READ) state[key] = READ[key](text) ?? DEFAULTS[key];
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
