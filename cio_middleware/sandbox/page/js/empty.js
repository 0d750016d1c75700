/**
 * The empty state: it works, with this server's address already in.
 * @module
 */

import * as api from "./api.js";
import { button, el, fill } from "./dom.js";
import { copy, toast } from "./share.js";

const PATIENCE_S = 20;

const APPS = {
  FastAPI: (env) => `${env}\nuvicorn shop:app\n\n# shop.py\nfrom cio_middleware.asgi import CustomerIOMiddleware\napp.add_middleware(CustomerIOMiddleware)`,
  "Django / Flask": (env) => `${env}\ngunicorn shop:app\n\n# shop.py, or wsgi.py\nfrom cio_middleware.wsgi import CustomerIOMiddleware\napp.wsgi_app = CustomerIOMiddleware(app.wsgi_app)`,
  Script: (env) => `${env}\npython script.py\n\n# script.py\nimport cio_middleware as cio\ncio.track("signed_up", {"plan": "pro"}, person="ada")`,
};

export class Empty {
  /** @param {() => {environment: Record<string, string>, site: string}} known */
  constructor(known) {
    this.known = known;
    this.tab = "FastAPI";
    this.since = Date.now();
    this.waiting = el("p", { class: "waiting" });
    this.node = el("section", { class: "empty", "aria-labelledby": "empty-h" });
  }

  draw() {
    const { environment } = this.known();
    const env = Object.entries(environment ?? {}).map(([name, value]) => `export ${name}=${value}`).join("\n");
    const code = el("pre", { class: "payload", tabindex: 0, id: "empty-code", role: "tabpanel", "aria-label": this.tab });
    const tabs = Object.keys(APPS).map((name) => el("button", { type: "button", class: "chip", role: "tab", "aria-controls": "empty-code", onclick: () => choose(name) }, name));
    const choose = (name, focus = false) => {
      this.tab = name;
      fill(code, APPS[name](env));
      code.setAttribute("aria-label", name);
      for (const tab of tabs) {
        const on = tab.textContent === name;
        tab.setAttribute("aria-selected", String(on));
        tab.setAttribute("aria-pressed", String(on));
        tab.removeAttribute("aria-pressed");
        tab.tabIndex = on ? 0 : -1;
        if (on && focus) tab.focus();
      }
    };
    const turn = (event) => {
      const names = Object.keys(APPS);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) choose(names[(names.indexOf(this.tab) + step + names.length) % names.length], true);
    };
    choose(this.tab);
    fill(
      this.node,
      el("h2", { id: "empty-h" }, "Nothing has arrived yet"),
      el("p", { class: "muted" }, "Point an app at this sandbox. It takes any key, and nothing leaves this computer."),
      el("div", { class: "tablist", role: "tablist", "aria-label": "How your app runs", onkeydown: turn }, tabs),
      code,
      el("div", { class: "actions" }, button("Send a test event", () => this.send(), { class: "button primary" }), button("Copy", () => copy(code.textContent, "the lines"))),
      this.waiting,
    );
    this.tick();
  }

  async send() {
    try {
      await api.sendTest(this.known().site);
    } catch {
      toast("The sandbox did not answer");
    }
  }

  tick() {
    const seconds = Math.round((Date.now() - this.since) / 1000);
    if (seconds < PATIENCE_S) return fill(this.waiting, `Waiting for the first event… ${seconds} s`);
    const port = location.port || "80";
    return fill(
      this.waiting, `Waiting for the first event… ${seconds} s. Is it on its way?`,
      el("ul", { class: "checklist" }, [
        "Does the app’s own terminal have CUSTOMERIO_BASE_URL? Type: env | grep CUSTOMERIO",
        `Does it end in port ${port}? Another sandbox may run beside this one.`,
        "Does the app wait for its batch? Events leave within five seconds, or at client.flush().",
      ].map((text) => el("li", {}, text))),
    );
  }
}
