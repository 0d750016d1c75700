/**
 * Where this sandbox is not Customer.io, or cannot know whether it is.
 * @module
 */

import * as api from "./api.js";
import { cut, el } from "./dom.js";

export async function differencesView() {
  const answer = await api.differences().catch(() => ({ items: [] }));
  const items = answer.items ?? answer.differences ?? [];
  return el(
    "div", { class: "page differences" },
    el("h2", { class: "name" }, "Differences from the real API"),
    el("p", { class: "muted lead" }, "A sandbox that hides where it guesses is worse than none. This is what Customer.io’s documents leave open, what was decided here, and why."),
    items.length ? el("ul", { class: "causes" }, items.map(difference)) : el("p", {}, "This sandbox lists none."),
  );
}

function difference(item) {
  const facts = [["Here", item.here ?? item.value ?? item.sandbox], ["There", item.there ?? item.real ?? item.unknown], ["Why", item.why], ["Source", item.source ?? item.cite]];
  return el(
    "li", { class: "cause" }, el("h2", {}, cut(item.title ?? item.question ?? item.name ?? item.key, 200)), item.says || item.meaning ? el("p", {}, cut(item.says ?? item.meaning, 600)) : null,
    el("dl", { class: "facts" }, facts.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([name, value]) => [el("dt", {}, name), el("dd", {}, cut(typeof value === "string" ? value : JSON.stringify(value), 400))])),
  );
}
