/**
 * The ledger: a real table of which only the rows in sight exist, with one of them in the tab order.
 * @module
 */

import { cut, el, glyph, hidden } from "./dom.js";
import { term, to } from "./route.js";
import { clock, counted, nameOf, outcomes, stampOf, toneClass, took, verdictOf } from "./words.js";

const SPARE = 12;
const PAGES = matchMedia("(max-width: 760px), (max-height: 520px)");

export class List {
  /** @param {{rows: import("./rows.js").Rows, q: () => string, selected: () => number|null, scrolled: (atTop: boolean) => void}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    /** @type {Map<number, {row: any, node: HTMLElement}>} */
    this.made = new Map();
    this.focused = null;
    this.above = el("tr", { class: "spacer", "aria-hidden": "true" }, el("td", { colspan: 7 }));
    this.below = el("tr", { class: "spacer", "aria-hidden": "true" }, el("td", { colspan: 7 }));
    this.body = el("tbody", { onclick: (event) => this.clicked(event), onfocusin: (event) => this.entered(event) });
    this.table = el(
      "table", { class: "ledger" },
      el("caption", { class: "sr" }, "Events, newest first"),
      el("colgroup", {}, ["time", "verdict", "kind", "name", "person", "from", "attempts", "took"].map((name) => el("col", { class: `c-${name}` }))),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), el("th", { scope: "col" }, hidden("Verdict")), el("th", { scope: "col" }, "Kind"), el("th", { scope: "col" }, "Name"), el("th", { scope: "col" }, "Person"), el("th", { scope: "col", class: "from" }, "Sent from"), el("th", { scope: "col" }, "Attempts"), el("th", { scope: "col", class: "took" }, "Took"))),
      this.body,
    );
    this.box = el("div", { class: "scroll", id: "scroll", onscroll: () => this.moved() }, this.table);
    addEventListener("scroll", () => PAGES.matches && this.moved(), { passive: true });
    new ResizeObserver(() => this.later()).observe(this.box);
  }

  get scroller() {
    return PAGES.matches ? document.scrollingElement : this.box;
  }

  get height() {
    return PAGES.matches ? 53 : 36;
  }

  /** How far the first row is above the edge of what can be seen. */
  get offset() {
    const edge = PAGES.matches ? 0 : this.box.getBoundingClientRect().top + (this.table.tHead.offsetHeight || 0);
    return edge - this.body.getBoundingClientRect().top;
  }

  /** Draw in the next frame, once however often it is asked for. */
  later() {
    if (this.due || !this.box.isConnected) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.anchor();
      this.draw();
    });
  }

  /** Rows were added above: whoever reads keeps what they read where it is. @param {number} added */
  grown(added) {
    this.added = (this.added ?? 0) + added;
    this.later();
  }

  /** Whoever reads, or stands on a row, is not moved by what comes in above. */
  anchor() {
    const added = this.added ?? 0;
    this.added = 0;
    if (!added || !this.box.isConnected) return;
    if (this.offset <= 4 && !this.body.contains(document.activeElement)) return;
    if (this.offset < -2 * this.height) return;
    this.above.firstChild.style.height = `${this.above.firstChild.offsetHeight + added * this.height}px`;
    this.steered = true;
    this.scroller.scrollTop += added * this.height;
  }

  draw() {
    const { rows, height } = this;
    const seen = PAGES.matches ? innerHeight : this.box.clientHeight;
    const first = Math.max(0, Math.min(rows.length - 1, Math.floor(Math.max(0, this.offset) / height) - SPARE));
    const end = Math.min(rows.length, first + Math.ceil(seen / height) + 2 * SPARE);
    const nodes = [];
    const kept = new Map();
    for (let place = first; place < end; place++) {
      const row = rows.at(place);
      const known = this.made.get(row.seq);
      const node = known?.row === row ? known.node : this.build(row);
      node.setAttribute("aria-rowindex", String(place + 2));
      kept.set(row.seq, { row, node });
      nodes.push(node);
    }
    this.made = kept;
    this.table.setAttribute("aria-rowcount", String(rows.length + 1));
    this.above.firstChild.style.height = `${first * height}px`;
    this.below.firstChild.style.height = `${(rows.length - end) * height}px`;
    this.place([this.above, ...nodes, this.below]);
    this.mark();
  }

  /** Move only what moved: a node that is taken out loses the focus. */
  place(nodes) {
    const wanted = new Set(nodes);
    for (const node of [...this.body.children]) if (!wanted.has(node)) node.remove();
    let next = this.body.firstChild;
    for (const node of nodes) {
      if (node === next) next = next.nextSibling;
      else this.body.insertBefore(node, next);
    }
  }

  /** Say which row is selected, and which one Tab reaches. */
  mark() {
    const selected = this.selected();
    const reach = [this.focused, selected, this.rows.at(0)?.seq].find((seq) => seq !== null && this.made.has(seq)) ?? this.made.keys().next().value;
    for (const [seq, { node }] of this.made) {
      if (seq === selected) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
      node.querySelector("a").tabIndex = seq === reach ? 0 : -1;
    }
  }

  build(row) {
    const { word, tone } = verdictOf(row.verdict);
    const [stamp, kind] = stampOf(row);
    const from = row.context?.route ?? row.context?.task ?? "";
    return el(
      "tr", { "data-seq": row.seq, class: "row" },
      el("td", { class: "time" }, clock(row.received_at)),
      el("td", { class: "verdict" }, glyph(row.verdict, toneClass(tone)), hidden(word)),
      el("td", { class: "kind" }, el("abbr", { class: "stamp", title: kind }, stamp)),
      el("th", { scope: "row" }, el("a", { href: to("events", row.seq, this.q()), tabindex: -1 }, cut(nameOf(row)))),
      el("td", { class: "person" }, cut(row.person ?? "")),
      el("td", { class: "from" }, cut(from)),
      el("td", { class: "attempts" }, tries(row)),
      el("td", { class: "took" }, took(row.took_ms)),
    );
  }

  clicked(event) {
    const node = event.target.closest("tr.row");
    if (!node || event.ctrlKey || event.metaKey || getSelection()?.toString()) return;
    event.preventDefault();
    this.focused = Number(node.dataset.seq);
    this.opened?.(this.focused);
  }

  entered(event) {
    const node = event.target.closest("tr.row");
    if (!node) return;
    this.focused = Number(node.dataset.seq);
    this.mark();
  }

  moved() {
    if (this.steered) this.steered = false;
    else this.scrolled(this.offset <= 4);
    this.later();
  }

  /** Back to the newest. */
  top() {
    this.steered = this.offset > 0;
    this.scroller.scrollTop = PAGES.matches ? Math.min(this.scroller.scrollTop, this.table.offsetTop) : 0;
    this.draw();
  }

  /** Bring a row into sight. @param {number} seq @param {{focus?: boolean}} [how] */
  show(seq, { focus = false } = {}) {
    const place = this.rows.placeOf(seq);
    if (place < 0) return;
    const start = place * this.height;
    const seen = (PAGES.matches ? innerHeight - 120 : this.box.clientHeight - 28) - this.height;
    const offset = this.offset;
    if (start < offset) this.scroller.scrollTop -= offset - start;
    else if (start > offset + seen) this.scroller.scrollTop += start - offset - seen;
    this.draw();
    if (focus) this.made.get(seq)?.node.querySelector("a").focus({ preventScroll: true });
  }

  /** The neighbour of a row. @param {number|null} seq @param {number} step @returns {number|null} */
  beside(seq, step) {
    const place = seq === null ? -1 : this.rows.placeOf(seq);
    const next = Math.max(0, Math.min(this.rows.length - 1, place < 0 ? 0 : place + step));
    return this.rows.at(next)?.seq ?? null;
  }

  /** The term that the focused row suggests. */
  suggestion() {
    const row = this.focused === null ? null : this.rows.get(this.focused);
    return row ? term(row.name ? "name" : "kind", row.name ?? row.kind) : "";
  }
}

/** `ϟϟ●`: two injected faults, then in. @param {any} row */
export function tries(row) {
  const all = outcomes(row);
  const said = hidden(all.length === 1 ? `1 attempt` : `${counted(all.length, "attempt")}, the last one ${verdictOf(row.verdict).word}`);
  const draw = (verdict) => glyph(verdict, toneClass(verdictOf(verdict).tone));
  const body = all.slice(0, -1);
  const uniform = body.every((verdict) => verdict === body[0]);
  if (all.length <= 5) return [all.map(draw), said];
  const times = el("span", { class: "times", "aria-hidden": "true" }, `×${body.length}`);
  return [uniform ? [draw(body[0]), times] : [body.slice(0, 2).map(draw), el("span", { class: "times", "aria-hidden": "true" }, `…${body.length - 2}`)], draw(row.verdict), said];
}
