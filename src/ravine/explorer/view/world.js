// What a state of the page means: the rule and the loss that it names, ready to run.

import { Library, load, loss as derive } from "../core/index.js";
import { settled } from "./landscapes.js";

export const MODIFIERS = [
  ["cautious", "cautious", "leaves out coordinates in which the step goes against the gradient"],
  ["decay", "decoupled_decay", "shrinks the weights in each step"],
  ["clip", "clip_by_global_norm", "shortens gradients that are long"],
  ["lookahead", "lookahead", "every few steps, goes back half of the way"],
];
const functions = Object.fromEntries(MODIFIERS.map(([chip, name]) => [chip, name]));

let libraries = null;

export function builtin(data) {
  libraries ??= data.sources.texts.reduce((known, text) => load(text, known), new Library(data.sources));
  return libraries;
}

// The rule of a state without the modifiers of the chips, and with them.
export function ruleOf(state, data, { edited = true } = {}) {
  let library = builtin(data), name = state.rule;
  if (edited && state.source) {
    library = load(state.source, library);
    const defined = [...state.source.matchAll(/^(?:def\s+)?(\w+)\s*[(=]/gm)].map((found) => found[1]).filter((each) => library.entries.get(each)?.call || library.entries.get(each)?.alias);
    if (!defined.some((each) => new RegExp(`\\b${each}\\b`).test(name))) name = defined.at(-1) ?? name;
  }
  const base = library.rule(name);
  const rule = state.around.length ? library.rule(state.around.reduce((inner, chip) => `${functions[chip]}(${inner})`, name)) : base;
  return { base, rule };
}

export function valuesOf(rule, given) {
  return Object.fromEntries(rule.hyperparameters.map((h) => [h.name, given[h.name] ?? h.default]));
}

// Whether the state's rule can be made for arrays of a shape.
export function runsOn(state, data, shape) {
  try {
    const { rule } = ruleOf(state, data);
    return Boolean(rule.program(valuesOf(rule, state.values), { shape }));
  } catch {
    return false;
  }
}

export function groundOf(state, data) {
  const land = settled(state, data);
  return { land, loss: derive(land.text, land.names, land.constants) };
}

// Whether the rule beside is a reference for the one in the editor, and so takes the same values.
export const compares = (state) => state.beside === "source" || Boolean(state.beside && state.source);

// All that a walk needs, for the state's rule or for the one beside it.
export function laneOf(state, data, beside = false) {
  const mine = !beside || compares(state);
  const from = !beside ? state : { ...state, source: "", ...(state.beside !== "source" && { rule: state.beside, around: state.source ? state.around : [] }) };
  const { base, rule } = ruleOf(from, data), { land, loss } = groundOf(state, data);
  const values = valuesOf(rule, mine ? state.values : {});
  return { base, rule, land, loss, values, program: rule.program(values, { shape: land.shape }) };
}
