/**
 * The running strip: five minutes of traffic in bars of two seconds, to read with the arrow keys and to cut a span from.
 * @module
 */

import { byId, el, fill, svg } from "./dom.js";
import { VERDICTS, clock, counted } from "./words.js";

const HEIGHT = 64;
const GROUND = 57;
const PITCH = 9;
const ORDER = ["accepted", "accepted_but", "duplicate", "ignored", "never_sent", "rejected", "fault"];

export class Strip {
  /** @param {(from: number, to: number) => void} choose in Unix seconds */
  constructor(choose) {
    this.choose = choose;
    this.node = byId("strip");
    /** @type {any[]} */
    this.bars = [];
    this.step = 2;
    this.needle = null;
    this.anchor = null;
    this.node.addEventListener("pointerdown", (event) => this.down(event));
    this.node.addEventListener("pointermove", (event) => this.moved(event));
    this.node.addEventListener("pointerup", (event) => this.up(event));
    this.node.addEventListener("pointerleave", () => this.dragging || this.read(null));
    this.node.addEventListener("keydown", (event) => this.pressed(event));
    this.node.addEventListener("blur", () => this.read(null));
  }

  /** @param {any} series */
  show(series) {
    this.bars = series.bars ?? [];
    this.step = series.step ?? 2;
    this.draw();
  }

  draw() {
    const { bars } = this;
    const most = Math.max(4, ...bars.map(total));
    const shapes = [];
    bars.forEach((bar, index) => {
      let top = GROUND;
      const sum = total(bar);
      if (!sum) return;
      const scale = (44 * Math.log2(1 + sum)) / Math.log2(1 + most) / sum;
      for (const verdict of ORDER) {
        if (!bar[verdict]) continue;
        const height = Math.max(2, bar[verdict] * scale);
        top -= height;
        shapes.push(svg("rect", { x: index * PITCH + 2, y: top.toFixed(1), width: 5, height: height.toFixed(1), class: `t-${VERDICTS[verdict].tone}` }));
      }
    });
    const width = Math.max(1, bars.length) * PITCH;
    const [from, to] = this.span ?? [null, null];
    const marked = from === null ? [] : [svg("rect", { class: "span", x: from * PITCH, y: 0, width: (to - from + 1) * PITCH, height: GROUND })];
    const needle = this.needle === null ? [] : [svg("rect", { class: "needle", x: this.needle * PITCH, y: 0, width: PITCH, height: GROUND })];
    const ground = svg("line", { class: "ground", x1: 0, x2: width, y1: GROUND + 0.5, y2: GROUND + 0.5 });
    fill(this.node, svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, marked, needle, shapes, ground));
    this.node.setAttribute("aria-valuemax", String(Math.max(1, bars.length)));
    const reading = this.needle ?? bars.length - 1;
    this.node.setAttribute("aria-valuenow", String(Math.max(1, reading + 1)));
    this.node.setAttribute("aria-valuetext", bars[reading] ? sentence(bars[reading]) : "nothing yet");
  }

  get span() {
    if (this.anchor === null || this.needle === null) return null;
    return [Math.min(this.anchor, this.needle), Math.max(this.anchor, this.needle)];
  }

  /** @param {number|null} index */
  read(index) {
    this.needle = index;
    if (index === null) this.anchor = null;
    const bar = index === null ? null : this.bars[index];
    const says = byId("strip-says");
    fill(says, bar ? sentence(bar) : "");
    if (bar) says.style.transform = `translateX(min(${(index / this.bars.length) * this.node.clientWidth}px, ${this.node.clientWidth}px - 100%))`;
    this.draw();
  }

  place(event) {
    const box = this.node.getBoundingClientRect();
    const at = Math.floor(((event.clientX - box.left) / box.width) * this.bars.length);
    return Math.max(0, Math.min(this.bars.length - 1, at));
  }

  down(event) {
    if (!this.bars.length || event.button) return;
    this.node.setPointerCapture(event.pointerId);
    this.dragging = true;
    this.anchor = this.place(event);
    this.read(this.anchor);
  }

  moved(event) {
    if (this.bars.length) this.read(this.place(event));
  }

  up() {
    if (!this.dragging) return;
    this.dragging = false;
    this.take();
  }

  take() {
    const [from, to] = this.span ?? [this.needle, this.needle];
    if (from === null || !this.bars[from]) return;
    this.choose(this.bars[from].at, this.bars[to].at + this.step);
    this.anchor = null;
    this.draw();
  }

  pressed(event) {
    const last = this.bars.length - 1;
    const now = this.needle ?? last;
    const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last, PageUp: now - 10, PageDown: now + 10 }[event.key];
    if (next !== undefined) {
      this.anchor = event.shiftKey ? (this.anchor ?? now) : null;
      this.read(Math.max(0, Math.min(last, next)));
    } else if (event.key === "Enter" && this.needle !== null) this.take();
    else if (event.key === "Escape" && this.needle !== null) this.read(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** The same as a table. */
  table() {
    const busy = this.bars.filter(total);
    const rows = busy.map((bar) => el("tr", {}, el("th", { scope: "row" }, clock(bar.at, 0)), ORDER.map((verdict) => el("td", {}, bar[verdict] || ""))));
    const head = el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Two seconds from"), ORDER.map((verdict) => el("th", { scope: "col" }, VERDICTS[verdict].word))));
    return el("table", { class: "plain" }, el("caption", { class: "sr" }, "Events by verdict"), head, el("tbody", {}, rows.length ? rows : el("tr", {}, el("td", { colspan: 8 }, "No event in the last five minutes."))));
  }
}

const total = (bar) => ORDER.reduce((sum, verdict) => sum + (bar[verdict] ?? 0), 0);

function sentence(bar) {
  const parts = ORDER.filter((verdict) => bar[verdict]).map((verdict) => `${bar[verdict]} ${VERDICTS[verdict].word}`);
  return `${clock(bar.at, 0)}: ${parts.length ? parts.join(", ") : counted(0, "event")}`;
}
