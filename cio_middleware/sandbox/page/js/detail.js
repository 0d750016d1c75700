/**
 * One event, whole: a sentence, what is wrong and how to mend it, its delivery, payload and origin.
 * @module
 */

import * as api from "./api.js";
import { changes } from "./changes.js";
import { button, byId, cut, el, fill, glyph } from "./dom.js";
import { payload } from "./payload.js";
import { term, to } from "./route.js";
import { copy } from "./share.js";
import { splitter } from "./splitter.js";
import { timeline } from "./timeline.js";
import { capital, clock, nameOf, stampOf, toneClass, took, verdictOf } from "./words.js";

export class Detail {
  /** @param {{close: () => void, filter: (term: string) => void, q: () => string}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.node = byId("detail");
    this.body = el("div", { class: "detail-body" });
    this.node.replaceChildren(splitter(), this.body);
    this.seq = null;
    this.tab = "Pretty";
  }

  /** @param {number} seq @param {{focus?: boolean}} [how] */
  async open(seq, { focus = true } = {}) {
    const other = seq !== this.seq;
    this.seq = seq;
    let event;
    try {
      event = await api.event(seq);
    } catch (error) {
      event = { missing: error.message };
    }
    if (seq !== this.seq) return; // another one was opened meanwhile
    this.event = event;
    this.node.hidden = false;
    document.body.toggleAttribute("data-detail", true);
    const scrolled = this.body.scrollTop;
    const had = this.body.contains(document.activeElement);
    fill(this.body, event.missing ? this.gone(event.missing) : this.parts(event));
    if (!other) this.body.scrollTop = scrolled;
    if ((focus && other) || had) byId("detail-h").focus({ preventScroll: !other });
  }

  shut() {
    this.seq = null;
    this.event = null;
    this.node.hidden = true;
    document.body.removeAttribute("data-detail");
  }

  gone(message) {
    return [this.head("Not here", message), button("Back to the list", () => this.close())];
  }

  head(name, says, verdict) {
    const tone = verdict ? verdictOf(verdict).tone : "";
    return el(
      "div", { class: "detail-head" },
      el("h2", { id: "detail-h", tabindex: -1, class: name.length > 40 ? "long" : null }, cut(name)),
      el("button", { type: "button", class: "close", "aria-label": "Close the detail", onclick: () => this.close() }, el("span", { "aria-hidden": "true" }, "×"), el("span", { class: "back", "aria-hidden": "true" }, "Back")),
      el("p", { class: "sub" }, verdict ? glyph(verdict, toneClass(tone)) : null, el("span", {}, says)),
    );
  }

  parts(event) {
    const who = event.person ? `${cut(event.person)}, ` : "";
    const says = `${who}${event.headline ?? verdictOf(event.verdict).word}`;
    return [
      this.head(nameOf(event), says, event.verdict),
      [...(event.errors ?? []), ...(event.warnings ?? [])].map((finding) => this.finding(finding, event)),
      event.verdict === "never_sent" ? this.neverSent(event) : section("Delivery", timeline(event)),
      this.payload(event),
      this.origin(event),
      this.related(event),
      this.actions(event),
    ];
  }

  finding(finding, event) {
    const bad = event.errors?.includes(finding);
    return el(
      "section", { class: `finding ${bad ? "is-bad" : "is-warn"}`, "aria-label": bad ? "Problem" : "Warning" },
      el("h3", {}, bad ? "Problem" : "Accepted, but", " ", el("button", { type: "button", class: "link code", onclick: () => this.filter(term("code", finding.code)) }, finding.code)),
      el("p", {}, cut(capital(finding.explain || finding.message), 600)),
      finding.explain && finding.message && finding.explain !== finding.message ? el("p", { class: "words" }, "Customer.io says: ", el("code", {}, cut(finding.message, 300))) : null,
      finding.fix ? el("p", { class: "fix" }, el("b", {}, "Fix "), cut(finding.fix, 400)) : null,
    );
  }

  neverSent(event) {
    const context = event.context ?? {};
    const reason = event.drop_reason ?? context.drop_reason ?? "unknown";
    return section("Never sent", el("p", {}, "Your app captured this and did not send it: ", el("b", {}, reason), "."));
  }

  payload(event) {
    const pretty = event.payload_text ?? JSON.stringify(event.sent, null, 2) ?? "";
    const views = { Pretty: pretty, Raw: event.raw ?? event.payload_text ?? "" };
    const isEvent = ["event", "page", "screen"].includes(event.kind);
    const draw = () => payload(views[this.tab] ?? pretty, { event: isEvent, filter: this.filter, label: `Payload, ${this.tab.toLowerCase()}` });
    const names = event.kind === "identify" && event.person && ["accepted", "accepted_but"].includes(event.verdict) ? [...Object.keys(views), "Changes"] : Object.keys(views);
    if (!names.includes(this.tab)) this.tab = "Pretty";
    const holder = el("div");
    const show = async () => {
      const wanted = this.tab;
      const content = wanted === "Changes" && names.includes(wanted) ? await changes(event) : draw();
      if (wanted === this.tab) fill(holder, content);
    };
    show();
    const tabs = names.map((name) => el("button", {
      type: "button", class: "tab", "aria-pressed": String(name === this.tab),
      onclick: () => {
        this.tab = name;
        for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.textContent === name));
        show();
      },
    }, name));
    return el("section", {}, el("h3", { class: "with-tabs" }, "Payload", el("span", { class: "tabs" }, tabs)), holder);
  }

  origin(event) {
    const context = event.context;
    const pending = !context || !Object.keys(context).length;
    const request = event.request && typeof event.request === "object" ? event.request : null;
    const last = event.attempts_log?.at(-1);
    const batch = last && typeof last.batch_index === "number" ? `item ${last.batch_index + 1} of ${last.batch_size ?? "?"}` : null;
    const route = context?.route ? [context.method, context.route].filter(Boolean).join(" ") + (context.status ? `, ${context.status}` : "") : null;
    const rows = [
      ["Request", route, context?.route && term("route", context.route)],
      ["Task", context?.task],
      ["Trace", context?.trace_id, context?.trace_id && term("trace", context.trace_id)],
      ["Span", context?.span_id],
      ["Call site", context?.call_site],
      ["Delivered by", request ? `${request.method} ${request.path}` : null],
      ["Batch", batch],
      ["Person", event.person, event.person && term("person", event.person)],
      ["Dedup id", event.event_id],
      ["Kind", stampOf(event)[1], term("kind", event.kind)],
      ["Received", clock(event.received_at)],
      ["Took", took(event.took_ms)],
    ];
    return section(
      "Where it came from",
      pending ? el("p", { class: "muted pending", id: "context-pending" }, "Context pending: your app has not said where this was captured.") : null,
      el("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value, word]) => [el("dt", {}, name), el("dd", {}, word ? el("button", { type: "button", class: "value", title: `Filter by ${word}`, "data-term": word, onclick: () => this.filter(word) }, cut(value, 300)) : cut(value, 300))])),
    );
  }

  related(event) {
    const kinds = [["same_request", "Same request"], ["same_trace", "Same trace"], ["same_person", "Same person"]];
    const found = kinds.map(([key, label]) => [label, (event.related?.[key] ?? []).filter((seq) => seq !== event.seq)]).filter(([, seqs]) => seqs.length);
    if (!found.length) return null;
    const links = (seqs) => seqs.slice(0, 12).map((seq) => [el("a", { href: to("events", seq, this.q()) }, `#${seq}`), " "]);
    return section("Related", el("dl", { class: "facts" }, found.map(([label, seqs]) => [el("dt", {}, label), el("dd", {}, links(seqs), seqs.length > 12 ? `and ${seqs.length - 12} more` : null)])));
  }

  actions(event) {
    const { pytest, curl } = event.copy ?? {};
    return el(
      "div", { class: "actions", id: "copy-menu" },
      pytest ? button("Copy as pytest", () => copy(pytest, "as pytest"), { "data-copy": "pytest" }) : null,
      curl ? button("Copy as curl", () => copy(curl, "as curl"), { "data-copy": "curl" }) : null,
      button("Copy link", () => copy(location.href, "the link"), { "data-copy": "link" }),
      event.person ? el("a", { class: "button", href: to("people", event.person) }, "Open person") : null,
    );
  }
}

function section(title, ...content) {
  return content.some(Boolean) ? el("section", {}, el("h3", {}, title), content) : null;
}
