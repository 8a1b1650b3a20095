// A rule's function called with symbols: its syntax tree becomes a graph, and each operation is noted.

import { RuleError } from "./parser.js";
import { bound, partsOf, plain } from "./operations.js";

// What Python has for tuples.
const TUPLES = {
  tuple: (x) => [...x], list: (x) => [...x], len: (x) => x.length, reversed: (x) => [...x].reverse(),
  range: (...args) => {
    const [from, to] = args.length > 1 ? args.map(plain) : [0, plain(args[0])];
    return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
  },
  enumerate: (x) => x.map((each, i) => [i, each]),
  zip: (...all) => Array.from({ length: Math.min(...all.map((x) => x.length)) }, (_, i) => all.map((x) => x[i])),
};

const HINT = "; use only operators and ravine.ops";

export class Evaluation {
  // hyperparameters: name -> value now, which `if` may ask for.
  constructor(values, { hyperparameters = {}, signals = [] } = {}) {
    Object.assign(this, { values, hyperparameters, signals });
    values.described = (x) => this.described(values.lift(x));
    this.library = new Map(); // helpers and constants by name, of the text at hand
    this.noted = [];
    this.locals = []; // of each function of the rule, when it has returned
    this.asked = new Map(); // hyperparameters that decide an `if`
    this.text = null;
  }

  // Runs a function's body; what it returns, as a list.
  run(definition, environment, text, library) {
    const result = this.within(definition, environment, text, library);
    this.locals.push(environment);
    return Array.isArray(result) ? result : [result ?? null];
  }

  within(definition, environment, text, library) {
    const outer = { text: this.text, library: this.library };
    Object.assign(this, { text, library });
    const result = this.statements(definition.body, environment);
    return Object.assign(this, outer) && result;
  }

  statements(list, environment) {
    for (const each of list) {
      if (each.type === "assign") this.assign(each, environment);
      else if (each.type === "return") return each.value ? this.value(each.value, environment) : null;
      else if (each.type === "if") {
        const result = this.statements(this.truth(each.condition, environment) ? each.then : each.otherwise, environment);
        if (result !== undefined) return result;
      } else if (each.type === "for") {
        const found = this.value(each.of, environment);
        if (!Array.isArray(found)) throw new RuleError(found?.items ? this.refusal("a loop over elements", found) : `only tuples can be gone through${HINT}`, each);
        for (const value of found) {
          this.give(each.target, value, environment, each.of);
          const result = this.statements(each.body, environment);
          if (result !== undefined) return result;
        }
      } else throw new RuleError("this is not part of the rule language", each);
    }
    return undefined;
  }

  assign({ target, value, inPlace }, environment) {
    const result = this.value(value, environment);
    if (inPlace && result?.items?.some((item) => item.op !== "constant")) throw new RuleError(`an in-place operation would change the caller's array; write v = v + g instead of v += g`, target);
    this.give(target, result, environment, value);
  }

  // of: the node that the value is written as.
  give(target, result, environment, of) {
    if (target.type === "tuple") {
      if (!Array.isArray(result)) throw new RuleError(result?.items ? this.refusal("a loop over elements", result) : `cannot unpack non-iterable value${HINT}`, target);
      const { length } = target.items;
      if (result.length > length) throw new RuleError(`too many values to unpack (expected ${length})${HINT}`, target);
      if (result.length < length) throw new RuleError(`not enough values to unpack (expected ${length}, got ${result.length})${HINT}`, target);
      return target.items.forEach((each, i) => this.give(each, result[i], environment, of.type === "tuple" && of.items.length === length ? of.items[i] : of));
    }
    environment.set(target.name, result);
    const endColumn = of.endLine === target.line ? of.endColumn : target.endColumn;
    const several = Array.isArray(result), names = several ? partsOf(target.name, result.length) : [target.name];
    for (const [i, each] of (several ? result : [result]).entries()) {
      if (isValue(each)) this.note({ name: names[i], op: "assign", line: target.line, column: target.column, endColumn, of, value: this.values.lift(each) });
    }
  }

  note(each) {
    this.noted.push({ ...each, text: this.text });
  }

  truth(node, environment) {
    const value = this.value(node, environment);
    if (!value?.items) return Array.isArray(value) ? value.length > 0 : Boolean(value);
    const [item] = value.items;
    if (item.op === "constant") return item.value !== 0;
    if (this.named(item) in this.hyperparameters) {
      const name = this.named(item), on = this.hyperparameters[name];
      this.asked.set(name, Boolean(on));
      return Boolean(on);
    }
    const signal = this.signals.find((name) => this.named(item) === name);
    if (signal) throw new RuleError(`\`if\` (or and, or, not) on the value of the signal ${signal}; to ask whether a step is given it, write \`if ${signal} is not None\``, node);
    throw new RuleError(`\`if\` (or and, or, not) on ${this.described(value)}, which has no value while the rule is traced; write where(condition, x, y)`, node);
  }

  // The name of an input: p of p[0], v of s.v[0], hessian of x.hessian[0].
  named(item) {
    return item.op === "input" ? item.value.replace(/^[sx]\.|\[\d+\]$/g, "") : null;
  }

  // What a value is, for error messages.
  described({ shape, items: [item], reduced }) {
    if (this.named(item) && !(this.named(item) in this.hyperparameters)) return `the value of ${this.named(item)}`;
    const known = this.named(item) in this.hyperparameters, level = known ? 0 : item.level ?? (shape.length ? 2 : moves(item) ? 1 : 0), op = known ? "hyperparameter" : reduced ?? item.op;
    return `${["a value of this step", "a reduction", "an array"][level]} (${op})`;
  }

  refusal(what, value) {
    return `${what} needs numbers, but ${this.described(value)} is only a symbol while the rule is traced${HINT}`;
  }

  // The number that a hyperparameter has now.
  settled(x) {
    const name = x?.items && this.named(x.items[0]);
    return name in this.hyperparameters ? Number(this.hyperparameters[name]) : x;
  }

  value(node, environment) {
    try {
      return this.read(node, environment);
    } catch (error) {
      if (error instanceof RuleError && !error.line) Object.assign(error, { line: node.line, column: node.column });
      throw error;
    }
  }

  read(node, environment) {
    switch (node.type) {
      case "number": return typeof node.value === "number" ? this.values.number(node.value, node.whole) : node.value;
      case "name": return this.lookUp(node, environment);
      case "tuple": return node.items.flatMap((item) => item.type === "generator" ? this.each(item, environment) : [this.value(item, environment)]);
      case "generator": return this.each(node, environment);
      case "item": {
        const of = this.value(node.of, environment);
        if (!Array.isArray(of)) throw new RuleError(of?.items ? this.refusal("indexing", of) : "only tuples have items", node);
        const index = plain(this.value(node.index, environment));
        if (!Number.isInteger(index) || of.at(index) === undefined) throw new RuleError(`tuple index out of range${HINT}`, node);
        return of.at(index);
      }
      case "op": {
        const args = node.args.map((arg) => this.value(arg, environment));
        if (args.every((x) => typeof x === "number") && node.op !== "matmul") return this.values.each(node.op, ...args).items[0].value;
        if (args.some((x) => x === null)) throw new RuleError(this.withNone(node.op, args), node);
        const result = node.op === "matmul" ? this.values.matmul(...args) : this.values.each(node.op, ...args);
        this.note({ name: null, op: node.op, line: node.line, column: node.column, endColumn: node.endColumn, value: result });
        return result;
      }
      case "is": {
        const [a, b] = node.args.map((arg) => this.value(arg, environment));
        return a === b;
      }
      case "choice": return this.value(this.truth(node.condition, environment) ? node.then : node.otherwise, environment);
      case "logic": return this.truth(node.args[0], environment) === (node.op === "and") ? this.value(node.args[1], environment) : node.op === "or";
      case "not": return !this.truth(node.value, environment);
      case "call": return this.call(node, environment);
      case "string": return node.value;
      case "attribute":
        this.value(node.of, environment);
        throw new RuleError(`.${node.name} is not part of the rule language; use operators and ravine.ops`, node);
      default: throw new RuleError(`${node.type} is not part of the rule language; use operators and ravine.ops`, node);
    }
  }

  withNone(op, args) {
    const missing = this.signals.filter((name) => args.includes(null) && !(name in this.hyperparameters));
    return `None is no number in ${op}${missing.length ? `; the step is not given ${missing.join(", ")}` : ""}`;
  }

  lookUp(node, environment) {
    if (environment.has(node.name)) return environment.get(node.name);
    const known = this.library.get(node.name);
    if (known && "constant" in known) return this.value(known.constant, new Map());
    const close = [...environment.keys()].find((name) => near(name, node.name));
    throw new RuleError(`name '${node.name}' is not defined${HINT}`, node, close ? ` Did you mean: '${close}'?` : "");
  }

  each({ value, target, of }, environment) {
    const found = this.value(of, environment);
    if (!Array.isArray(found)) throw new RuleError(found?.items ? this.refusal("a loop over elements", found) : "only tuples can be gone through", of);
    return found.map((each) => {
      const inner = new Map(environment), { noted } = this;
      this.noted = [];
      this.give(target, each, inner, target);
      this.noted = noted;
      return this.value(value, inner);
    });
  }

  call(node, environment) {
    if (node.of.type !== "name") {
      this.value(node.of, environment);
      throw new RuleError("only functions with a name can be called", node);
    }
    const { name } = node.of, args = node.args.map((arg) => this.value(arg, environment));
    const named = new Map([...node.named].map(([key, arg]) => [key, this.value(arg, environment)]));
    if (["float", "int"].includes(name) && args[0]?.items) {
      const value = plain(args[0]);
      if (value === null) throw new RuleError(this.refusal(name === "int" ? "int()" : "float() or a function of math", args[0]), node);
      return this.values.number(name === "int" ? Math.trunc(value) : value, name === "int");
    }
    const own = environment.get(name);
    if (typeof own === "function") return own(...args, named);
    const helper = this.library.get(name);
    if (helper?.definition && !helper.call) return this.help(helper, name, args, named);
    const plainName = name.replace(/^_(?=[a-z])/, ""); // from ravine.ops import sum as _sum
    if (Array.isArray(args[0]) && TUPLES[plainName]) return this.tuples(plainName, args);
    if (plainName === "range" && args.length) return TUPLES.range(...args);
    if (plainName === "sum" && Array.isArray(args[0])) return args[0].length ? args[0].reduce((a, b) => this.values.each("add", a, b), this.values.number(0, true)) : 0;
    if (plainName === "newton_schulz" && !this.values.whole) { // as many steps are unrolled
      if (args.length > 5) args[5] = this.settled(args[5]);
      if (named.has("steps")) named.set("steps", this.settled(named.get("steps")));
    }
    const result = this.values.call(plainName, args, named);
    if (result === undefined) throw new RuleError(`name '${name}' is not defined${HINT}`, node.of);
    if (result?.items) this.note({ name: null, op: plainName, line: node.line, column: node.column, endColumn: node.endColumn, value: result });
    return result;
  }

  tuples(name, args) {
    if (!args.every(Array.isArray)) throw new RuleError(`${name}() takes tuples`);
    return TUPLES[name](...args);
  }

  help({ definition, text, library }, name, args, named) {
    const takes = definition.parameters.map((parameter) => ({ name: parameter, ...(definition.defaults.has(parameter) && { standard: null }) }));
    for (const [parameter, tree] of definition.keywords) takes.push({ name: parameter, only: true, ...(tree && { standard: null }) });
    const standards = new Map([...definition.defaults, ...definition.keywords]);
    const given = bound(name, takes, args, named), inner = new Map();
    takes.forEach((parameter, i) => {
      const isGiven = i < args.length || named.has(parameter.name);
      inner.set(parameter.name, isGiven ? given[i] : this.value(standards.get(parameter.name), new Map()));
    });
    const result = this.within(definition, inner, text, library);
    return result === undefined ? null : result;
  }
}

const isValue = (x) => typeof x === "number" || typeof x === "boolean" || Boolean(x?.items);

// One letter apart.
function near(a, b) {
  if (a === b || Math.abs(a.length - b.length) > 1 || (a.length === b.length && a.length < 3)) return false;
  const [short, long] = a.length <= b.length ? [a, b] : [b, a];
  for (let i = 0; i < long.length; i++) {
    if (short[i] === long[i]) continue;
    return short.length === long.length ? short.slice(i + 1) === long.slice(i + 1) : short.slice(i) === long.slice(i + 1);
  }
  return true;
}

// Whether a number depends on an array.
function moves(node, seen = new Set()) {
  if (seen.has(node)) return false;
  seen.add(node);
  return (node.op === "input" && /\[/.test(node.value) && !/^s\./.test(node.value)) || node.args.some((arg) => moves(arg, seen));
}
