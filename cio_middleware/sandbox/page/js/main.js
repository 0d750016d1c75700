/**
 * The page: loads what there is, then follows what happens.
 * @module
 */

import * as api from "./api.js";
import { Detail } from "./detail.js";
import { controls } from "./controls.js";
import { differencesView } from "./differences.js";
import { button, byId, el, fill } from "./dom.js";
import { EventsView } from "./events.js";
import { FaultsView } from "./faults.js";
import * as frame from "./frame.js";
import { Levers, activeFaults } from "./levers.js";
import { Summary } from "./live.js";
import { peopleView } from "./people.js";
import { personView } from "./person.js";
import { problemsView } from "./problems.js";
import { go, here, plus, to } from "./route.js";
import { toast } from "./share.js";
import { Stream, epochOf } from "./stream.js";
import { Strip } from "./strip.js";
import { clock } from "./words.js";

const UNDO_MS = 10_000;
const COUNTS_MS = 900;
const SERIES_MS = 2000;
const SECOND_MS = 1000;

class App {
  constructor() {
    this.site = "dev";
    this.environment = {};
    this.counts = { events: 0, people: 0, problems: 0, faults: 0 };
    this.summary = { total: 0 };
    this.everyone = [];
    this.faults = { rules: [], script: null };
    this.up = true;
    this.spoken = new Summary();
    this.strip = new Strip((from, until) => this.filterBy(`since:${clock(from, 0)} before:${clock(until, 0)}`));
    this.levers = new Levers((faults) => this.showFaults(faults), toast);
    this.events = new EventsView({ open: (seq) => go(to("events", seq, here().q)), empty: () => ({ environment: this.environment, site: this.site }) });
    this.detail = new Detail({ close: () => this.close(), filter: (word) => this.filterBy(word), q: () => here().q });
    this.faultsView = new FaultsView((faults) => this.showFaults(faults));
  }

  async start() {
    frame.legend(this.strip);
    controls(this);
    await this.learn();
    addEventListener("hashchange", () => this.arrive());
    this.stream = new Stream(this.site, (news) => this.hear(news), (up) => this.connected(up));
    const cursor = await this.events.load(here().q);
    this.epoch = epochOf(cursor);
    this.stream.follow(cursor);
    this.showFaults(await api.faults());
    await this.count();
    await this.arrive();
    document.documentElement.dataset.ready = "";
    setInterval(() => this.tick(), SERIES_MS);
    setInterval(() => this.faultsView.tick(), SECOND_MS);
  }

  async learn() {
    const info = await api.info();
    const summary = await api.summary();
    this.site = summary.workspace;
    this.environment = { ...info.environment, CUSTOMERIO_SITE_ID: this.site };
    fill(byId("version"), info.version);
    fill(byId("url"), info.url);
    frame.showWorkspaces(info.workspaces, this.site);
  }

  /** Show the view that the address names. */
  async arrive() {
    const { view, key, q } = here();
    const before = this.place;
    this.place = { view, key, q };
    frame.showView(view, key);
    frame.showSidePeople(this.everyone, view === "people" ? key : null);
    if (view === "events") await this.arriveAtEvents(key, q, before);
    else {
      this.detail.shut();
      await this.draw(before !== undefined && (before.view !== view || before.key !== key));
    }
    frame.showTitle(view, this.counts.events, this.counts.problems, this.up);
  }

  async arriveAtEvents(key, q, before) {
    if (!this.events.node.isConnected) fill(byId("list"), this.events.node);
    await this.events.show(q);
    const seq = key && /^\d+$/.test(key) ? Number(key) : null;
    this.events.select(seq);
    if (seq !== null) await this.detail.open(seq, { focus: before !== undefined });
    else if (this.detail.seq !== null) {
      const last = this.detail.seq;
      this.detail.shut();
      this.events.list.show(last, { focus: true });
    }
  }

  /** Draw a view other than the events. @param {boolean} arriving */
  async draw(arriving) {
    const { view, key } = this.place;
    const builders = {
      people: () => (key ? personView(key, { site: this.site }) : peopleView(this.everyone)),
      problems: () => problemsView(), faults: () => this.faultsView.arrive(), differences: () => differencesView(),
    };
    const content = await builders[view]();
    if (this.place.view !== view || this.place.key !== key) return;
    const stage = byId("list");
    const top = stage.firstElementChild?.scrollTop ?? 0;
    if (stage.firstElementChild !== content) fill(stage, content);
    if (arriving) stage.focus({ preventScroll: true });
    else content.scrollTop = top;
  }

  close() {
    if (here().view === "events" && here().key) go(to("events", null, here().q));
  }

  step(by) {
    if (here().view !== "events") return;
    const open = this.detail.seq;
    const next = this.events.list.beside(open ?? this.events.list.focused, by);
    if (next === null) return;
    this.events.list.show(next, { focus: open === null });
    if (open !== null) go(to("events", next, here().q), { replace: true });
  }

  filterBy(word) {
    if (word) go(to("events", here().view === "events" ? here().key : null, plus(here().q, word)));
  }

  toFilter() {
    if (here().view !== "events") go(to("events"));
    this.events.filter.input.focus();
  }

  async clear() {
    const clearing = api.clear();
    const back = async () => {
      this.undo = null;
      this.away?.();
      await api.undo((await clearing).undo).then(() => this.refresh());
    };
    this.undo = back; // at once: the stream may empty the list before the answer is here
    const { cleared } = await clearing;
    if (this.undo === back) this.away = toast(`Cleared ${cleared}`, { action: "Undo", act: back, ms: UNDO_MS });
    setTimeout(() => this.undo === back && (this.undo = null), UNDO_MS);
    await this.refresh();
  }

  async refresh() {
    await this.events.load(here().q);
    await this.count();
  }

  showFaults(faults) {
    this.faults = faults;
    this.counts.faults = activeFaults(faults);
    this.levers.show(faults);
    this.faultsView.show(faults);
    frame.showCounts(this.counts);
  }

  /** @param {import("./stream.js").News} news */
  hear({ kind, data }) {
    if (kind === "hello" || kind === "reset") this.begun(kind, data);
    else if (kind === "fault") this.showFaults(data);
    else if (kind === "lag") this.refresh();
    else if (kind === "event" || kind === "update") {
      if (kind === "event") this.spoken.note(data.items);
      this.events.take(kind, data.items);
      if (data.items.some((row) => row.seq === this.detail.seq)) this.detail.open(this.detail.seq, { focus: false });
      this.dirty();
    } else this.dirty();
  }

  begun(kind, data) {
    const epoch = String(data.epoch);
    const other = epoch !== this.epoch;
    const had = this.events.anything;
    this.epoch = epoch;
    if (other) this.events.rows.clear();
    if (kind === "reset" || other) this.refresh();
    if (!other || !had) return;
    const fine = button("Understood", () => frame.banner(null));
    frame.banner({ text: "The sandbox restarted, or was reset: what you see begins anew.", actions: [fine] });
    this.noticed = true;
  }

  connected(up) {
    if (up === this.up) return;
    this.up = up;
    frame.showConnected(up);
    if (!up) {
      const kept = `The last ${this.events.rows.length} events are still here.`;
      frame.banner({ text: `Server stopped at ${clock(Date.now() / 1000, 0)}. ${kept} Reconnecting…` });
      this.noticed = false;
    } else {
      if (!this.noticed) frame.banner(null);
      this.dirty();
    }
    frame.showTitle(here().view, this.counts.events, this.counts.problems, up);
  }

  /** Count again soon, once however much happens. */
  dirty() {
    this.counting ??= setTimeout(() => {
      this.counting = null;
      this.count().catch(() => {});
    }, COUNTS_MS);
  }

  async count() {
    const [summary, people, problems, series] = await Promise.all([api.summary(), api.people(), api.problems(), api.series(300)]);
    this.summary = summary;
    this.everyone = people.items.sort((one, other) => (other.last_seen ?? 0) - (one.last_seen ?? 0));
    Object.assign(this.counts, { events: summary.total, people: people.items.length, problems: problems.items.length });
    this.strip.show(series);
    frame.showCounts(this.counts);
    frame.showRate(summary, series, problems.items.length);
    frame.showSidePeople(this.everyone, here().view === "people" ? here().key : null);
    frame.showTitle(here().view, this.counts.events, this.counts.problems, this.up);
    this.events.counted(summary);
    if (this.place && ["people", "problems"].includes(here().view) && !byId("list").contains(document.activeElement)) await this.draw(false);
  }

  async tick() {
    this.events.empty.tick();
    if (!this.up || document.hidden) return;
    const series = await api.series(300).catch(() => null);
    if (!series) return;
    this.strip.show(series);
    frame.showRate(this.summary, series, this.counts.problems);
    if (api.place.workspace === null && !this.summary.total) await this.move();
  }

  /** An app that brought a site id of its own has a workspace of its own: follow the first one. */
  async move() {
    const { workspaces } = await api.info();
    frame.showWorkspaces(workspaces, this.site);
    if (workspaces.length === 1 && workspaces[0] !== this.site) location.reload();
  }
}

new App().start().catch((error) => {
  fill(byId("list"), el("div", { class: "empty" }, el("h2", {}, "The sandbox does not answer"), el("p", {}, error.message), button("Try again", () => location.reload())));
});
