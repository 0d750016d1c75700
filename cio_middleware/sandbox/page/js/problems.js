/**
 * What is wrong, once for each cause: how often, why, and what to do.
 * @module
 */

import * as api from "./api.js";
import { button, cut, el, glyph, svg } from "./dom.js";
import { go, term, to } from "./route.js";
import { copy } from "./share.js";
import { ago, capital, counted, toneClass, verdictOf } from "./words.js";

export async function problemsView() {
  const { items, total_events: total } = await api.problems();
  if (!items.length) {
    return el("div", { class: "page" }, el("div", { class: "zero", id: "no-problems" }, glyph("accepted", "ok"), el("h2", {}, `No problems in ${counted(total ?? 0, "event")}.`), el("p", { class: "muted" }, "What Customer.io would refuse, ignore or misunderstand stands here, once for each cause.")));
  }
  return el("div", { class: "page problems" }, el("p", { class: "muted says" }, `${counted(items.length, "cause")} in ${counted(total, "event")}`), el("ul", { class: "causes" }, items.map(cause)));
}

function cause(problem) {
  const verdict = problem.code.startsWith("W-") ? "accepted_but" : problem.verdict;
  const { word, tone } = verdictOf(verdict);
  const samples = problem.samples ?? [];
  const field = problem.field ? [" in ", el("code", {}, cut(problem.field, 80))] : null;
  return el(
    "li", { class: "cause", "data-code": problem.code },
    el("div", { class: "cause-head" }, glyph(verdict, toneClass(tone)), el("span", { class: "sr" }, word), el("h2", {}, cut(capital(problem.explain || problem.message || problem.code), 240)), el("b", { class: "count" }, `${problem.count}×`)),
    el("p", { class: "muted" }, el("code", {}, problem.code), problem.name ? [", ", el("span", { class: "mono" }, cut(problem.name, 100))] : null, field, `, first ${ago(problem.first)}, last ${ago(problem.last)}`),
    spark(problem.spark ?? [], toneClass(tone)),
    problem.fix ? el("p", { class: "fix" }, el("b", {}, "Fix "), cut(problem.fix, 400)) : null,
    samples.length ? el("p", { class: "samples" }, "Samples ", samples.map((sample) => [el("a", { href: to("events", sample.seq) }, `#${sample.seq}`), sample.person ? ` ${cut(sample.person, 40)}` : "", "  "])) : null,
    el("div", { class: "actions" }, button(`Show ${counted(problem.count, "event")}`, () => go(to("events", null, query(problem)))), button("Copy as issue", () => copy(issue(problem), "as an issue"))),
  );
}

const query = (problem) => [term("code", problem.code), problem.name ? term("name", problem.name) : ""].filter(Boolean).join(" ");

function spark(values, tone) {
  if (!values.length) return null;
  const most = Math.max(1, ...values);
  const bars = values.map((value, index) => svg("rect", { x: index * 4, y: 20 - (value / most) * 18, width: 3, height: Math.max(value ? 2 : 0, (value / most) * 18) }));
  return svg("svg", { class: `spark ${tone}`, viewBox: `0 0 ${values.length * 4} 20`, width: values.length * 4, height: 20, role: "img", "aria-label": `How often over time: ${values.join(", ")}` }, svg("rect", { class: "ground", x: 0, y: 19, width: values.length * 4, height: 1 }), bars);
}

function issue(problem) {
  const lines = [
    `### ${problem.explain || problem.message}`, "", `- code: \`${problem.code}\``, problem.field && `- field: \`${problem.field}\``, problem.name && `- event: \`${problem.name}\``,
    `- seen ${problem.count} times in the local sandbox`, problem.message && `- Customer.io says: ${problem.message}`, problem.fix && `- fix: ${problem.fix}`,
  ];
  return lines.filter((line) => line !== undefined && line !== null && line !== "" || line === "").filter(Boolean).join("\n");
}
