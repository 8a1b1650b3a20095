// Python text of rules and losses -> a syntax tree. Every node has its place: line from 1, columns from 0.

export class RuleError extends Error {
  // hint: what the reader may have meant, as Python says it below a message.
  constructor(message, { line = 0, column = 0 } = {}, hint = "") {
    super(message);
    this.name = "RuleError";
    this.hint = hint;
    this.line = line;
    this.column = column;
  }
}

const TOKEN = /(?<space>[ \t]+)|(?<comment>#.*)|(?<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?)|(?<name>[\p{L}_][\p{L}\p{N}_]*)|(?<string>"[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')|(?<sign>\*\*|\/\/|<=|>=|==|!=|->|[-+*/%]=|[-+*/%@()[\]{},:=<>.])/uy;

const PAIRS = { "(": ")", "[": "]", "{": "}" };

function tokens(text) {
  const found = [], indents = [0];
  const blank = text.replace(/("""|''')[\s\S]*?\1/g, (s) => '""' + s.slice(2, -1).replace(/[^\n]/g, " ") + " ").replace(/\r/g, "");
  const opened = [];
  blank.split("\n").forEach((row, index) => {
    const line = index + 1;
    if (!opened.length) {
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
      if (indent !== indents.at(-1)) throw new RuleError("unindent does not match any outer indentation level", { line });
    }
    for (let column = 0; column < row.length;) {
      TOKEN.lastIndex = column;
      const match = TOKEN.exec(row);
      if (!match) throw new RuleError("invalid syntax", { line, column });
      const [kind] = Object.entries(match.groups).find(([, value]) => value !== undefined), value = match[0];
      const end = column + value.length;
      if (kind === "sign" && "([{".includes(value)) {
        opened.push({ value, line, column });
      }
      if (kind === "sign" && ")]}".includes(value)) {
        const last = opened.pop();
        if (!last) throw new RuleError(`unmatched '${value}'`, { line, column });
        if (PAIRS[last.value] !== value) throw new RuleError(`closing parenthesis '${value}' does not match opening parenthesis '${last.value}'${last.line === line ? "" : ` on line ${last.line}`}`, { line, column });
      }
      if (kind !== "space" && kind !== "comment") found.push({ kind, value, line, column, end });
      column = end;
    }
    if (!opened.length) found.push({ kind: "newline", value: "the end of the line", line, column: row.length, end: row.length });
  });
  if (opened.length) throw new RuleError(`'${opened.at(-1).value}' was never closed`, opened.at(-1));
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
    return this.take(value) ?? this.fail();
  }

  name() {
    if (WORDS.has(this.now.value)) this.fail();
    return this.kind("name") ?? this.fail();
  }

  fail(message = "invalid syntax", place = this.now) {
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
    if (first.kind === "indent") this.fail("unexpected indent");
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
    if (this.take("for")) return this.loop(first);
    if (this.is("while")) this.fail("a rule has no while loops; write operations on whole arrays");
    if (["class", "with", "try"].includes(first.value) && first.kind === "name") this.fail(`${first.value} is not part of the rule language`);
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
      return this.made("assign", first, { target, inPlace: true, value: this.made("op", first, { op, args: [target, value] }) });
    }
    this.need("=");
    this.targets(target);
    const value = this.listed();
    this.endLine();
    return this.made("assign", first, { target, value });
  }

  // Names, or tuples of them.
  targets(target) {
    if (target.type === "tuple") target.items.forEach((each) => this.targets(each));
    else if (target.type !== "name") this.fail("only names can be assigned to", target);
    return target;
  }

  endLine() {
    if (!this.kind("newline")) this.fail();
    return null;
  }

  branches(first) {
    const condition = this.expression(), then = this.block(`'${first.value}' statement`, first), again = this.now;
    let otherwise = [];
    if (this.take("elif")) otherwise = [this.branches(again)];
    else if (this.take("else")) otherwise = this.block("'else' statement", again);
    return this.made("if", first, { condition, then, otherwise });
  }

  loop(first) {
    const target = this.targets(this.names());
    this.need("in");
    const of = this.listed();
    return this.made("for", first, { target, of, body: this.block("'for' statement", first) });
  }

  // `what` it is of, and where that stands.
  block(what, { line }) {
    if (!this.take(":")) this.fail("expected ':'");
    if (!this.kind("newline")) return [this.statement()].filter(Boolean);
    if (!this.kind("indent")) this.fail(`expected an indented block after ${what} on line ${line}`);
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
    const first = this.need("def"), name = this.name().value, parameters = [], keywords = new Map(), defaults = new Map();
    let starred = false;
    this.need("(");
    while (!this.take(")")) {
      if (this.take("*")) starred = true;
      else {
        const parameter = this.name(), standard = this.take("=") ? this.expression() : null;
        if (starred) keywords.set(parameter.value, standard);
        else {
          parameters.push(parameter.value);
          if (standard) defaults.set(parameter.value, standard);
        }
      }
      if (!this.take(",") && !this.is(")")) this.fail();
    }
    const body = this.block("function definition", first);
    return this.made("def", first, { name, parameters, keywords, defaults, decorators, body });
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
    const first = this.now, left = this.chain(() => this.sum(), COMPARED);
    if (!this.take("is")) return left;
    const not = this.take("not"), right = this.sum(), same = this.made("is", first, { args: [left, right] });
    return not ? this.made("not", first, { value: same }) : same;
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
          } else args.push(this.element());
          if (!this.take(",") && !this.is(")")) this.fail();
        }
        value = this.made("call", first, { of: value, args, named });
      } else if (this.take("[")) {
        const index = this.expression();
        this.need("]");
        value = this.made("item", first, { of: value, index });
      } else if (this.take(".")) value = this.made("attribute", first, { of: value, name: this.name().value });
      else return value;
    }
  }

  // Names, with commas between them: what a loop gives a value.
  names() {
    const first = this.now, items = [];
    do items.push(this.made("name", this.now, { name: this.name().value }));
    while (this.take(","));
    return items.length > 1 ? this.made("tuple", first, { items }) : items[0];
  }

  // What stands in a call or a list: a value, or `value for names in tuples`.
  element() {
    const first = this.now, value = this.expression();
    if (!this.take("for")) return value;
    const target = this.names();
    this.need("in");
    return this.made("generator", first, { value, target, of: this.expression() });
  }

  atom() {
    const first = this.now;
    if (this.kind("number")) return this.made("number", first, { value: Number(first.value.replaceAll("_", "")), whole: /^[\d_]+$/.test(first.value) });
    if (this.kind("string")) return this.made("string", first, { value: first.value.slice(1, -1) });
    for (const [word, value] of [["True", true], ["False", false], ["None", null]]) {
      if (this.take(word)) return this.made("number", first, { value });
    }
    if (first.kind === "name") return this.made("name", first, { name: this.name().value });
    if (this.take("[")) {
      const items = [];
      while (!this.take("]")) {
        items.push(this.element());
        if (!this.take(",") && !this.is("]")) this.fail();
      }
      return this.made("tuple", first, { items, list: true });
    }
    if (this.take("(")) {
      if (this.take(")")) return this.made("tuple", first, { items: [] });
      const inner = this.listed();
      this.need(")");
      return { ...inner, column: first.column, endColumn: this.all[this.at - 1].end, grouped: true };
    }
    return this.fail();
  }
}

export const parse = (text) => new Parser(text).body();

export function parseExpression(text) {
  const parser = new Parser(`${text.replace(/\s*\n\s*/g, " ").trim()}\n`), tree = parser.expression();
  parser.endLine();
  return tree;
}
