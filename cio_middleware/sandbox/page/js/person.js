/**
 * One person: what Customer.io would know, where each attribute came from, and all that happened.
 * @module
 */

import * as api from "./api.js";
import { button, cut, el, glyph } from "./dom.js";
import { payload } from "./payload.js";
import { go, term, to } from "./route.js";
import { copy } from "./share.js";
import { ago, clock, counted, nameOf, stampOf, toneClass, verdictOf } from "./words.js";

/** @param {string} key @param {{site: string}} _known */
export async function personView(key, _known) {
  let person;
  try {
    person = await api.person(key);
  } catch (error) {
    if (error.answer?.gone) return goneView(key, error.answer.gone);
    const nobody = el("div", { class: "zero" }, el("h2", {}, "Nobody is called that"), el("p", { class: "muted" }, error.message), el("p", {}, el("a", { href: to("people") }, "All people")));
    return el("div", { class: "page" }, nobody);
  }
  const attributes = person.attributes ?? {};
  return el(
    "div", { class: "page person" },
    el("p", { class: "crumb" }, el("a", { href: to("people") }, "People")),
    el("h2", { class: "name" }, cut(key, 200)),
    el("p", { class: "muted" }, sentence(person)),
    person.suppressed ? suppressed() : null,
    merged(person),
    el(
      "div", { class: "columns" },
      el("div", {}, block("Attributes", attributesTable(attributes, person.history ?? {})), block("Timeline", timeline(person))),
      el("div", {}, block("Identifiers", facts(person.identifiers)), block("Devices", devices(person.devices)), block("Relationships", relationships(person.relationships)), block("Segments", list(person.segments)), block("What Customer.io would know", known(person))),
    ),
    el("div", { class: "actions" }, button("Show events", () => go(to("events", null, term("person", key)))), button("Copy as JSON", () => copy(JSON.stringify(person.known ?? person, null, 2), "what Customer.io would know"))),
  );
}

/** Who is not here any more: suppressed, deleted, or part of somebody else. @param {string} key @param {any} left */
function goneView(key, left) {
  const into = left.merged_into;
  return el(
    "div", { class: "page person" },
    el("p", { class: "crumb" }, el("a", { href: to("people") }, "People")),
    el("h2", { class: "name" }, cut(key, 200)),
    left.suppressed ? suppressed() : null,
    into ? el("p", { class: "notice", id: "merged-into" }, "Merged into ", el("a", { href: to("people", into) }, cut(into, 200)), ": what they had is there now.") : null,
    !left.suppressed && !into ? el("p", { class: "muted" }, "There is no such person now. These events named them.") : null,
    block("Timeline", timeline(left)),
    el("div", { class: "actions" }, button("Show events", () => go(to("events", null, term("person", key))))),
  );
}

const suppressed = () => el("p", { class: "notice", id: "suppressed" }, glyph("ignored", "quiet-tone"), " Suppressed: whatever your app sends for this person, Customer.io answers 200 and ignores it.");

function sentence(person) {
  const known = person.identified === false ? "Not identified yet: only events have named this person." : "Identified.";
  return `${known} ${counted(Object.keys(person.attributes ?? {}).length, "attribute")}, ${counted(person.devices?.length ?? 0, "device")}.`;
}

function merged(person) {
  const from = person.merged_from;
  return from.length ? el("p", { class: "notice", id: "merged" }, "Merged from ", el("b", {}, cut(from.join(", "), 200)), ": what they had is here now.") : null;
}

const block = (title, ...content) => (content.some(Boolean) ? el("section", {}, el("h3", {}, title), content) : null);

function attributesTable(attributes, history) {
  const names = [...new Set([...Object.keys(attributes), ...Object.keys(history)])];
  if (!names.length) return el("p", { class: "muted" }, "None.");
  return el("table", { class: "plain attributes" }, el("caption", { class: "sr" }, "Attributes"), el("thead", {}, el("tr", {}, ["Name", "Value", "Type", "Since"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, names.map((name) => attribute(name, attributes, history[name] ?? []))));
}

function attribute(name, attributes, changes) {
  const gone = !Object.hasOwn(attributes, name);
  const value = gone ? "" : attributes[name];
  const latest = changes.at(-1);
  const earlier = changes.slice(0, -1).reverse();
  const before = earlier.length
    ? el("details", {}, el("summary", {}, counted(earlier.length, "earlier value")), el("ol", { class: "history" }, earlier.map((change) => el("li", {}, el("code", {}, written(change.value)), " ", origin(change)))))
    : null;
  return el("tr", {}, el("th", { scope: "row" }, cut(name, 150)), el("td", {}, gone ? el("i", {}, "deleted") : el("code", {}, written(value)), before), el("td", { class: "muted" }, typeOf(value)), el("td", { class: "muted" }, latest ? origin(latest) : "—"));
}

const written = (value) => cut(typeof value === "string" ? JSON.stringify(value) : JSON.stringify(value) ?? String(value), 300);
const origin = (change) => [el("time", { title: clock(change.at) }, ago(change.at)), change.seq ? [" ", el("a", { href: to("events", change.seq) }, `#${change.seq}`)] : null];

function typeOf(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value;
}

function facts(values) {
  const entries = Object.entries(values ?? {});
  return entries.length ? el("dl", { class: "facts" }, entries.map(([name, value]) => [el("dt", {}, name), el("dd", {}, cut(written(value).replace(/^"|"$/g, ""), 200))])) : null;
}

function devices(all) {
  return all?.length ? el("ul", { class: "plain-list" }, all.map((device) => el("li", {}, el("b", {}, cut(device.platform ?? "device")), " ", el("code", {}, cut(device.token ?? device.id ?? "", 80))))) : null;
}

function relationships(all) {
  return all?.length ? el("ul", { class: "plain-list" }, all.map((one) => el("li", {}, el("code", {}, cut(JSON.stringify(one), 160))))) : null;
}

const list = (all) => (all?.length ? el("ul", { class: "plain-list" }, all.map((one) => el("li", {}, cut(one)))) : null);

function known(person) {
  const view = person.known ?? { identifiers: person.identifiers, attributes: person.attributes };
  return payload(typeof view === "string" ? view : JSON.stringify(view, null, 2), { event: false, filter: (word) => go(to("events", null, word)), label: "What Customer.io would know" });
}

/** Grouped by request: everything caused by one of them stands together. */
function timeline(person) {
  if (!person.timeline.length) return el("p", { class: "muted" }, "Nothing yet.");
  return el("ol", { class: "moments" }, person.timeline.map((request) => el("li", {}, el("p", { class: "muted when" }, clock(request.at), request.path ? `, ${request.method} ${request.path}, ${request.status ?? "no answer"}` : ""), el("ul", {}, request.rows.map(moment)))));
}

function moment(row) {
  const { word, tone } = verdictOf(row.verdict);
  const [stamp, kind] = stampOf(row);
  return el("li", {}, glyph(row.verdict, toneClass(tone)), el("span", { class: "sr" }, `${word} `), el("abbr", { class: "stamp", title: kind }, stamp), el("a", { href: to("events", row.seq) }, cut(nameOf(row), 100)));
}
