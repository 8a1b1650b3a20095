// Many paths of a program over a loss, in one loop: for basins.
//
// What depends on t and the hyperparameters alone is computed once, in a table; all else is held in locals. Like
// that, JavaScript is as fast as WebAssembly, which would need a printer of its own.

import { compiled, needed, printed } from "./graph.js";
import { count } from "./values.js";

export class Paths {
  constructor(program, { along }, { flip = false } = {}) {
    const roots = program.outputs.flatMap(([, { items }]) => items), nodes = needed(roots), moving = new Set();
    for (const node of nodes) if ((node.op === "input" && /[[]/.test(node.value)) || node.args.some((arg) => moving.has(arg))) moving.add(node);
    const still = [...new Set(nodes.filter((node) => moving.has(node)).flatMap((node) => node.args).concat(roots))].filter((node) => !moving.has(node) && node.op !== "constant");
    Object.assign(this, { program, roots, still, flip, gradient: along.gradient, diagonal: program.bent ? along.diagonal() : [] });
    // The state's numbers: what each starts at, a number, the name of a hyperparameter or a coordinate of p.
    this.slots = program.rule.slots.flatMap((slot) => {
      const shape = program.shapeOf(slot), diagonal = (i) => slot.square === undefined || i % (shape[0] + 1) === 0;
      return Array.from({ length: count(shape) }, (_, i) => [`s.${slot.name}[${i}]`, slot.kind === "like_p" ? i : null, diagonal(i) ? slot.value : 0]);
    });
    const { lines, word } = printed(still);
    this.table = compiled("steps, h, x", `${program.constants()}const T = new Float64Array(${still.length} * (steps + 1));
for (let t = 1; t <= steps; t++) {
${lines.join("\n")}
${still.map((node, i) => `T[${still.length} * t + ${i}] = ${word(node)};`).join("\n")}
}
return T;`);
    this.walk = this.loop();
  }

  // `starts` holds a start after the other. Where they are after so many steps; or, with `targets`, the step at
  // which each first comes as near as `near` to its own, and 0 where it never does.
  run({ starts, steps, values, constants = {}, targets = null, near = 0, seed = 0 }) {
    const n = this.program.count, first = this.slots.map(([, , value]) => typeof value === "string" ? values[value] : value ?? 0);
    const ends = new Float64Array(targets ? starts.length / n : starts.length);
    this.walk(starts, targets, ends, near, steps, this.table(steps, values, { seed }), first, constants);
    return ends;
  }

  loop() {
    const n = this.program.count, each = (what, length = n) => Array.from({ length }, (_, i) => what(i)).join("\n"), w = this.still.length;
    const local = (text) => text.replace(/\b(p|g|[sx]\.\w+)\[(\d+)\]/g, (_, name, i) => `${name.replace(".", "_")}_${i}`);
    const { lines, word } = printed(this.roots, { given: new Map(this.still.map((node, i) => [node, `k${i}`])) });
    const slopes = printed([...this.gradient, ...this.diagonal], { prefix: "l" }), names = [...Array.from({ length: n }, (_, i) => `p[${i}]`), ...this.slots.map(([name]) => name)].map(local);
    return compiled("starts, targets, ends, near, steps, T, first, c", `for (let k = 0; k < starts.length; k += ${n}) {
${each((i) => `let p_${i} = starts[k + ${i}];`)}
${this.slots.map(([name, at], i) => `let ${local(name)} = ${at === null ? `first[${i}]` : `p_${at}`};`).join("\n")}
for (let t = 1; t <= steps; t++) {
${each((i) => `const k${i} = T[${w} * t + ${i}];`, w)}
${slopes.lines.map(local).join("\n")}
${this.gradient.map((node, i) => `const g_${i} = ${this.flip ? "-" : ""}(${local(slopes.word(node))});`).join("\n")}
${this.diagonal.map((node, i) => `const x_hessian_${i} = ${local(slopes.word(node))};`).join("\n")}
${lines.map(local).join("\n")}
${this.roots.map((node, i) => `const o${i} = ${local(word(node))};`).join("\n")}
${names.map((name, i) => `${name} = o${i};`).join("\n")}
if (targets && ${Array.from({ length: n }, (_, i) => `Math.abs(p_${i} - targets[k + ${i}]) < near`).join(" && ")}) { ends[k / ${n}] = t; break; }
}
if (!targets) { ${each((i) => `ends[k + ${i}] = p_${i};`)} }
}`);
  }
}
