/**
 * The lever frame: six faults, always in view, for everybody who looks.
 * @module
 */

import * as api from "./api.js";
import { byId, el, fill } from "./dom.js";

/** @type {{id: string, name: string, what: string, says: string, rule: any}[]} */
export const LEVERS = [
  { id: "lever-1", name: "429", what: "wait 2 s", says: "429, wait 2 seconds", rule: { label: "429, wait 2 s", do: { type: "status", status: 429, headers: { "Retry-After": "2" } } } },
  { id: "lever-2", name: "500", what: "always", says: "500, always", rule: { label: "500, always", do: { type: "status", status: 500 } } },
  { id: "lever-3", name: "Timeout", what: "hold", says: "Timeout, never answer", rule: { label: "Timeout", do: { type: "hang" } } },
  { id: "lever-4", name: "Reset", what: "drop socket", says: "Reset, drop the connection", rule: { label: "Reset", do: { type: "reset" } } },
  { id: "lever-5", name: "Slow", what: "+800 ms", says: "Slow, 800 milliseconds more", rule: { label: "Slow, +800 ms", do: { type: "latency", ms: 800 } } },
  { id: "lever-6", name: "Partial", what: "207, item 2", says: "Partial, refuse item 2 of each batch", rule: { label: "Partial, item 2", match: { endpoint: "*.batch" }, do: { type: "partial", indexes: [1] } } },
];

export class Levers {
  /** @param {(faults: any) => void} changed @param {(problem: string) => void} complain */
  constructor(changed, complain) {
    this.changed = changed;
    this.complain = complain;
    this.switches = LEVERS.map((lever, index) => this.build(lever, index));
    fill(byId("levers"), this.switches);
  }

  build(lever, index) {
    const node = el(
      "button", { type: "button", class: "lever", role: "switch", "aria-checked": "false", "aria-label": lever.says, onclick: () => this.pull(index) },
      el("span", { class: "no" }, index + 1), el("span", { class: "slot" }, el("span", { class: "handle" })),
      el("span", { class: "name" }, lever.name), el("span", { class: "what" }, lever.what),
    );
    for (const part of node.children) part.setAttribute("aria-hidden", "true");
    return node;
  }

  /** Pull a lever, or put it back. @param {number} index */
  async pull(index) {
    const lever = LEVERS[index];
    const pulled = this.switches[index].getAttribute("aria-checked") === "true";
    try {
      this.changed(await (pulled ? api.dropRule(lever.id) : api.putRule(lever.id, lever.rule)));
    } catch (error) {
      this.complain(error.message);
    }
  }

  async allBack() {
    this.changed(await api.clearFaults());
  }

  /** @param {any} faults the document of all faults */
  show(faults) {
    const active = new Set((faults.rules ?? []).filter((rule) => rule.enabled !== false).map((rule) => rule.id));
    let pulled = 0;
    this.switches.forEach((node, index) => {
      const on = active.has(LEVERS[index].id);
      pulled += Number(on);
      node.setAttribute("aria-checked", String(on));
    });
    fill(byId("frame-n"), pulled ? `${pulled} pulled` : "none pulled");
  }
}

/** True while a script has a step left that breaks something. @param {any} script */
export function playing(script) {
  const steps = script?.steps ?? [];
  const left = steps.slice(script?.taken ?? 0);
  return left.some((step) => !step.startsWith("ok")) || (steps.at(-1)?.endsWith("*") && !steps.at(-1).startsWith("ok"));
}

/** How many faults act now. @param {any} faults */
export const activeFaults = (faults) => (faults.rules ?? []).filter((rule) => rule.enabled !== false).length + Number(Boolean(playing(faults.script)));
