/**
 * Faults: a rule as a sentence, what acts now, and the named scenarios.
 * @module
 */

import * as api from "./api.js";
import { button, cut, el, fill } from "./dom.js";
import { acts, playing } from "./levers.js";
import { toast } from "./share.js";
import { counted } from "./words.js";

const ENDPOINTS = [["", "all"], ["*.batch", "batch"], ["*.identify", "identify"], ["*.event", "event"], ["track.v2.*", "Track v2"], ["track.v1.*", "Track v1"]];
const WHENS = [["first", "the first"], ["always", "every time"], ["after", "all after the first"], ["every", "every n-th, n ="], ["chance", "by chance, in percent"]];
const ACTS = [
  ["status", "answer with status"], ["latency", "wait, in ms"], ["hang", "never answer"], ["reset", "reset the connection"], ["ack_lost", "store it, then cut the line"], ["partial", "refuse item"], ["garbage", "answer with a proxy’s HTML"],
  ["blackhole", "answer 200 and lose it"], ["rate_limit", "let through, requests a second"], ["flap", "fail and recover, each for s"], ["redirect", "send to the other region"],
];
const AMOUNTS = { status: "429", latency: "800", partial: "2", rate_limit: "5", flap: "10" };

export class FaultsView {
  /** @param {(faults: any) => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.faults = { rules: [], script: null };
    /** @type {any[]} */
    this.known = [];
    this.acting = el("div", { class: "acting", id: "acting" });
    this.scenarios = el("div", { class: "scenarios" });
    this.node = el(
      "div", { class: "page faults" },
      this.section("Acting now", this.acting),
      this.section("Add a rule", this.editor()),
      this.section("Scenarios", this.scenarios),
      this.section("Script", this.scriptEditor()),
    );
  }

  section(title, ...content) {
    return el("section", {}, el("h2", {}, title), content);
  }

  /** The view, with the scenarios that this server knows. */
  async arrive() {
    this.known = (await api.scenarios()).items;
    this.showScenarios();
    return this.node;
  }

  /** Scenarios are switches: what runs is stopped by the same button. */
  showScenarios() {
    const ids = (this.faults.rules ?? []).filter(acts).map((rule) => rule.id);
    const had = document.activeElement?.dataset?.scenario;
    fill(this.scenarios, this.known.map((one) => {
      const runs = ids.some((id) => id.startsWith(`scenario-${one.name.replace(/%$/, "")}-`));
      const call = () => (runs ? api.stopScenario() : api.startScenario(one.name));
      return el(
        "button", { type: "button", class: "scenario", "data-scenario": one.name, "aria-pressed": String(runs), onclick: () => this.act(call) },
        el("b", {}, one.name), el("span", {}, one.sentence),
      );
    }));
    if (had) this.scenarios.querySelector(`[data-scenario="${CSS.escape(had)}"]`)?.focus();
  }

  /** A second passed: say how much is left, and let go of what is over. */
  tick() {
    for (const left of this.acting.querySelectorAll("[data-ends]")) {
      if (Number(left.dataset.ends) * 1000 <= Date.now()) return this.changed(this.faults);
      fill(left, remaining(Number(left.dataset.ends)));
    }
    return undefined;
  }

  /** @param {() => Promise<any>} call */
  async act(call) {
    try {
      const faults = await call();
      this.changed(faults?.rules ? faults : await api.faults());
    } catch (error) {
      toast(error.message);
    }
  }

  editor() {
    const select = (label, choices) => el("select", { class: "field", "aria-label": label }, choices.map(([value, text]) => el("option", { value }, text)));
    const endpoint = select("Requests", ENDPOINTS);
    const when = select("When", WHENS);
    const times = el("input", { class: "field short", type: "number", min: 1, max: 10000, value: 2, "aria-label": "How many" });
    const act = select("Answer", ACTS);
    const amount = el("input", { class: "field short", type: "number", min: 0, max: 60000, value: 429, "aria-label": "Status, milliseconds or item" });
    const wait = el("input", { class: "field short", type: "number", min: 0, max: 3600, value: 2, "aria-label": "Seconds to ask to wait" });
    const asks = el("span", { class: "asks" }, " and ask to wait ", wait, " s");
    const timesUnit = el("span", {}, " times");
    const fit = () => {
      const kind = act.value;
      amount.hidden = !(kind in AMOUNTS);
      amount.value = AMOUNTS[kind] ?? amount.value;
      asks.hidden = kind !== "status";
      times.hidden = when.value === "always";
      timesUnit.hidden = !["first", "after"].includes(when.value);
    };
    act.addEventListener("change", fit);
    when.addEventListener("change", fit);
    fit();
    const read = () => ({
      match: endpoint.value ? { endpoint: endpoint.value } : undefined,
      when: { mode: when.value, ...(when.value === "chance" ? { p: Number(times.value) / 100 } : when.value === "always" ? {} : { n: Number(times.value) }) },
      do: doing(act.value, Number(amount.value), Number(wait.value)),
    });
    return el(
      "form", { class: "sentence", onsubmit: (event) => {
        event.preventDefault();
        this.act(() => api.addRule(read()));
      } },
      "For ", endpoint, " requests, ", when, " ", times, timesUnit, ", ", act, " ", amount, asks, ". ", el("button", { class: "button primary", type: "submit" }, "Add rule"),
    );
  }

  scriptEditor() {
    const steps = el("input", { class: "field wide", value: "429;retry_after=1, 500, reset, ok*", "aria-label": "Steps, one for each request", spellcheck: "false" });
    return el(
      "form", { class: "script", onsubmit: (event) => {
        event.preventDefault();
        this.act(() => api.play(steps.value.split(",").map((step) => step.trim()).filter(Boolean)));
      } }, steps, el("button", { class: "button", type: "submit" }, "Play"), el("p", { class: "muted" }, "One step for each request; a last one with * repeats."),
    );
  }

  /** @param {any} faults */
  show(faults) {
    this.faults = faults;
    const rules = (faults.rules ?? []).filter((rule) => !rule.ends_at || acts(rule));
    const script = faults.script;
    const nothing = !rules.length && !playing(script);
    fill(
      this.acting,
      nothing ? el("p", { class: "muted" }, "Nothing: every request is answered as Customer.io would.") : null,
      rules.length ? el("ul", { class: "rules" }, rules.map((rule) => this.rule(rule))) : null,
      playing(script) ? el("p", { class: "playing" }, "Script: step ", el("b", {}, String(Math.min(script.taken + 1, script.steps.length))), ` of ${script.steps.length}, `, el("code", {}, cut(script.steps.join(", "), 200))) : null,
      nothing ? null : el("p", {}, button("Put all back", () => this.act(api.clearFaults)), " ", el("kbd", { "aria-hidden": "true" }, "0")),
    );
    this.showScenarios();
  }

  rule(rule) {
    return el(
      "li", { class: "rule", "data-rule": rule.id },
      el("span", { class: "rule-lamp", "aria-hidden": "true" }), el("span", {}, el("b", {}, cut(rule.label || rule.id, 80)), el("span", { class: "muted" }, sentence(rule))),
      el("span", { class: "hits" }, counted(rule.hits ?? 0, "hit"), rule.ends_at ? [", ", el("span", { "data-ends": String(rule.ends_at) }, remaining(rule.ends_at))] : null),
      button("Put back", () => this.act(() => api.dropRule(rule.id)), { "aria-label": `Put back ${rule.label || rule.id}` }),
    );
  }
}

function doing(type, amount, wait) {
  if (type === "status") return { type, status: amount, ...(wait ? { headers: { "Retry-After": String(wait) } } : {}) };
  if (type === "latency") return { type, ms: amount };
  if (type === "partial") return { type, indexes: [Math.max(0, amount - 1)] };
  if (type === "rate_limit") return { type, rate: amount, burst: amount };
  if (type === "flap") return { type, up_s: amount, down_s: amount };
  if (type === "redirect") return { type, status: 301, to: "https://track-eu.sandbox.invalid" };
  return type === "garbage" ? { type, status: 502 } : { type };
}

/** @param {number} at Unix seconds */
const remaining = (at) => `${Math.max(0, Math.ceil(at - Date.now() / 1000))} s left`;

/** @param {any} rule @returns {string} */
export function sentence(rule) {
  const which = rule.match?.endpoint ? `${rule.match.endpoint} requests` : "all requests";
  const when = { always: "every time", first: `the first ${rule.when?.n} times`, after: `after the first ${rule.when?.n}`, every: `every ${rule.when?.n}th time`, chance: `${Math.round((rule.when?.p ?? 0) * 100)} % of the time` }[rule.when?.mode] ?? "";
  const act = rule.do ?? {};
  const what = { status: `answer ${act.status}`, latency: `wait ${act.ms} ms`, hang: "never answer", reset: "reset the connection", ack_lost: "store, then cut", partial: `refuse item ${(act.indexes ?? []).map((index) => index + 1).join(", ")}`, garbage: "answer with a proxy’s HTML", blackhole: "answer 200 and lose it", rate_limit: `let ${act.rate} through a second, answer the others 429`, flap: `let through for ${act.up_s} s, answer ${act.status} for ${act.down_s} s`, redirect: `answer ${act.status} to ${act.to}` }[act.type] ?? act.type;
  const retry = act.headers?.["Retry-After"] ? `, ask to wait ${act.headers["Retry-After"]} s` : "";
  const long = rule.when?.for_s ? `, for ${rule.when.for_s} s` : "";
  return `For ${which}, ${when}${long}: ${what}${retry}`;
}
