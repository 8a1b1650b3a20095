// What the reader does: each thing changes the state, and what follows from it is drawn.

import { drag, $, element } from "./controls.js";
import { copy, embed, python, save, torch } from "./exports.js";
import { without } from "./following.js";
import { LANDSCAPES } from "./landscapes.js";
import { RATES, rounded, scale } from "./numbers.js";
import { DEFAULTS, read, write } from "./state.js";
import { told } from "./telling.js";
import { csv } from "./worked.js";
import { MODIFIERS, ruleOf, runsOn } from "./world.js";

export class Doing {
  playing = 0;
  timers = {};

  constructor(following, first) {
    Object.assign(this, { following, first, now: following.now, data: following.data });
  }

  get state() {
    return this.following.state;
  }

  set state(state) {
    this.following.state = state;
  }

  later(name, what, wait = 140) {
    clearTimeout(this.timers[name]);
    this.timers[name] = setTimeout(what, wait);
  }

  change(patch, { quick = false } = {}) {
    this.state = { ...this.state, ...patch };
    this.following.follow({ quick });
    if (quick) this.later("slow", () => this.following.follow());
  }

  // From the address; a fault's number alone stands for all that belongs to it.
  begin() {
    const state = read(location.hash, this.first);
    if (!this.data.faults[state.fault - 1]) state.fault = 0;
    state.around = state.around.filter((chip) => MODIFIERS.some(([name]) => name === chip));
    this.state = state.fault && !state.source ? this.faultAt(state.fault) : state;
    this.following.follow();
    if (this.now.error || !/(^|[#&])land=/.test(location.hash)) this.withMatrix();
  }

  address() {
    this.later("address", () => {
      history.replaceState(null, "", `#${write(this.state)}`);
      $("whole").href = `#${write({ ...this.state, embed: false })}`;
    }, 200);
  }

  say(words) {
    $("say").textContent = words;
  }

  tell(operation) {
    $("say").innerHTML = told(this.now, this.state, operation);
  }

  // ---- time ---------------------------------------------------------------------------------------

  moveTime(t, operation = null) {
    this.state.t = Math.max(0, Math.min(this.now.last, t));
    this.state.operation = operation;
    const at = this.drawing.moment();
    if (!this.playing) this.tell(at);
    this.address();
  }

  play(on = !this.playing) {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    $("play").toggleAttribute("data-on", on);
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    if (!on) return this.tell(this.drawing.step());
    const { now, following } = this;
    if (following.time >= now.last) this.moveTime(0);
    const began = performance.now(), from = following.time, rate = Math.max(12, now.last / 9); // steps a second
    const frame = (at) => {
      const t = Math.min(now.last, from + Math.floor(Math.max(0, at - began) / 1000 * rate));
      this.playing = requestAnimationFrame(frame);
      if (t !== following.time || this.state.operation !== null) this.moveTime(t);
      if (t >= now.last) this.play(false);
    };
    this.playing = requestAnimationFrame(frame);
  }

  stopAt(t) {
    this.play(false);
    this.moveTime(t);
  }

  nextOperation() {
    this.play(false);
    const { state, now, following } = this, t = following.step - 1, count = now.step?.traced.length ?? 0, next = state.operation === null ? 0 : state.operation + 1;
    if (following.time >= now.last) this.moveTime(0, 0);
    else if (next >= count) this.moveTime(t + 1);
    else this.moveTime(t, next);
  }

  // ---- what is shown ------------------------------------------------------------------------------

  // A rule for matrices comes with the landscape of one; so does one that is more than a rule for vectors there.
  withMatrix() {
    const { error, mine } = this.now;
    if ((error || mine?.rule.slots.some((slot) => slot.square !== undefined)) && this.state.land !== "matrix" && runsOn(this.state, this.data, LANDSCAPES.matrix.shape)) this.change({ land: "matrix", loss: "", start: null, t: null });
  }

  startAt(p, how) {
    const { state } = this, free = Math.min(2, this.now.land.names.length);
    this.change({ start: [...p.slice(0, free).map((x) => rounded(x, 4))], t: state.operation === null ? state.t : 0, operation: null }, how);
  }

  faultAt(n) {
    const { like, source } = this.data.faults[n - 1];
    return { ...DEFAULTS, embed: this.state?.embed ?? false, fault: n, rule: like, source, beside: "source" };
  }

  go = (n) => {
    this.change(this.faultAt(n));
    $("quiz-panel").scrollIntoView({ block: "nearest" });
  };

  leave = () => this.change({ ...DEFAULTS, land: this.state.land });

  best = () => this.change({ values: without(this.state.values, "lr") });

  edit(source) {
    const { beside } = this.state, original = ruleOf({ ...this.state, source: "" }, this.data).base.source, edited = source !== original;
    this.change({ source: edited ? source : "", beside: edited && !beside ? "source" : !edited && beside === "source" ? "" : beside });
  }

  knob(name, value) {
    if (["noise", "batch", "steps", "seed"].includes(name)) this.change({ [name]: name === "batch" && value >= this.data.diamonds.carat.length ? 0 : value, t: null }, { quick: true });
    else this.change({ knobs: { ...this.state.knobs, [name]: value } }, { quick: true });
  }

  chip(name) {
    const { around } = this.state;
    this.change({ around: around.includes(name) ? around.filter((x) => x !== name) : [...around, name] });
  }

  chips() {
    return MODIFIERS.map(([chip, , title]) => {
      const button = element("button", { title, "aria-pressed": "false", onclick: () => this.chip(chip) }, chip);
      $("chips").append(button);
      return [chip, button];
    });
  }

  dig([x, y], pile) {
    const term = (v, c) => `(${v} ${c < 0 ? "+" : "-"} ${Math.abs(rounded(c, 2))})**2`;
    this.change({ loss: `${this.now.land.text} ${pile ? "+" : "-"} 1.5*exp(-(${term("x", x)} + ${term("y", y)})/0.8)` });
  }

  // ---- what is listened to ------------------------------------------------------------------------

  listen(drawing) {
    this.drawing = drawing;
    this.toLists();
    this.toTime();
    this.toMap();
    this.toChart();
    this.toMenu();
    addEventListener("hashchange", () => this.begin());
    addEventListener("resize", () => this.later("resize", () => this.following.follow()));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawing.all());
  }

  toLists() {
    const chosen = (id, make) => $(id).addEventListener("change", (event) => this.change(make(event.target.value, this.state)));
    chosen("rule", (rule, state) => ({ rule: rule || state.rule, source: rule ? "" : state.source, values: {}, fault: 0, axis: "", beside: state.beside === "source" ? "" : state.beside, operation: null }));
    $("rule").addEventListener("change", () => this.withMatrix());
    chosen("beside", (beside) => ({ beside }));
    chosen("land", (land, { values }) => ({ land, loss: "", knobs: {}, start: null, noise: null, batch: 0, t: null, operation: null, steps: null, values: without(values, "lr") }));
    $("undo").addEventListener("click", () => this.change({ source: "", beside: this.state.beside === "source" ? "" : this.state.beside }));
    $("loss").addEventListener("input", (event) => this.later("loss", () => {
      const text = event.target.value.replace(/\s*\n\s*/g, " ").trim();
      this.change({ loss: text === LANDSCAPES[this.state.land].text ? "" : text });
    }));
    $("loss").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
    $("loss").addEventListener("blur", () => this.following.follow());
    $("quiz").addEventListener("click", () => this.state.fault ? this.leave() : this.go(1));
  }

  toTime() {
    const by = (n) => this.stopAt(this.following.time + n);
    for (const [id, what] of [["first", () => this.stopAt(0)], ["back", () => by(-1)], ["next", () => by(1)], ["play", () => this.play()], ["operation", () => this.nextOperation()]]) $(id).addEventListener("click", what);
    $("t").addEventListener("input", (event) => this.stopAt(Number(event.target.value)));
    drag($("curve"), (x) => this.stopAt(this.now.curve.time(x)));
    $("map").addEventListener("keydown", (event) => {
      const keys = { " ": () => this.play(), ".": () => by(1), ",": () => by(-1), Home: () => this.moveTime(0) };
      if (!keys[event.key]) return;
      keys[event.key]();
      event.preventDefault();
    });
  }

  // A click or a drag moves the start; in the drawn landscape it digs.
  toMap() {
    const { now } = this;
    drag($("map"), (x, y, event) => {
      const p = now.view.from(x, y);
      if (now.land.drawn && !event.shiftKey) {
        if (event.type === "pointerdown") this.dig(p, event.altKey);
      } else this.startAt(p, { quick: true });
    });
    $("map").addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!by) return;
      const size = now.land.view[2] / (event.shiftKey ? 10 : 60), p = now.land.start;
      this.startAt([p[0] + by[0] * size, (p[1] ?? 0) + by[1] * size], { quick: true });
      event.preventDefault();
    });
  }

  // A click chooses what lies there.
  toChart() {
    const { now, following } = this, limited = (rate) => rounded(Math.max(10 ** RATES[0], Math.min(10 ** RATES[1], rate)), 3);
    const set = (values) => this.change({ values: { ...this.state.values, ...values } }, { quick: true });
    drag($("chart"), (x, y) => {
      if (now.hit?.rate) set({ lr: limited(now.hit.rate(x)) });
      else if (now.hit?.pick) {
        const [lr, value] = now.hit.pick(x, y);
        set({ lr: limited(lr), [following.axis().name]: value });
      }
    });
    $("chart").addEventListener("keydown", (event) => {
      const { values } = now.lanes[0], side = { ArrowLeft: -1, ArrowRight: 1 }[event.key], up = { ArrowDown: -1, ArrowUp: 1 }[event.key], axis = following.axis();
      if (side) set({ lr: limited(values.lr * 10 ** (side * 6.5 / 66)) });
      else if (up && axis && this.state.chart !== "lr") {
        const { to, from } = scale(axis);
        set({ [axis.name]: from(Math.max(0, Math.min(1, to(values[axis.name]) + up / 40))) });
      } else return;
      event.preventDefault();
    });
  }

  // What leaves the page.
  toMenu() {
    const { now } = this, menu = document.querySelector(".menu"), here = () => location.href.split("#")[0];
    const text = () => this.state.source || now.lanes[0].base.source;
    const outs = {
      link: () => copy(`${here()}#${write(this.state)}`).then(() => this.say("The link is copied: whoever opens it sees this.")),
      embed: () => copy(embed(`${here()}#${write({ ...this.state, embed: true })}`)).then(() => this.say("An iframe with this state is copied.")),
      python: ({ base }) => copy(python(base, text())).then(() => this.say(`The rule is copied as Python: save it as mine.py, and ravine show mine.py:${base.name} reads it.`)),
      torch: ({ rule, base, values }) => copy(torch(rule, base, text(), values, Boolean(this.state.source))).then(() => this.say("An optimizer for PyTorch is copied.")),
      csv: (lane) => save(new Blob([csv(lane, now.last, now.land.names)], { type: "text/csv" }), `${lane.base.name}.csv`),
      png: ({ base }) => $("map").toBlob((blob) => save(blob, `${base.name}-${this.state.land}.png`)),
    };
    for (const button of document.querySelectorAll("[data-out]")) {
      button.addEventListener("click", () => {
        menu.open = false;
        outs[button.dataset.out](now.lanes[0]);
      });
    }
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
    document.addEventListener("pointerdown", (event) => event.target.closest(".menu") || (menu.open = false));
  }
}
