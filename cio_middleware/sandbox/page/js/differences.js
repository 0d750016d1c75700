/**
 * Where this sandbox is not Customer.io, or cannot know whether it is.
 * @module
 */

import * as api from "./api.js";
import { cut, el } from "./dom.js";
import { capital } from "./words.js";

const SURE = { documented: "Documented, not exactly", seen: "Seen in traffic, or in code of others", guess: "A guess" };

export async function differencesView() {
  const { items } = await api.differences();
  return el(
    "div", { class: "page differences", tabindex: 0, role: "region", "aria-label": "Differences" },
    el("h2", { class: "name" }, "Differences from the real API"),
    el("p", { class: "muted lead" }, "What Customer.io’s documents leave open, how this sandbox decides it, and how sure that is. A test that hangs on one of these tests the sandbox."),
    el("ul", { class: "causes" }, items.map(difference)),
  );
}

function difference(item) {
  const others = (item.alternatives ?? []).map(written).join(", ");
  const facts = [["Here", written(item.value)], ["Or", others], ["Source", item.source], ["How sure", SURE[item.sure] ?? item.sure]];
  return el(
    "li", { class: "cause", "data-key": item.key }, el("h2", { class: "mono" }, cut(capital(String(item.key).replaceAll("_", " ")))), el("p", {}, cut(item.sentence, 800)),
    el("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", {}, cut(value, 400))])),
  );
}

function written(value) {
  if (value === "" || value === null) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}
