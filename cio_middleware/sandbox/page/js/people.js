/**
 * Everybody, found by any part of what they are called.
 * @module
 */

import { cut, el, fill, glyph } from "./dom.js";
import { to } from "./route.js";
import { ago, toneClass, verdictOf } from "./words.js";

const MOST = 300;
const ORDERS = {
  "Last seen": (one, other) => (other.last_seen ?? 0) - (one.last_seen ?? 0),
  Problems: (one, other) => problemsOf(other) - problemsOf(one),
};
const state = { search: "", order: "Last seen" };

/** @param {any[]} everyone */
export function peopleView(everyone) {
  const body = el("tbody");
  const says = el("p", { class: "muted says", role: "status" });
  const draw = () => {
    const wanted = state.search.toLowerCase();
    const found = everyone.filter((person) => !wanted || texts(person).some((text) => text.toLowerCase().includes(wanted)));
    found.sort(ORDERS[state.order]);
    fill(body, found.slice(0, MOST).map(line));
    fill(says, found.length === everyone.length ? "" : `${found.length} of ${everyone.length}`, found.length > MOST ? `, showing ${MOST}` : "");
  };
  const search = el("input", {
    class: "field", type: "search", placeholder: "ada, or part of an email", "aria-label": "Search people", ".value": state.search,
    oninput: () => {
      state.search = search.value;
      draw();
    },
  });
  const orders = Object.keys(ORDERS).map((name) => el("button", {
    type: "button", class: "chip", "aria-pressed": String(name === state.order),
    onclick: () => {
      state.order = name;
      for (const chip of orders) chip.setAttribute("aria-pressed", String(chip.textContent === name));
      draw();
    },
  }, name));
  draw();
  const heads = ["Person", "Last event", "Last seen"].map((text) => el("th", { scope: "col" }, text));
  const counts = ["Events", "Problems"].map((text) => el("th", { scope: "col", class: "number" }, text));
  return el(
    "div", { class: "page" },
    el("div", { class: "filter" }, search, el("div", { class: "chips", role: "group", "aria-label": "Sorted by" }, orders)),
    says,
    everyone.length
      ? el("table", { class: "plain people" }, el("caption", { class: "sr" }, "People"), el("thead", {}, el("tr", {}, heads, counts)), body)
      : el("div", { class: "zero" }, el("h2", {}, "Nobody yet"), el("p", { class: "muted" }, "A person appears with the first event or identify that names them.")),
  );
}

const texts = (person) => [person.key, ...Object.values(person.identifiers)];
const problemsOf = (person) => person.lost + person.warned;

function line(person) {
  const verdict = person.last_verdict ?? "accepted";
  const { word, tone } = verdictOf(verdict);
  const other = Object.values(person.identifiers).filter((value) => value !== person.key);
  return el(
    "tr", {},
    el("th", { scope: "row" }, el("a", { href: to("people", person.key) }, cut(person.key, 120)), other.length ? el("span", { class: "also" }, cut(other.join(", "), 80)) : null),
    el("td", { class: "last" }, glyph(verdict, toneClass(tone)), el("span", { class: "sr" }, `${word}, `), " ", el("span", { class: "mono" }, cut(person.last_name ?? "—", 80))),
    el("td", { class: "seen muted" }, person.last_seen ? ago(person.last_seen) : "—"),
    el("td", { class: "number", "data-label": person.seen === 1 ? "event" : "events" }, String(person.seen)),
    el("td", { class: "number", "data-label": problemsOf(person) === 1 ? "problem" : "problems" }, String(problemsOf(person))),
  );
}
