/**
 * The filter box and its chips; the server reads the terms, and says which one it does not know.
 * @module
 */

import { clean, el, fill } from "./dom.js";

const CHIPS = [["All", ""], ["Problems", "is:problem"], ["Retried", "is:retried"]];

export class Filter {
  /** @param {(q: string) => void} apply */
  constructor(apply) {
    this.apply = apply;
    this.input = el("input", {
      class: "field", id: "filter", type: "search", autocomplete: "off", spellcheck: "false", autocapitalize: "off", "aria-label": "Filter events",
      "aria-describedby": "filter-says", placeholder: "name:order_* is:rejected person:ada -is:duplicate",
      oninput: () => this.typed(), onkeydown: (event) => this.pressed(event),
    });
    this.chips = CHIPS.map(([label, q]) => el("button", { type: "button", class: "chip", "aria-pressed": "false", "data-q": q, onclick: () => this.toggle(q) }, label));
    this.says = el("p", { class: "filter-says", id: "filter-says", role: "status" });
    this.node = el("div", { class: "filter", role: "search" }, this.input, el("div", { class: "chips", role: "group", "aria-label": "Shown" }, this.chips), this.says);
  }

  /** Show a filter that came from elsewhere. @param {string} q */
  show(q) {
    if (document.activeElement !== this.input || !this.timer) this.input.value = q;
    for (const chip of this.chips) {
      const own = chip.dataset.q;
      const pressed = own ? q.split(" ").includes(own) : !this.chips.some((other) => other.dataset.q && q.split(" ").includes(other.dataset.q));
      chip.setAttribute("aria-pressed", String(pressed));
    }
  }

  /** @param {string} message @param {{fix?: string, bad?: boolean}} [more] */
  say(message, { bad = false } = {}) {
    fill(this.says, message);
    this.says.classList.toggle("bad", bad);
    this.input.setAttribute("aria-invalid", String(bad));
    if (clean(message) === "") this.input.removeAttribute("aria-invalid");
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.now(), 220);
  }

  now() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.apply(this.input.value.trim());
  }

  pressed(event) {
    if (event.key === "Enter") this.now();
    if (event.key === "Escape") this.input.blur();
  }

  toggle(q) {
    const rest = this.input.value.split(" ").filter((word) => word && !CHIPS.some(([, own]) => own === word));
    this.input.value = [...rest, q].filter(Boolean).join(" ");
    this.now();
  }
}
