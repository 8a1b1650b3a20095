// A graph of numbers: each node is computed once, however often it is named. Arrays are lists of nodes.

import * as draws from "./draws.js";

const mod = (x, y) => x - Math.floor(x / y) * y;
const round = (x) => Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);

// What each operation is, on numbers, and as JavaScript.
export const OPERATIONS = {
  add: [(a, b) => a + b, (a, b) => `${a} + ${b}`],
  sub: [(a, b) => a - b, (a, b) => `${a} - ${b}`],
  mul: [(a, b) => a * b, (a, b) => `${a} * ${b}`],
  div: [(a, b) => a / b, (a, b) => `${a} / ${b}`],
  neg: [(a) => -a, (a) => `-${a}`],
  mod: [mod, (a, b) => `F.mod(${a}, ${b})`],
  pow: [(a, b) => b === 2 ? a * a : a ** b, (a, b) => b === "2" ? `${a} * ${a}` : `Math.pow(${a}, ${b})`],
  lt: [(a, b) => Number(a < b), (a, b) => `+(${a} < ${b})`],
  le: [(a, b) => Number(a <= b), (a, b) => `+(${a} <= ${b})`],
  gt: [(a, b) => Number(a > b), (a, b) => `+(${a} > ${b})`],
  ge: [(a, b) => Number(a >= b), (a, b) => `+(${a} >= ${b})`],
  eq: [(a, b) => Number(a === b), (a, b) => `+(${a} === ${b})`],
  ne: [(a, b) => Number(a !== b), (a, b) => `+(${a} !== ${b})`],
  where: [(c, a, b) => c ? a : b, (c, a, b) => `${c} ? ${a} : ${b}`],
  maximum: [Math.max, (a, b) => `Math.max(${a}, ${b})`],
  minimum: [Math.min, (a, b) => `Math.min(${a}, ${b})`],
  atan2: [Math.atan2, (a, b) => `Math.atan2(${a}, ${b})`],
  round: [round, (a) => `F.round(${a})`],
};
for (const name of ["sqrt", "abs", "sign", "exp", "log", "tanh", "sin", "cos", "floor"]) OPERATIONS[name] = [Math[name], (a) => `Math.${name}(${a})`];

for (const name of ["normal", "uniform"]) OPERATIONS[name] = [draws[name], (...all) => `F.${name}(${all.join(", ")})`];

const FUNCTIONS = { mod, round, ...draws };

export class Graph {
  constructor() {
    this.nodes = [];
    this.known = new Map();
  }

  node(op, args = [], value = null) {
    const key = `${op}|${args.map((a) => a.index)}|${Object.is(value, -0) ? "-0" : value}`;
    let found = this.known.get(key);
    if (!found) {
      found = { op, args, value, index: this.nodes.length };
      this.nodes.push(found);
      this.known.set(key, found);
    }
    return found;
  }

  constant(value) {
    return this.node("constant", [], Number(value));
  }

  input(text) {
    return this.node("input", [], text);
  }

  apply(op, ...args) {
    if (args.every((a) => a.op === "constant")) return this.constant(OPERATIONS[op][0](...args.map((a) => a.value)));
    return this.node(op, args);
  }
}

// Nodes that the roots need, in an order in which they can be computed. `known`: nodes at which to stop.
export function needed(roots, known = new Map()) {
  const seen = new Set(), stack = [...roots];
  while (stack.length) {
    const node = stack.pop();
    if (!seen.has(node)) {
      seen.add(node);
      if (!known.has(node)) stack.push(...node.args);
    }
  }
  return [...seen].sort((a, b) => a.index - b.index);
}

// Statements that compute the roots, and the words for each node. `given`: words for nodes that are known.
export function printed(roots, { prefix = "n", given = new Map() } = {}) {
  const words = new Map(given), lines = [];
  for (const node of needed(roots, given)) {
    if (given.has(node)) continue;
    if (node.op === "constant") words.set(node, node.value < 0 || Object.is(node.value, -0) ? `(${node.value})` : String(node.value));
    else if (node.op === "input") words.set(node, node.value);
    else {
      lines.push(`const ${prefix}${node.index} = ${OPERATIONS[node.op][1](...node.args.map((a) => words.get(a)))};`);
      words.set(node, `${prefix}${node.index}`);
    }
  }
  return { lines, word: (node) => words.get(node) };
}

export const compiled = (parameters, body) => new Function("F", `"use strict"; return (${parameters}) => {\n${body}\n};`)(FUNCTIONS);

// d root / d each input, as nodes of the same graph: backwards through it.
export function derivatives(graph, root, inputs) {
  const bars = new Map([[root, graph.constant(1)]]), zero = graph.constant(0), op = (...all) => graph.apply(...all);
  const times = (a, b) => isOne(a) ? b : isOne(b) ? a : op("mul", a, b);
  const isOne = (a) => a.op === "constant" && a.value === 1;
  const give = (node, bar) => bars.set(node, bars.has(node) ? op("add", bars.get(node), bar) : bar);
  for (const node of needed([root]).reverse()) {
    const bar = bars.get(node);
    if (!bar || !node.args.length) continue;
    const [a, b, c] = node.args, two = graph.constant(2), one = graph.constant(1);
    const rules = {
      add: () => { give(a, bar); give(b, bar); },
      sub: () => { give(a, bar); give(b, op("neg", bar)); },
      mul: () => { give(a, times(bar, b)); give(b, times(bar, a)); },
      div: () => { give(a, op("div", bar, b)); give(b, op("neg", op("div", times(bar, node), b))); },
      neg: () => give(a, op("neg", bar)),
      pow: () => {
        if (b.op === "constant" && b.value === 2) return give(a, times(bar, op("mul", two, a)));
        give(a, times(bar, op("mul", b, op("pow", a, op("sub", b, one)))));
        if (b.op !== "constant") give(b, times(bar, op("mul", node, op("log", a))));
      },
      sqrt: () => give(a, op("div", bar, op("mul", two, node))),
      exp: () => give(a, times(bar, node)),
      log: () => give(a, op("div", bar, a)),
      sin: () => give(a, times(bar, op("cos", a))),
      cos: () => give(a, op("neg", times(bar, op("sin", a)))),
      tanh: () => give(a, times(bar, op("sub", one, op("mul", node, node)))),
      abs: () => give(a, times(bar, op("sign", a))),
      atan2: () => {
        const square = op("add", op("mul", a, a), op("mul", b, b));
        give(a, op("div", times(bar, b), square));
        give(b, op("neg", op("div", times(bar, a), square)));
      },
      where: () => { give(b, op("where", a, bar, zero)); give(c, op("where", a, zero, bar)); },
      maximum: () => { give(a, op("where", op("ge", a, b), bar, zero)); give(b, op("where", op("ge", a, b), zero, bar)); },
      minimum: () => { give(a, op("where", op("le", a, b), bar, zero)); give(b, op("where", op("le", a, b), zero, bar)); },
    };
    rules[node.op]?.(); // the others are flat
  }
  return inputs.map((input) => bars.get(input) ?? zero);
}
