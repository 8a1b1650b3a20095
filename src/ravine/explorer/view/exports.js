// What leaves the page: the rule as Python and for PyTorch, the link, an embed, the values, the picture.

const OPS = [
  "sqrt", "abs", "sign", "exp", "log", "tanh", "atan2", "floor", "round", "maximum", "minimum", "clip", "where", "sum",
  "mean", "greatest", "least", "norm", "rms", "size", "ndim", "matmul", "transpose", "qr", "eigh", "newton_schulz",
  "normal", "uniform", "epsilon", "total", "cholesky", "solve_triangular", "inverse_root", "argsort", "take", "is_odd", "stored",
];

// A file of its own that defines the rule, as `ravine show mine.py:name` reads it.
export function python(rule, source) {
  const used = OPS.filter((name) => new RegExp(`\\b${name}\\(`).test(source));
  const decorated = /^@\w/m.test(source) ? source : `@rule\n${source}`;
  const names = ["rule", ...["scalar", "filled", "like_p", "signal", "zeros"].filter((name) => new RegExp(`\\b${name}\\b`).test(source.split("def ")[0]))];
  return [
    `from ravine import ${names.join(", ")}`,
    ...(used.length ? [`from ravine.ops import ${used.join(", ")}`] : []),
    "", "", decorated.trimEnd(), "",
  ].join("\n");
}

export function torch(rule, base, source, values, edited) {
  const set = Object.entries(values).map(([k, v]) => `${k}=${v === true ? "True" : v === false ? "False" : v}`).join(", ");
  const made = rule.name.replace(base.name, "RULE");
  const head = edited ? python(base, source).replace(/^from ravine import/, "import ravine.torch\nfrom ravine import") : "import ravine.torch\n";
  const inner = edited ? base.name : `"${rule.name}"`;
  const stack = edited && made !== "RULE" ? made.replace("RULE", base.name) : inner;
  const parts = edited && made !== "RULE" ? `from ravine.modifiers import ${made.match(/\w+(?=\()/g).join(", ")}\n` : "";
  const imports = parts ? head.replace("import ravine.torch\n", `import ravine.torch\n${parts}`) : head;
  return `${imports}\n\nOptimizer = ravine.torch.optimizer(${stack})\noptimizer = Optimizer(model.parameters(), ${set})\n`;
}

export function embed(address) {
  const escaped = address.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
  return `<iframe src="${escaped}" title="Ravine explorer" loading="lazy" style="width: 100%; height: 44rem; border: 0"></iframe>`;
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page that is read from the disk may not use the clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
