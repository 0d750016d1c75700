/**
 * The view of events: filter, list, pill, and the empty state in their place.
 * @module
 */

import * as api from "./api.js";
import { button, el, fill } from "./dom.js";
import { Empty } from "./empty.js";
import { Filter } from "./filter.js";
import { List } from "./list.js";
import { Live } from "./live.js";
import { go, here, to } from "./route.js";
import { Rows } from "./rows.js";
import { counted } from "./words.js";

const FIRST = 200;
const PAGE = 400;
const MERGE_MS = 150;

export class EventsView {
  /** @param {{open: (seq: number) => void, empty: () => any}} parts */
  constructor({ open, empty }) {
    this.rows = new Rows();
    this.q = "";
    this.selected = null;
    this.run = 0;
    this.list = new List({ rows: this.rows, q: () => this.q, selected: () => this.selected, scrolled: (atTop) => this.live.scrolled(atTop) });
    this.list.opened = open;
    this.live = new Live({ hold: () => this.hold(), release: () => this.release() });
    this.filter = new Filter((q) => go(to("events", here().key, q), { replace: true }));
    this.empty = new Empty(empty);
    this.pill = el("button", { type: "button", class: "pill", hidden: true, onclick: () => this.newest() });
    this.foot = el("p", { class: "evicted", hidden: true });
    this.none = el("div", { class: "none", hidden: true });
    this.node = el("section", { class: "events", "aria-label": "Events" }, this.filter.node, this.pill, this.list.box, this.none, this.empty.node, this.foot);
    this.empty.node.hidden = true;
  }

  /** Show a filter, and load it when it is another one. @param {string} q */
  async show(q) {
    this.filter.show(q);
    if (q !== this.q) await this.load(q);
    this.list.later();
  }

  /** @param {string} q @returns {Promise<string>} the cursor to follow from */
  async load(q) {
    const run = ++this.run;
    this.q = q;
    this.filter.show(q);
    let page;
    try {
      page = await api.events({ q, limit: FIRST });
    } catch (error) {
      if (!(error instanceof api.Refused) || error.status !== 400) throw error;
      if (run === this.run) this.refuse(error);
      return (await api.events({ limit: 1 })).stream_cursor;
    }
    if (run !== this.run) return page.stream_cursor;
    this.filter.say("");
    this.rows.begin(page.items, q ? Infinity : page.cursor);
    this.draw(page);
    if (page.next) this.more(page.next, run);
    return page.stream_cursor;
  }

  /** Load what is older, page by page, so that nothing freezes. */
  async more(before, run) {
    for (let next = before; next && this.rows.length < this.rows.most && run === this.run; ) {
      const page = await api.events({ q: this.q, limit: PAGE, before: next });
      if (run !== this.run) return;
      this.rows.backfill(page.items);
      this.list.later();
      next = page.next;
    }
  }

  refuse(error) {
    this.rows.begin([]);
    this.filter.say([error.message, error.problem.fix].filter(Boolean).join(". "), { bad: true });
    this.draw({ items: [] });
  }

  /** @param {"event"|"update"} kind @param {any[]} items */
  take(kind, items) {
    if (this.q) this.merge(kind);
    else {
      const added = this.rows.add(kind === "event" ? items : items.filter((row) => this.rows.get(row.seq)));
      this.list.grown(added);
      this.draw();
    }
  }

  /** The server alone reads filters: ask it what of the new there is to show. */
  merge(kind) {
    this.whole ||= kind === "update";
    this.merging ??= setTimeout(async () => {
      const { whole, run } = this;
      this.merging = null;
      this.whole = false;
      const since = whole ? 0 : Math.max(0, this.newest_seq());
      const page = await api.events({ q: this.q, since, limit: whole ? FIRST : 1000 }).catch(() => null);
      if (!page || run !== this.run) return;
      const added = this.rows.add(page.items);
      this.list.grown(added);
      this.draw();
    }, MERGE_MS);
  }

  newest_seq() {
    return Math.max(this.rows.at(0)?.seq ?? 0, ...this.rows.waiting.keys());
  }

  hold() {
    this.rows.holding = true;
  }

  release() {
    const added = this.rows.release();
    this.list.grown(added);
    this.draw();
  }

  newest() {
    this.live.resume();
    this.list.top();
  }

  /** @param {number|null} seq */
  select(seq) {
    this.selected = seq;
    if (seq === null) this.list.mark();
    else this.list.show(seq);
    this.list.later();
  }

  /** @param {any} summary */
  counted(summary) {
    this.foot.hidden = !summary.evicted;
    if (summary.evicted) fill(this.foot, `Showing the newest ${summary.kept}; ${summary.evicted} older dropped.`);
    if (this.anything !== summary.total > 0) this.draw(undefined, summary.total > 0);
  }

  draw(page, anything = this.anything) {
    this.anything = anything || this.rows.length > 0;
    const blank = this.rows.length === 0 && this.rows.held === 0;
    const empty = blank && !this.q && !this.filter.says.classList.contains("bad");
    if (empty && this.empty.node.hidden) this.empty.draw();
    this.empty.node.hidden = !empty;
    this.list.box.hidden = blank;
    this.none.hidden = !blank || empty;
    if (blank && !empty && page) this.explain(page);
    this.pill.hidden = this.rows.held === 0;
    if (this.rows.held) fill(this.pill, `${this.rows.held} new`);
    this.list.later();
  }

  /** Nothing matches: say how much each term alone does. */
  explain(page) {
    const terms = page.term_counts ?? [];
    fill(
      this.none,
      el("h2", {}, "No event matches"),
      terms.length ? el("dl", { class: "facts" }, terms.map((each) => [el("dt", {}, el("code", {}, each.term)), el("dd", {}, `alone: ${counted(each.matches, "event")}`)])) : null,
      el("p", {}, button("Show all events", () => go(to("events", null, "")))),
    );
  }
}
