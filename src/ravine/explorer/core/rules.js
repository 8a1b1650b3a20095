// Rules and modifiers from their text, and programs: a rule for a shape, ready to step.

import { compiled, Graph, needed, printed } from "./graph.js";
import { Evaluation } from "./evaluation.js";
import { mathml } from "./equations.js";
import { parse, parseExpression, RuleError } from "./parser.js";
import { pythonOf } from "./python.js";
import { array, Values } from "./values.js";

// The rules, modifiers and helpers of some texts. `about`: what hyperparameters mean, by rule, then by name.
export class Library {
  constructor({ entries = new Map(), about = {} } = {}) {
    this.entries = entries;
    this.about = about;
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
  const entries = new Map(library.entries), made = new Library({ entries, about: library.about });
  for (const each of parse(text)) {
    if (each.type === "assign" && each.target.type === "name") entries.set(each.target.name, { alias: each.value });
    else if (each.type === "def") entries.set(each.name, defined(each, text, made));
    else throw new RuleError("a rule begins with def name(p, g, ..., *, lr=...):", each);
  }
  return made;
}

function literal(tree) {
  if (!tree) return null;
  if (tree.type === "number" || tree.type === "string") return tree.value;
  if (tree.type === "name") return tree.name;
  if (tree.type === "op") {
    const args = tree.args.map(literal), known = { neg: (a) => -a, pow: (a, b) => a ** b, div: (a, b) => a / b, mul: (a, b) => a * b, sub: (a, b) => a - b, add: (a, b) => a + b }[tree.op];
    if (known && args.every((x) => typeof x === "number")) return known(...args);
  }
  throw new RuleError("the default of a hyperparameter is a number, True or False", tree);
}

// How a slot is declared: b=scalar(1.0), p0=like_p, eta=filled("lr"); zeros without.
function slotOf(name, tree) {
  if (!tree) return { name, kind: "array", value: 0 };
  if (tree.type === "name" && tree.name === "like_p") return { name, kind: "like_p" };
  const kind = { scalar: "scalar", shared: "scalar", filled: "array", zeros: "array" }[tree.of?.name];
  if (!kind || (tree.of.name === "zeros" && tree.args.length)) throw new RuleError(`slot ${name} is declared in a way that this page does not know`, tree);
  return { name, kind, value: tree.args.length ? literal(tree.args[0]) : 0 };
}

function defined(definition, text, library) {
  const head = definition.decorators.at(-1), kind = head?.of?.name ?? head?.name;
  const { name, parameters } = definition, declared = head?.named ?? new Map();
  if (kind !== "modifier" && kind !== "rule" && parameters[0] !== "p" && !definition.keywords.size) return { definition, text };
  const isModifier = kind === "modifier", leading = isModifier ? ["step", "p", "g"] : ["p", "g"];
  if (leading.some((word, i) => parameters[i] !== word)) {
    throw new RuleError(`${name}(${parameters.join(", ")}, ...): the first arguments must be ${leading.join(", ")}, then the state slots, then t if it is used; hyperparameters come after a *`, definition);
  }
  let names = parameters.slice(leading.length);
  const takesT = names.at(-1) === "t";
  if (takesT) names = names.slice(0, -1);
  if (names.includes("t")) throw new RuleError(`${name}: t comes last among the positional arguments, after the state slots`, definition);
  const slots = names.map((slot) => slotOf(slot, declared.get(slot))), keywords = [...definition.keywords];
  if (!isModifier) for (const [key, tree] of keywords) if (!tree) throw new RuleError(`${name}: hyperparameter ${key} needs a default`, definition);
  const known = library.about[name]?.hyperparameters ?? {};
  const hyperparameters = keywords.filter(([, tree]) => tree).map(([key, tree]) => {
    const [meaning, low, high] = known[key] ?? library.about[""]?.[key] ?? ["", null, null], standard = literal(tree);
    return { name: key, default: standard, low, high, meaning, isSwitch: typeof standard === "boolean" };
  });
  const part = { name, definition, text, slots, hyperparameters, takesT };
  if (!isModifier) {
    const call = (run, p, g, state, t, h) => {
      const environment = new Map([["p", p], ["g", g], ...names.map((slot, i) => [slot, state[i]]), ...(takesT ? [["t", t]] : []), ...hyperparameters.map((x) => [x.name, h[x.name]])]);
      const result = run.run(definition, environment, text);
      if (result.length !== 1 + names.length) {
        throw new RuleError(`rule '${name}' returns ${result.length} value${result.length === 1 ? "" : "s"}; it must return ${1 + names.length}: ${["p", ...names].join(", ")}`, definition.body.at(-1));
      }
      return result;
    };
    return new Rule({ ...part, summary: library.about[name]?.summary ?? "", source: text, parts: [part], call, library });
  }
  const shared = keywords.filter(([, tree]) => !tree).map(([key]) => key);
  return { around: (inner) => {
    const missing = shared.filter((key) => !inner.hyperparameters.some((h) => h.name === key));
    if (missing.length) throw new RuleError(`${name}: ${name} shares ${missing}, which ${inner.name} has not`);
    const clash = [...names, ...hyperparameters.map((h) => h.name)].find((key) => [...inner.slots, ...inner.hyperparameters].some((x) => x.name === key));
    if (clash) throw new RuleError(`${name}: ${inner.name} has ${clash} already, and ${name} has another; leave one out`);
    const call = (run, p, g, state, t, h) => {
      const n = inner.slots.length;
      let held = state.slice(0, n);
      const step = (newP, newG) => {
        const [next, ...rest] = inner.call(run, newP, newG, held, t, h);
        held = rest;
        return next;
      };
      const environment = new Map([["step", step], ["p", p], ["g", g], ...names.map((slot, i) => [slot, state[n + i]]), ["t", t], ...[...shared, ...hyperparameters.map((x) => x.name)].map((key) => [key, h[key]])]);
      const [next, ...own] = run.run(definition, environment, text);
      return [next, ...held, ...own];
    };
    return new Rule({ ...part, name: `${name}(${inner.name})`, summary: inner.summary, source: inner.source, text: inner.text, slots: [...inner.slots, ...slots], hyperparameters: [...inner.hyperparameters, ...hyperparameters], parts: [part, ...inner.parts], call, library });
  } };
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

class Program {
  constructor(rule, values, shape) {
    Object.assign(this, { rule, settled: values, shape, count: shape.reduce((a, b) => a * b, 1) });
    const { outputs, run } = this.traced();
    this.noted = run.noted;
    this.outputs = outputs;
    this.stepping = this.code(outputs);
  }

  // The rule called with symbols: for each element, or, for printing, for arrays as they are.
  traced(whole = false) {
    const { rule } = this, graph = new Graph(), values = new Values(graph, { whole });
    const run = new Evaluation(values, { hyperparameters: this.settled, functions: new Map([...rule.library.entries].filter(([, entry]) => entry.definition && !entry.call)) });
    const symbol = (name, full) => array(full ? this.shape : [], Array.from({ length: full && !whole ? this.count : 1 }, (_, i) => graph.input(whole ? name : full ? `${name}[${i}]` : `${name}[0]`)));
    const h = Object.fromEntries(rule.hyperparameters.map((x) => [x.name, x.isSwitch ? Boolean(this.settled[x.name]) : array([], [graph.input(x.name)])]));
    const state = rule.slots.map((slot) => symbol(whole ? slot.name : `s.${slot.name}`, slot.kind !== "scalar"));
    const results = rule.call(run, symbol("p", true), symbol("g", true), state, array([], [graph.input("t")]), h);
    const outputs = ["p", ...rule.slots.map((slot) => slot.name)].map((name, i) => {
      const value = values.lift(results[i]), full = i === 0 || rule.slots[i - 1].kind !== "scalar";
      if (!full && value.shape.length) throw new RuleError(`rule '${rule.name}': the new ${name} is an array, but ${name} is declared a scalar`);
      const wanted = full ? this.shape : [];
      return [name, value.shape.length === wanted.length ? value : values.each("add", value, array(wanted, Array.from({ length: full && !whole ? this.count : 1 }, () => graph.constant(0))))];
    });
    return { outputs, run, graph };
  }

  code(outputs) {
    const { lines, word } = printed(outputs.flatMap(([, value]) => value.items));
    const arrays = outputs.map(([name, { items }]) => `${name}: Float64Array.of(${items.map(word).join(", ")})`);
    return `${this.constants()}${lines.join("\n")}\nreturn { p: ${arrays[0].slice(3)}, state: { ${arrays.slice(1).join(", ")} } };`;
  }

  constants() {
    const names = this.rule.hyperparameters.filter((h) => !h.isSwitch).map((h) => h.name);
    return names.length ? `const { ${names.join(", ")} } = h;\n` : "";
  }

  start(p, values = this.settled) {
    return Object.fromEntries(this.rule.slots.map(({ name, kind, value }) => {
      const first = typeof value === "string" ? values[value] : value;
      return [name, kind === "like_p" ? Float64Array.from(p) : new Float64Array(kind === "scalar" ? 1 : this.count).fill(first)];
    }));
  }

  step(p, g, state, t, values = this.settled) {
    this.running ??= compiled("p, g, s, t, h", this.stepping);
    return this.running(p, g, state, t, values);
  }

  // Many paths over a loss: `starts` holds a start after the other. Where they are after so many steps; or, with
  // `targets`, the step at which each first comes as near as `near` to its own, and 0 where it never does.
  // All is held in locals, and what depends on t and the hyperparameters alone is computed once.
  paths({ loss, constants, starts, steps, values = this.settled, targets = null, near = 0 }) {
    this.walking ??= new Map();
    if (!this.walking.has(loss)) this.walking.set(loss, compiled("starts, targets, near, steps, h, c", this.loop(loss)));
    return this.walking.get(loss)(starts, targets, near, steps, values, constants);
  }

  loop({ slopes }) {
    const roots = this.outputs.flatMap(([, { items }]) => items), nodes = needed(roots), moving = new Set();
    for (const node of nodes) if ((node.op === "input" && /[[]/.test(node.value)) || node.args.some((arg) => moving.has(arg))) moving.add(node);
    const still = [...new Set(nodes.filter((node) => moving.has(node)).flatMap((node) => node.args).concat(roots))].filter((node) => !moving.has(node) && node.op !== "constant");
    const table = printed(still), given = new Map(still.map((node, i) => [node, `k${i}`]));
    const { lines, word } = printed(roots, { given });
    const local = (text) => text.replace(/\b(p|g|s\.\w+)\[(\d+)\]/g, (_, name, i) => `${name.replace(".", "_")}_${i}`);
    const n = this.count, each = (what) => Array.from({ length: n }, (_, i) => what(i)).join(" "), w = still.length;
    const slots = this.rule.slots.flatMap(({ name, kind, value }) => Array.from({ length: kind === "scalar" ? 1 : n }, (_, i) => `let s_${name}_${i} = ${kind === "like_p" ? `p_${i}` : typeof value === "string" ? value : value};`));
    const targets = this.outputs.flatMap(([name, { items }], k) => items.map((item, i) => [k ? `s_${name}_${i}` : `p_${i}`, local(word(item))]));
    return `${this.constants()}const T = new Float64Array(${w} * (steps + 1)), ends = new Float64Array(targets ? starts.length / ${n} : starts.length);
for (let t = 1; t <= steps; t++) {
${table.lines.join("\n")}
${still.map((node, i) => `T[${w} * t + ${i}] = ${table.word(node)};`).join("\n")}
}
for (let k = 0; k < starts.length; k += ${n}) {
${each((i) => `let p_${i} = starts[k + ${i}];`)}
${slots.join("\n")}
for (let t = 1; t <= steps; t++) {
${still.map((_, i) => `const k${i} = T[${w} * t + ${i}];`).join(" ")}
${slopes.lines.map(local).join("\n")}
${slopes.words.map((text, i) => `const g_${i} = ${local(text)};`).join(" ")}
${lines.map(local).join("\n")}
${targets.map(([, text], i) => `const o${i} = ${text};`).join(" ")}
${targets.map(([name], i) => `${name} = o${i};`).join(" ")}
if (targets && ${Array.from({ length: n }, (_, i) => `Math.abs(p_${i} - targets[k + ${i}]) < near`).join(" && ")}) { ends[k / ${n}] = t; break; }
}
if (!targets) { ${each((i) => `ends[k + ${i}] = p_${i};`)} }
}
return ends;`;
  }

  // Every assignment and operation in order, with its value and its place in the source.
  trace(p, g, state, t, values = this.settled) {
    if (!this.tracing) {
      const { lines, word } = printed(this.noted.flatMap(({ value }) => value.items));
      this.tracing = compiled("p, g, s, t, h", `${this.constants()}${lines.join("\n")}\nreturn [${this.noted.map(({ value }) => `[${value.items.map(word).join(", ")}]`).join(", ")}];`);
    }
    return this.tracing(p, g, state, t, values).map((items, i) => {
      const { value, ...place } = this.noted[i];
      return { ...place, value: value.shape.length ? Float64Array.from(items) : items[0] };
    });
  }

  javascript() {
    return `function step(p, g, s, t, h) {\n${this.stepping.replace(/^/gm, "  ")}\n}`;
  }

  python() {
    const { outputs, run } = this.traced(true);
    return pythonOf(this.rule, outputs, run.names);
  }

  equations() {
    return this.rule.parts.map(({ definition }) => mathml(definition, this.settled)).join("");
  }
}
