// A rule's function called with symbols: its syntax tree becomes a graph, and each operation is noted.

import { RuleError } from "./parser.js";
import { NAMES } from "./values.js";

export class Evaluation {
  // hyperparameters: name -> value now, which `if` may ask for. functions: name -> definition of a helper.
  constructor(values, { hyperparameters, functions }) {
    this.values = values;
    this.hyperparameters = hyperparameters;
    this.functions = functions;
    this.noted = [];
    this.names = new Map();
    this.text = null;
  }

  // Runs a function's body; what it returns, as a list.
  run(definition, environment, text) {
    const outer = this.text;
    this.text = text;
    const result = this.statements(definition.body, environment);
    this.text = outer;
    if (result === undefined) throw new RuleError(`${definition.name} returns nothing`, definition);
    return Array.isArray(result) ? result : [result];
  }

  statements(list, environment) {
    for (const each of list) {
      if (each.type === "assign") this.assign(each, environment);
      else if (each.type === "return") return each.value ? this.value(each.value, environment) : null;
      else if (each.type === "if") {
        const result = this.statements(this.truth(each.condition, environment) ? each.then : each.otherwise, environment);
        if (result !== undefined) return result;
      } else throw new RuleError("this is not part of the rule language", each);
    }
    return undefined;
  }

  assign({ target, value }, environment) {
    const result = this.value(value, environment);
    const targets = target.type === "tuple" ? target.items : [target], results = target.type === "tuple" ? result : [result];
    if (!Array.isArray(results) || results.length !== targets.length) throw new RuleError(`${targets.length} names for ${Array.isArray(results) ? results.length : 1} values`, target);
    targets.forEach(({ name }, i) => {
      environment.set(name, results[i]);
      if (!isValue(results[i])) return;
      const known = this.values.lift(results[i]);
      for (const node of known.items) if (node.args.length && !this.names.has(node)) this.names.set(node, name);
      this.note({ name, op: "assign", line: target.line, column: target.column, endColumn: value.endLine === target.line ? value.endColumn : target.endColumn, value: known });
    });
  }

  note(each) {
    this.noted.push({ ...each, text: this.text });
  }

  truth(node, environment) {
    const value = this.value(node, environment);
    if (!value?.items) return Boolean(value);
    const [item] = value.items;
    if (item.op === "constant") return item.value !== 0;
    if (item.op === "input" && item.value in this.hyperparameters) return Boolean(this.hyperparameters[item.value]);
    throw new RuleError("`if` on a value that is not known while the rule is made into a kernel; write where(condition, x, y)", node);
  }

  // The number that a hyperparameter has now.
  settled(x) {
    const item = x?.items?.[0];
    return item?.op === "input" && item.value in this.hyperparameters ? Number(this.hyperparameters[item.value]) : x;
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
      case "number": return node.value;
      case "name": {
        if (environment.has(node.name)) return environment.get(node.name);
        const close = [...environment.keys()].find((name) => near(name, node.name));
        throw new RuleError(`${node.name} has no value here${close ? `; did you mean ${close}?` : ""}`, node);
      }
      case "tuple": return node.items.map((item) => this.value(item, environment));
      case "op": {
        const args = node.args.map((arg) => this.value(arg, environment));
        if (args.every((x) => typeof x === "number") && node.op !== "matmul") return this.values.each(node.op, ...args).items[0].value;
        const result = node.op === "matmul" ? this.values.matmul(...args) : this.values.each(node.op, ...args);
        this.note({ name: null, op: node.op, line: node.line, column: node.column, endColumn: node.endColumn, value: result });
        return result;
      }
      case "choice": return this.value(this.truth(node.condition, environment) ? node.then : node.otherwise, environment);
      case "logic": return this.truth(node.args[0], environment) === (node.op === "and") ? this.value(node.args[1], environment) : node.op === "or";
      case "not": return !this.truth(node.value, environment);
      case "call": return this.call(node, environment);
      case "string": return node.value;
      default: throw new RuleError(`.${node.name ?? node.type} is not part of the rule language; use operators and ravine.ops`, node);
    }
  }

  call(node, environment) {
    if (node.of.type !== "name") throw new RuleError("only functions with a name can be called", node);
    const { name } = node.of, args = node.args.map((arg) => this.value(arg, environment));
    const named = new Map([...node.named].map(([key, arg]) => [key, this.value(arg, environment)]));
    const own = environment.get(name);
    if (typeof own === "function") return own(...args);
    if (this.functions.has(name)) {
      const { definition, text } = this.functions.get(name), inner = new Map();
      definition.parameters.forEach((parameter, i) => inner.set(parameter, args[i] ?? named.get(parameter)));
      const result = this.run(definition, inner, text);
      return result.length === 1 ? result[0] : result;
    }
    const plain = name.replace(/^_(?=[a-z])/, ""); // from ravine.ops import sum as _sum
    if (!NAMES.includes(plain)) throw new RuleError(`${name} cannot be called in a rule; there are ${NAMES.join(", ")}`, node.of);
    if (plain === "newton_schulz" && args[5]) args[5] = this.settled(args[5]); // as many steps are unrolled
    const result = this.values.call(plain, args, named);
    if (result?.items) this.note({ name: null, op: plain, line: node.line, column: node.column, endColumn: node.endColumn, value: result });
    return result;
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
