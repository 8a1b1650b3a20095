// Python text of rules and losses -> a syntax tree. Every node has its place: line from 1, columns from 0.

export class RuleError extends Error {
  constructor(message, { line = 0, column = 0 } = {}) {
    super(message);
    this.name = "RuleError";
    this.line = line;
    this.column = column;
  }
}

const TOKEN = /(?<space>[ \t]+)|(?<comment>#.*)|(?<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?)|(?<name>[\p{L}_][\p{L}\p{N}_]*)|(?<string>"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')|(?<sign>\*\*|\/\/|<=|>=|==|!=|->|[-+*/%]=|[-+*/%@()[\]{},:=<>.])/uy;

function tokens(text) {
  const found = [], indents = [0];
  const blank = text.replace(/("""|''')[\s\S]*?\1/g, (s) => '""' + s.slice(2, -1).replace(/[^\n]/g, " ") + " ").replace(/\r/g, "");
  let depth = 0, opened = null;
  blank.split("\n").forEach((row, index) => {
    const line = index + 1;
    if (!depth) {
      if (/^\s*(#.*)?$/.test(row)) return;
      const indent = row.match(/^[ \t]*/)[0].length;
      if (indent > indents.at(-1)) {
        indents.push(indent);
        found.push({ kind: "indent", line, column: 0, end: indent });
      }
      while (indent < indents.at(-1)) {
        indents.pop();
        found.push({ kind: "dedent", line, column: 0, end: indent });
      }
      if (indent !== indents.at(-1)) throw new RuleError("the indentation fits no line above", { line });
    }
    for (let column = 0; column < row.length;) {
      TOKEN.lastIndex = column;
      const match = TOKEN.exec(row);
      if (!match) throw new RuleError(`cannot read ${row.slice(column).trim().slice(0, 20)}`, { line, column });
      const [kind] = Object.entries(match.groups).find(([, value]) => value !== undefined), value = match[0];
      const end = column + value.length;
      if (kind === "sign" && "([{".includes(value)) {
        if (!depth++) opened = { line, column };
      }
      if (kind === "sign" && ")]}".includes(value) && --depth < 0) throw new RuleError(`${value} closes nothing`, { line, column });
      if (kind !== "space" && kind !== "comment") found.push({ kind, value, line, column, end });
      column = end;
    }
    if (!depth) found.push({ kind: "newline", value: "the end of the line", line, column: row.length, end: row.length });
  });
  if (depth) throw new RuleError("a bracket is not closed", opened);
  const line = blank.split("\n").length;
  while (indents.pop() > 0) found.push({ kind: "dedent", line, column: 0, end: 0 });
  found.push({ kind: "end", value: "the end", line, column: 0, end: 0 });
  return found;
}

const COMPARED = { "<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne" };
const SUMS = { "+": "add", "-": "sub" };
const TERMS = { "*": "mul", "/": "div", "%": "mod", "@": "matmul" };
const WORDS = new Set(["def", "if", "elif", "else", "return", "for", "while", "import", "from", "lambda", "and", "or", "not", "class", "with", "try", "pass", "in", "is"]);

class Parser {
  constructor(text) {
    this.all = tokens(text);
    this.at = 0;
  }

  get now() {
    return this.all[this.at];
  }

  is(value, kind = null) {
    return this.now.value === value && (kind === null || this.now.kind === kind) && this.now.kind !== "string";
  }

  take(value) {
    return this.is(value) ? this.all[this.at++] : null;
  }

  kind(kind) {
    return this.now.kind === kind ? this.all[this.at++] : null;
  }

  need(value) {
    return this.take(value) ?? this.fail(`expected ${value}, found ${this.now.value ?? this.now.kind}`);
  }

  name() {
    if (WORDS.has(this.now.value)) this.fail(`${this.now.value} cannot be a name`);
    return this.kind("name") ?? this.fail(`expected a name, found ${this.now.value ?? this.now.kind}`);
  }

  fail(message, place = this.now) {
    throw new RuleError(message, place);
  }

  // A node from the first token to the last one that was read.
  made(type, first, fields) {
    const last = this.all[this.at - 1];
    return { type, line: first.line, column: first.column, endLine: last.line, endColumn: last.end, ...fields };
  }

  body() {
    const found = [];
    while (!this.kind("end")) {
      const each = this.statement();
      if (each) found.push(each);
    }
    return found;
  }

  statement() {
    const first = this.now;
    if (this.kind("newline")) return null;
    if (first.kind === "indent") this.fail("this line stands further in than the one above");
    if (this.is("@") || this.is("def")) return this.definition();
    if (this.take("if")) return this.branches(first);
    if (this.take("return")) {
      const value = this.is("the end of the line") ? null : this.listed();
      this.endLine();
      return this.made("return", first, { value });
    }
    if (this.take("pass")) return this.endLine();
    if (this.is("import") || this.is("from")) {
      while (!this.kind("newline")) this.at++;
      return null;
    }
    if (this.is("for") || this.is("while")) this.fail(`a rule has no ${first.value} loops; write operations on whole arrays`);
    if (WORDS.has(first.value) && !["not", "lambda"].includes(first.value)) this.fail(`${first.value} is not part of the rule language`);
    const target = this.listed();
    if (this.kind("newline")) {
      if (target.type === "string") return null;
      this.fail("this value is not used; give it a name, or return it", target);
    }
    const sign = this.now;
    if (/^[-+*/%]=$/.test(sign.value)) {
      this.at++;
      const value = this.listed();
      this.endLine();
      const op = { ...SUMS, ...TERMS }[sign.value[0]];
      return this.made("assign", first, { target, value: this.made("op", first, { op, args: [target, value] }) });
    }
    this.need("=");
    const targets = target.type === "tuple" ? target.items : [target];
    for (const each of targets) if (each.type !== "name") this.fail("only names can be given a value", each);
    const value = this.listed();
    this.endLine();
    return this.made("assign", first, { target, value });
  }

  endLine() {
    if (!this.kind("newline")) this.fail(`did not expect ${this.now.value ?? this.now.kind}`);
    return null;
  }

  branches(first) {
    const condition = this.expression(), then = this.block(), again = this.now;
    let otherwise = [];
    if (this.take("elif")) otherwise = [this.branches(again)];
    else if (this.take("else")) otherwise = this.block();
    return this.made("if", first, { condition, then, otherwise });
  }

  block() {
    this.need(":");
    if (!this.kind("newline")) return [this.statement()].filter(Boolean);
    if (!this.kind("indent")) this.fail("a block has to stand further in");
    const found = [];
    while (!this.kind("dedent")) {
      const each = this.statement();
      if (each) found.push(each);
    }
    return found;
  }

  definition() {
    const decorators = [];
    while (this.take("@")) {
      decorators.push(this.postfix());
      this.endLine();
    }
    const first = this.need("def"), name = this.name().value, parameters = [], keywords = new Map();
    let starred = false;
    this.need("(");
    while (!this.take(")")) {
      if (this.take("*")) starred = true;
      else {
        const parameter = this.name(), standard = this.take("=") ? this.expression() : null;
        if (starred) keywords.set(parameter.value, standard);
        else if (standard) this.fail(`${parameter.value} has a default; hyperparameters come after *`, parameter);
        else parameters.push(parameter.value);
      }
      if (!this.take(",") && !this.is(")")) this.fail(`expected , or ), found ${this.now.value}`);
    }
    const body = this.block();
    return this.made("def", first, { name, parameters, keywords, decorators, body });
  }

  listed() {
    const first = this.now, one = this.expression();
    if (!this.is(",")) return one;
    const items = [one];
    while (this.take(",")) {
      if (["newline", "end"].includes(this.now.kind) || this.is(")") || this.is("=")) break;
      items.push(this.expression());
    }
    return this.made("tuple", first, { items });
  }

  expression() {
    const first = this.now;
    if (this.take("lambda")) {
      while (!this.take(":")) this.at++;
      this.expression();
      return this.made("lambda", first, {});
    }
    const value = this.either();
    if (!this.take("if")) return value;
    const condition = this.either();
    this.need("else");
    const otherwise = this.expression();
    return this.made("choice", first, { condition, then: value, otherwise });
  }

  either() {
    return this.chain(() => this.both(), { or: "or" }, "logic");
  }

  both() {
    return this.chain(() => this.negation(), { and: "and" }, "logic");
  }

  negation() {
    const first = this.now;
    return this.take("not") ? this.made("not", first, { value: this.negation() }) : this.comparison();
  }

  comparison() {
    return this.chain(() => this.sum(), COMPARED);
  }

  sum() {
    return this.chain(() => this.term(), SUMS);
  }

  term() {
    return this.chain(() => this.unary(), TERMS);
  }

  chain(inner, signs, type = "op") {
    const first = this.now;
    let left = inner();
    while (this.now.kind !== "string" && Object.hasOwn(signs, this.now.value)) {
      const op = signs[this.all[this.at++].value], right = inner();
      left = this.made(type, first, { op, args: [left, right] });
    }
    return left;
  }

  unary() {
    const first = this.now;
    if (this.take("-")) return this.made("op", first, { op: "neg", args: [this.unary()] });
    if (this.take("+")) return this.unary();
    return this.power();
  }

  power() {
    const first = this.now, base = this.postfix();
    return this.take("**") ? this.made("op", first, { op: "pow", args: [base, this.unary()] }) : base;
  }

  postfix() {
    const first = this.now;
    let value = this.atom();
    for (;;) {
      if (this.take("(")) {
        const args = [], named = new Map();
        while (!this.take(")")) {
          if (this.now.kind === "name" && this.all[this.at + 1].value === "=") {
            const { value: key } = this.name();
            this.need("=");
            named.set(key, this.expression());
          } else args.push(this.expression());
          if (!this.take(",") && !this.is(")")) this.fail(`expected , or ), found ${this.now.value}`);
        }
        value = this.made("call", first, { of: value, args, named });
      } else if (this.take(".")) value = this.made("attribute", first, { of: value, name: this.name().value });
      else return value;
    }
  }

  atom() {
    const first = this.now;
    if (this.kind("number")) return this.made("number", first, { value: Number(first.value.replaceAll("_", "")) });
    if (this.kind("string")) return this.made("string", first, { value: first.value.slice(1, -1) });
    for (const [word, value] of [["True", true], ["False", false], ["None", null]]) {
      if (this.take(word)) return this.made("number", first, { value });
    }
    if (first.kind === "name") return this.made("name", first, { name: this.name().value });
    if (this.take("(")) {
      if (this.take(")")) return this.made("tuple", first, { items: [] });
      const inner = this.listed();
      this.need(")");
      return { ...inner, column: first.column, endColumn: this.all[this.at - 1].end, grouped: true };
    }
    return this.fail(`did not expect ${first.value ?? first.kind}`);
  }
}

export const parse = (text) => new Parser(text).body();

export function parseExpression(text) {
  const parser = new Parser(`${text.replace(/\s*\n\s*/g, " ").trim()}\n`), tree = parser.expression();
  parser.endLine();
  return tree;
}
