/**
 * Live or paused, and why; and the summary for those who hear the page, at most every five seconds.
 * @module
 */

import { byId, fill } from "./dom.js";
import { counted } from "./words.js";

export const QUIET_MS = 5000;

export class Live {
  /** @param {{hold: () => void, release: () => void}} parts */
  constructor({ hold, release }) {
    this.hold = hold;
    this.release = release;
    /** @type {""|"button"|"scroll"|"selection"} */
    this.reason = "";
    byId("live").addEventListener("click", () => this.toggle());
    document.addEventListener("selectionchange", () => this.selected());
  }

  get paused() {
    return this.reason !== "";
  }

  toggle() {
    if (this.paused) this.resume();
    else this.pause("button");
  }

  /** @param {"button"|"scroll"|"selection"} reason */
  pause(reason) {
    if (this.paused) return;
    this.reason = reason;
    this.hold();
    this.show();
  }

  resume() {
    if (!this.paused) return;
    this.reason = "";
    this.release();
    this.show();
  }

  /** @param {boolean} atTop */
  scrolled(atTop) {
    if (!atTop) this.pause("scroll");
    else if (this.reason === "scroll") this.resume();
  }

  selected() {
    const selection = getSelection();
    const reading = selection && !selection.isCollapsed && byId("scroll")?.contains(selection.anchorNode);
    if (reading) this.pause("selection");
    else if (this.reason === "selection") this.resume();
  }

  show() {
    const live = byId("live");
    live.setAttribute("aria-pressed", String(!this.paused));
    fill(live, this.paused ? "Paused" : "Live");
    document.body.toggleAttribute("data-paused", this.paused);
  }
}

/** Says what came, in a sentence, never twice in five seconds. */
export class Summary {
  constructor() {
    this.counts = new Map();
    this.last = -QUIET_MS;
  }

  /** @param {any[]} rows */
  note(rows) {
    for (const row of rows) this.counts.set(row.verdict, (this.counts.get(row.verdict) ?? 0) + 1);
    if (this.timer) return;
    this.timer = setTimeout(() => this.say(), Math.max(400, this.last + QUIET_MS - performance.now()));
  }

  say() {
    this.timer = 0;
    this.last = performance.now();
    const total = [...this.counts.values()].reduce((sum, count) => sum + count, 0);
    const parts = [counted(total, "new event")];
    for (const verdict of ["rejected", "ignored", "fault"]) {
      const count = this.counts.get(verdict);
      if (count) parts.push(`${count} ${verdict === "fault" ? "met a fault" : verdict}`);
    }
    this.counts.clear();
    fill(byId("status"), parts.join(", "));
  }
}
