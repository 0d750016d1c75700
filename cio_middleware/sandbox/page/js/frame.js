/**
 * The frame around the views: counts, rate, people at the side, banner, title.
 * @module
 */

import { byId, cut, el, fill, glyph } from "./dom.js";
import { show } from "./share.js";
import { to } from "./route.js";
import { VERDICTS, counted, toneClass, took, verdictOf } from "./words.js";

const SIDE_PEOPLE = 60;
const TITLES = { events: "Events", people: "People", problems: "Problems", faults: "Faults", differences: "Differences from the real API" };

/** @param {import("./strip.js").Strip} strip */
export function legend(strip) {
  const shown = ["accepted", "rejected", "accepted_but", "fault", "duplicate"];
  const marks = shown.map((verdict) => el("span", {}, glyph(verdict, toneClass(VERDICTS[verdict].tone)), VERDICTS[verdict].word));
  const more = el("button", { type: "button", class: "link", onclick: () => show("The last five minutes", [strip.table()]) }, "View as table");
  fill(byId("legend"), marks, more);
}

/** @param {{events: number, people: number, problems: number, faults: number}} counts */
export function showCounts(counts) {
  for (const [name, count] of Object.entries(counts)) fill(byId(`n-${name}`), count > 99999 ? "99999+" : String(count));
  document.body.toggleAttribute("data-faulty", counts.faults > 0);
}

/** @param {any} summary @param {any} series @param {number} problems */
export function showRate(summary, series, problems) {
  const rate = series?.rate ?? 0;
  fill(byId("rate"), `${rate >= 10 ? Math.round(rate) : rate.toFixed(1).replace(/\.0$/, "")}/s`);
  const p95 = typeof series?.p95_ms === "number" ? `, p95 ${took(series.p95_ms)}` : "";
  fill(byId("rate-says"), summary.total ? `${counted(summary.total, "event")}, ${counted(problems, "problem")}${p95.replace(/(?<=p95.*) /g, "\u00a0")}` : "Nothing yet");
}

/** The newest people, with the verdict of what they did last. @param {any[]} people @param {string|null} current */
export function showSidePeople(people, current) {
  fill(byId("side-people-n"), String(people.length));
  const items = people.slice(0, SIDE_PEOPLE).map((person) => el("li", {}, sidePerson(person, current)));
  fill(byId("side-people"), items.length ? items : el("li", { class: "none" }, "Nobody yet."));
}

function sidePerson(person, current) {
  const verdict = person.last_verdict ?? "accepted";
  return el(
    "a", { href: to("people", person.key), "aria-current": person.key === current ? "true" : null, title: cut(person.key) },
    glyph(verdict, toneClass(verdictOf(verdict).tone)), el("span", { class: "sr" }, `${verdictOf(verdict).word}: `), el("span", { class: "who" }, cut(person.key, 80)), el("span", { class: "count" }, String(person.seen)),
    el("span", { class: "last" }, cut(person.last_name ?? "—", 60)),
  );
}

/**
 * @param {string} view
 * @param {string|null} key
 */
export function showView(view, key) {
  document.body.dataset.view = view;
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  fill(byId("title"), view === "people" && key ? cut(key, 80) : TITLES[view]);
}

/** The tab's name: how much came, or how much is wrong. @param {string} view @param {number} events @param {number} problems @param {boolean} up */
export function showTitle(view, events, problems, up) {
  const mark = !up ? "○" : problems ? `■ ${problems}` : `● ${events}`;
  document.title = `${mark} – ${view === "events" ? "" : `${TITLES[view]} – `}cio sandbox`;
}

/** @param {{text: string, actions?: Node[]}|null} news */
export function banner(news) {
  const node = byId("banner");
  node.hidden = !news;
  if (news) fill(node, el("span", {}, news.text), news.actions ?? []);
}

/** @param {boolean} up */
export function showConnected(up) {
  document.body.toggleAttribute("data-off", !up);
  const lamp = up ? "#FFD02E" : "#66796F";
  const shape = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#12211C"/><circle cx="16" cy="16" r="8" fill="${lamp}"/></svg>`;
  byId("favicon").setAttribute("href", `data:image/svg+xml,${encodeURIComponent(shape)}`);
}

/** @param {string[]} names @param {string} current */
export function showWorkspaces(names, current) {
  byId("workspace-box").hidden = names.length < 2;
  const all = names.includes(current) ? names : [current, ...names];
  const select = byId("workspace");
  const known = [...select.options].map((option) => option.value);
  if (known.join("\n") !== all.join("\n")) fill(select, all.map((name) => el("option", { value: name }, cut(name, 40))));
  select.value = current;
}
