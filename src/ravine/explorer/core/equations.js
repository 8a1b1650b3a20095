// A rule's equations as MathML, from its syntax tree, with the letters that papers use.

const LETTERS = {
  p: "θ", lr: "η", alpha: "α", beta: "β", eps: "ε", rho: "ρ", lambd: "λ", weight_decay: "λ", momentum: "μ", gamma: "γ", mu: "μ", eta: "η",
  dampening: "τ", theta: "θ", zeta: "ζ", nu: "ν", sigma: "σ", delta: "δ", kappa: "κ", omega: "ω", phi: "φ",
};
const SIGNS = { add: "+", sub: "−", lt: "<", le: "≤", gt: ">", ge: "≥", eq: "=", ne: "≠", mod: "mod", matmul: "" };
const LEVELS = { lt: 0, le: 0, gt: 0, ge: 0, eq: 0, ne: 0, add: 1, sub: 1, mul: 2, mod: 2, matmul: 2, neg: 2, div: 4, pow: 4 };

const ASKED = { lt: (a, b) => a < b, le: (a, b) => a <= b, gt: (a, b) => a > b, ge: (a, b) => a >= b, eq: (a, b) => a === b, ne: (a, b) => a !== b };

const mo = (sign, more = "") => `<mo${more}>${sign.replace("<", "&lt;").replace(">", "&gt;")}</mo>`;
const row = (...parts) => `<mrow>${parts.join("")}</mrow>`;

export function letter(name) {
  const [, base, digits = "", suffix = ""] = name.match(/^([^\W\d]+?)(\d*)(?:_(hat|bar|max|min|new|old|next|first|mean|sum|product|\w+))?$/u) ?? [null, name];
  const known = LETTERS[name] ?? LETTERS[base];
  const core = known ? `<mi>${known}</mi>` : base.length === 1 ? `<mi>${base}</mi>` : `<mi mathvariant="normal">${(LETTERS[name] ? "" : name).replaceAll("_", " ") || base}</mi>`;
  if (!known && base.length > 1) return core;
  if (LETTERS[name]) return core;
  const numbered = digits ? `<msub>${core}<mn>${digits}</mn></msub>` : core;
  if (suffix === "hat") return `<mover accent="true">${numbered}<mo>^</mo></mover>`;
  if (suffix === "bar") return `<mover accent="true">${numbered}<mo>¯</mo></mover>`;
  return suffix ? `<msub>${numbered}<mtext>${suffix.replaceAll("_", " ")}</mtext></msub>` : numbered;
}

function shown(node, level = 0) {
  const [text, own] = read(node);
  return own < level ? row(mo("("), text, mo(")")) : text;
}

function read(node) {
  if (node.type === "number") return [`<mn>${node.value === null ? "None" : String(node.value).replace("e-", "e−")}</mn>`, 9];
  if (node.type === "name") return [letter(node.name), 9];
  if (node.type === "tuple") return [row(mo("("), node.items.map((x) => shown(x)).join(mo(",")), mo(")")), 9];
  if (node.type === "not") return [row("<mtext>not&#xa0;</mtext>", shown(node.value)), 0];
  if (node.type === "logic") return [row(shown(node.args[0]), `<mtext>&#xa0;${node.op}&#xa0;</mtext>`, shown(node.args[1])), 0];
  if (node.type === "choice") return [cases([[node.then, node.condition], [node.otherwise, null]]), 9];
  if (node.type === "op") return operation(node);
  if (node.type === "call") return called(node);
  if (node.type === "generator") return [row(shown(node.value), "<mtext>&#xa0;for each&#xa0;</mtext>", given(node.target)), 0];
  if (node.type === "item") return [`<msub>${shown(node.of, 9)}${row(shown(node.index))}</msub>`, 9];
  if (node.type === "is") return [row(shown(node.args[0]), "<mtext>&#xa0;is&#xa0;</mtext>", shown(node.args[1])), 0];
  return ["<mtext>…</mtext>", 9];
}

// What is given a value: a name, or several.
const given = (target) => target.type === "tuple" ? row(target.items.map(given).join(mo(","))) : letter(target.name);

function operation({ op, args: [a, b] }) {
  if (op === "neg") return [row(mo("−"), shown(a, 2)), 1];
  if (op === "div") return [`<mfrac>${row(shown(a))}${row(shown(b))}</mfrac>`, 4];
  if (op === "pow") return [`<msup>${row(shown(a, 5))}${row(shown(b))}</msup>`, 5];
  if (op === "mul") {
    const parts = shown(a, 2) + shown(b, 2), sign = read(b)[0].startsWith("<mn") || parts.includes("normal") ? mo("·") : mo("&#x2062;");
    return [row(shown(a, 2), sign, shown(b, 2)), 2];
  }
  return [row(shown(a, LEVELS[op]), mo(SIGNS[op]), shown(b, LEVELS[op] + (op === "sub" ? 1 : 0))), LEVELS[op]];
}

const cases = (list) => row(mo("{"), `<mtable columnalign="left left" columnspacing="1em">${list.map(([value, condition]) => `<mtr><mtd>${shown(value)}</mtd><mtd>${condition ? row("<mtext>if&#xa0;</mtext>", shown(condition)) : "<mtext>otherwise</mtext>"}</mtd></mtr>`).join("")}</mtable>`);

function called({ of, args }) {
  const name = of.name?.replace(/^_/, "") ?? "…", [a] = args;
  if (name === "tuple") return [row(mo("("), shown(a), mo(")")), 9];
  if (name === "sqrt") return [`<msqrt>${shown(a)}</msqrt>`, 9];
  if (name === "abs") return [row(mo("|"), shown(a), mo("|")), 9];
  if (name === "norm") return [row(mo("‖"), shown(a), mo("‖")), 9];
  if (name === "where") return [cases([[args[1], args[0]], [args[2], null]]), 9];
  const named = { maximum: "max", minimum: "min", sum: "Σ", total: "Σ" }[name] ?? name.replaceAll("_", " ");
  return [row(`<mi mathvariant="normal">${named}</mi>`, mo("&#x2061;"), mo("("), args.map((x) => shown(x)).join(mo(",")), mo(")")), 9];
}

// Lines of a function: name ← value, with `if` on switches settled by the values.
// signals: those that a step is given. ndim: how many dimensions p has.
export function mathml({ body, parameters }, values, { signals = [], ndim = 1 } = {}) {
  const rows = [];
  // What a condition is while the rule is read: true, false, or null where that is not known.
  const number = (node) => node.type === "number" ? node.value : node.type === "call" && node.of.name === "ndim" ? ndim : NaN;
  const settled = (node) => {
    if (node.type === "name" && node.name in values) return Boolean(values[node.name]);
    if (node.type === "is" && node.args[1].value === null) return !signals.includes(node.args[0].name);
    if (node.type === "op" && node.op in ASKED && !node.args.map(number).some(Number.isNaN)) return ASKED[node.op](...node.args.map(number));
    if (node.type !== "not") return null;
    const inner = settled(node.value);
    return inner === null ? null : !inner;
  };
  const simple = (node) => {
    if (!node || typeof node !== "object") return node;
    if (node.type === "choice" && settled(node.condition) !== null) return simple(settled(node.condition) ? node.then : node.otherwise);
    const copy = { ...node };
    for (const key of ["args", "items"]) if (copy[key]) copy[key] = copy[key].map(simple);
    for (const key of ["then", "otherwise", "value"]) if (copy[key]?.type) copy[key] = simple(copy[key]);
    return copy;
  };
  const add = (left, value) => rows.push(`<mtr><mtd>${left}</mtd><mtd>${mo("←")}</mtd><mtd>${shown(simple(value))}</mtd></mtr>`);
  const walk = (list) => {
    for (const each of list) {
      if (each.type === "assign") {
        if (each.target.type === "tuple" && each.value.type === "tuple" && each.value.items.length === each.target.items.length) each.target.items.forEach((target, i) => add(given(target), each.value.items[i]));
        else add(given(each.target), each.value);
      } else if (each.type === "for") {
        walk(each.body);
      } else if (each.type === "if") {
        if (walk(settled(each.condition) === false ? each.otherwise : each.then)) return true;
      } else if (each.type === "return" && each.value) {
        const slots = parameters.slice(parameters.indexOf("g") + 1), items = each.value.type === "tuple" ? each.value.items : [each.value];
        items.forEach((value, i) => {
          const name = i ? slots[i - 1] : "p";
          if (!(value.type === "name" && value.name === name)) add(letter(name ?? "p"), value);
        });
        return true;
      }
    }
    return false;
  };
  walk(body);
  return `<math displaystyle="true"><mtable columnalign="right center left" displaystyle="true">${rows.join("")}</mtable></math>`;
}
