// Rules and modifiers from their text.

import { partsOf } from "./operations.js";
import { parse, parseExpression, RuleError } from "./parser.js";
import { Program } from "./program.js";

// What texts define, by name. A text that is given as such is read when its name is first asked for.
class Entries extends Map {
  get(name) {
    const found = super.get(name);
    if (typeof found === "string") this.define(found);
    return super.get(name);
  }

  define(text) {
    for (const each of parse(text)) {
      if (each.type === "assign" && each.target.type === "name") this.set(each.target.name, isRule(each.value, this) ? { alias: each.value } : { constant: each.value, text });
      else if (each.type === "def") this.set(each.name, defined(each, text, this.library));
      else throw new RuleError("a rule begins with def name(p, g, ..., *, lr=...):", each);
    }
  }
}

// The rules, modifiers and helpers of some texts, each of which defines one. `about` and `meanings`: as
// ravine/explorer/sources.py has them.
export class Library {
  constructor({ texts = [], entries = [], about = {}, meanings = [], shared = {} } = {}) {
    Object.assign(this, { about, meanings, shared, entries: new Entries(entries) });
    this.entries.library = this;
    for (const text of texts) this.entries.set(text.match(/^(?:def )?(\w+)(?: =|\()/m)[1], text);
  }

  rule(text) {
    const tree = parseExpression(text), found = this.made(tree);
    if (!found?.call) throw new RuleError(`no rule is called ${text}`);
    return found;
  }

  made(tree) {
    if (tree.type === "name") {
      const found = this.entries.get(tree.name);
      if (!found) throw new RuleError(`no rule is called ${tree.name}`, tree);
      return found.alias ? this.made(found.alias).named(tree.name) : found;
    }
    if (tree.type === "call" && tree.of.type === "name") {
      const head = this.entries.get(tree.of.name);
      if (!head) throw new RuleError(`there is no modifier ${tree.of.name}`, tree);
      const set = Object.fromEntries([...tree.named].map(([k, v]) => [k, literal(v)]));
      if (head.call) return head.with(set);
      if (!head.around || !tree.args.length) throw new RuleError(`${tree.of.name} modifies a rule; write ${tree.of.name}(adam)`, tree);
      return head.around(this.made(tree.args[0])).with(set);
    }
    throw new RuleError("a rule is a name, or a modifier around one, such as cautious(adam)", tree);
  }
}

export function load(text, library = new Library()) {
  const made = new Library(library);
  made.entries.define(text);
  return made;
}

// adamw = decoupled_decay(adam, weight_decay=0.01), and not EPS = 1e-8.
const isRule = (tree, entries) => tree.type === "name" ? entries.has(tree.name) && !("constant" in entries.get(tree.name)) : tree.type === "call" && isRule(tree.of, entries);

function literal(tree) {
  if (!tree) return null;
  if (tree.type === "number" || tree.type === "string") return tree.value;
  if (tree.type === "name") return tree.name;
  if (tree.type === "tuple") return tree.items.map(literal);
  if (tree.type === "op") {
    const args = tree.args.map(literal), known = { neg: (a) => -a, pow: (a, b) => a ** b, div: (a, b) => a / b, mul: (a, b) => a * b, sub: (a, b) => a - b, add: (a, b) => a + b }[tree.op];
    if (known && args.every((x) => typeof x === "number")) return known(...args);
  }
  throw new RuleError("the default of a hyperparameter is a number, True or False", tree);
}

// How a slot is declared: b=scalar(1.0), p0=like_p, eta=filled("lr"), left=square(-2); zeros without.
function slotOf(name, tree) {
  if (!tree) return { name, kind: "array", value: 0 };
  if (tree.type === "name" && tree.name === "like_p") return { name, kind: "like_p" };
  const args = (tree.args ?? []).map(literal), named = Object.fromEntries([...tree.named ?? []].map(([key, value]) => [key, literal(value)]));
  const made = {
    scalar: () => ({ kind: "scalar", value: args[0] }), shared: () => ({ kind: "scalar", value: args[0], shared: true }), filled: () => ({ value: args[0] }),
    zeros: () => ({ axis: args[0] ?? named.axis, keep: named.keep }), square: () => ({ square: args[0], value: args[1] ?? 0 }),
    low_rank: () => ({ rank: args[0], axis: args[1] ?? named.axis ?? -1 }),
  }[tree.of?.name];
  if (!made) throw new RuleError(`slot ${name} is declared in a way that this page does not know; it is like_p, scalar(value), shared(value), filled(value), zeros(axis), square(axis), low_rank(rank) or several(count)`, tree);
  return { name, kind: "array", value: 0, ...made() };
}

const plainNames = (list) => list.map((x) => typeof x === "number" ? String(x) : x).join(", ");

function defined(definition, text, library) {
  const head = definition.decorators.at(-1), kind = head?.of?.name ?? head?.name;
  const { name, parameters, defaults } = definition, declared = head?.named ?? new Map();
  if (!["modifier", "rule"].includes(kind) && (/^@(rule|modifier)\b/m.test(text) || (parameters[0] !== "p" && !definition.keywords.size))) return { definition, text, library: library.entries };
  const isModifier = kind === "modifier", leading = isModifier ? ["step", "p", "g"] : ["p", "g"];
  if (defaults.size) {
    const [[key, tree]] = defaults;
    throw new RuleError(`${name}: ${key}=${shownLiteral(tree)} has a default, so it is a hyperparameter; write it after a *`, definition);
  }
  if (leading.some((word, i) => parameters[i] !== word)) {
    throw new RuleError(`${name}(${parameters.join(", ")}, ...): the first arguments must be ${leading.join(", ")}, then the state slots, then t if it is used; hyperparameters come after a *`, definition);
  }
  let names = parameters.slice(leading.length);
  const takesT = names.at(-1) === "t";
  if (takesT) names = names.slice(0, -1);
  const isSignal = (tree) => tree?.type === "call" && tree.of.name === "signal";
  const keywords = [...definition.keywords].filter(([, tree]) => !isSignal(tree)), signals = [...definition.keywords].filter(([, tree]) => isSignal(tree)).map(([key]) => key);
  if (names.includes("t")) throw new RuleError(`${name}: t comes last among the positional arguments, after the state slots`, definition);
  const unknown = [...declared.keys()].find((key) => !names.includes(key) && !definition.keywords.has(key));
  if (unknown) throw new RuleError(`${name}: '${unknown}' is declared, but no argument of that name exists`, definition);
  if (!isModifier) for (const [key, tree] of keywords) if (!tree) throw new RuleError(`${name}: hyperparameter ${key} needs a default`, definition);
  const known = library.about[name]?.hyperparameters ?? {}, tuples = new Map();
  const hyperparameters = keywords.filter(([, tree]) => tree).flatMap(([key, tree]) => {
    const standard = literal(tree), several = Array.isArray(standard);
    if (several) tuples.set(key, partsOf(key, standard.length));
    return (tuples.get(key) ?? [key]).map((part, i) => {
      const [meaning, low, high] = library.meanings[known[part] ?? library.shared[part]] ?? ["", null, null], value = several ? standard[i] : standard;
      return { name: part, default: value, low, high, meaning, isSwitch: typeof value === "boolean" };
    });
  });
  const groups = new Map(), slots = names.flatMap((slot) => {
    const tree = declared.get(slot);
    if (tree?.of?.name !== "several") return [slotOf(slot, tree)];
    const count = literal(tree.args[0]), parts = partsOf(slot, typeof count === "number" ? count : tuples.get(count)?.length ?? 0);
    if (!parts.length) throw new RuleError(`${name}: ${slot} has a slot for each of '${count}', which is not a hyperparameter of it that is a tuple`, definition);
    groups.set(slot, parts);
    return parts.map((part) => slotOf(part, tree.args[1]));
  });
  // What the function is called with: tuples in the place of their parts.
  const gathered = (state, h) => {
    const rest = [...state];
    return [
      ...names.map((slot) => [slot, groups.has(slot) ? rest.splice(0, groups.get(slot).length) : rest.shift()]),
      ...keywords.filter(([, tree]) => tree).map(([key]) => [key, tuples.has(key) ? tuples.get(key).map((each) => h[each]) : h[key]]),
    ];
  };
  const spread = (results) => results.flatMap((value, i) => {
    const parts = groups.get(names[i]);
    if (!parts) return [value];
    if (!Array.isArray(value) || value.length !== parts.length) throw new RuleError(`${name} returns, as ${names[i]}, ${Array.isArray(value) ? `a tuple of ${value.length}` : "something that is not a tuple"}; it must be a tuple of ${parts.length}`, definition.body.at(-1));
    return value;
  });
  const part = { name, definition, text, slots, hyperparameters, signals, takesT };
  if (!isModifier) {
    const call = (run, p, g, state, t, h) => {
      const environment = new Map([["p", p], ["g", g], ...gathered(state, h), ...(takesT ? [["t", t]] : []), ...signals.map((key) => [key, h[key] ?? null])]);
      const result = run.run(definition, environment, text, library.entries);
      if (result.length !== 1 + names.length) {
        throw new RuleError(`rule '${name}' returns ${result.length} value${result.length === 1 ? "" : "s"}; it must return ${1 + slots.length}: ${["p", ...slots.map((slot) => slot.name)].join(", ")}`, definition.body.at(-1));
      }
      return [result[0], ...spread(result.slice(1))];
    };
    return new Rule({ ...part, summary: library.about[name]?.summary ?? "", evaluated: library.about[name]?.evaluated ?? [], source: text, parts: [part], call, library });
  }
  const shared = keywords.filter(([, tree]) => !tree).map(([key]) => key);
  return { around: (inner) => {
    const missing = shared.find((key) => !inner.hyperparameters.some((h) => h.name === key) && !inner.signals.includes(key));
    if (missing) throw new RuleError(`${name}(${inner.name}): ${name} shares '${missing}', which ${inner.name} does not have`);
    if (inner.parts.some((each) => each.name === name)) throw new RuleError(`${name}(${inner.name}): ${name} is already part of ${inner.name}`);
    const clash = [...slots, ...hyperparameters].map((x) => x.name).sort().find((key) => [...inner.slots, ...inner.hyperparameters].some((x) => x.name === key));
    if (clash) throw new RuleError(`${name}(${inner.name}): ${inner.name} and ${name} both have '${clash}'; rename one of them, or leave one out`);
    const call = (run, p, g, state, t, h) => {
      const n = inner.slots.length;
      let held = state.slice(0, n);
      const step = (newP, newG, named) => {
        const changed = [...named ?? []].find(([key]) => !inner.signals.includes(key));
        if (changed) throw new RuleError(`step(${changed[0]}=...): ${inner.name} has no signal '${changed[0]}'`);
        const [next, ...rest] = inner.call(run, newP, newG, held, t, { ...h, ...Object.fromEntries(named ?? []) });
        held = rest;
        return next;
      };
      const environment = new Map([["step", step], ["p", p], ["g", g], ...gathered(state.slice(n), h), ...(takesT ? [["t", t]] : []), ...[...shared, ...signals].map((key) => [key, h[key] ?? null])]);
      const [next, ...own] = run.run(definition, environment, text, library.entries);
      return [next, ...held, ...spread(own)];
    };
    return new Rule({
      ...part, name: `${name}(${inner.name})`, summary: inner.summary, source: inner.source, text: inner.text, slots: [...inner.slots, ...slots], hyperparameters: [...inner.hyperparameters, ...hyperparameters],
      signals: [...new Set([...inner.signals, ...signals])], takesT: takesT || inner.takesT, evaluated: [...inner.evaluated, ...library.about[name]?.evaluated ?? []], parts: [part, ...inner.parts], call, library,
    });
  } };
}

function shownLiteral(tree) {
  const value = literal(tree);
  return Array.isArray(value) ? `(${plainNames(value)})` : value === null ? "None" : value === true ? "True" : value === false ? "False" : String(value);
}

export class Rule {
  constructor(fields) {
    Object.assign(this, fields);
  }

  named(name) {
    return new Rule({ ...this, name, summary: this.library.about[name]?.summary ?? this.summary });
  }

  with(set) {
    const unknown = Object.keys(set).find((key) => !this.hyperparameters.some((h) => h.name === key));
    if (unknown) throw new RuleError(`${this.name} has no hyperparameter ${unknown}`);
    return new Rule({ ...this, hyperparameters: this.hyperparameters.map((h) => h.name in set ? { ...h, default: set[h.name] } : h) });
  }

  // The rule for arrays of a shape. What `if` asks for is settled by these values.
  program(values = {}, { shape = [1] } = {}) {
    return new Program(this, { ...Object.fromEntries(this.hyperparameters.map((h) => [h.name, h.default])), ...values }, shape);
  }
}

