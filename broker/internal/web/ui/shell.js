// What stands around every view: where one can go, whether what is shown is of now, and who
// is signed in.

import { fill, h } from "./parts/dom.js";
import { time } from "./parts/format.js";
import { themeSwitch } from "./parts/theme.js";
import { menu } from "./views/all.js";

export class Shell {
  constructor(who, signOut) {
    this.status = h("p", { class: "status", role: "status" });
    this.links = h("ul");
    this.nav = h("nav", { id: "views", "aria-label": "Views" }, this.links);
    this.opener = h("button", {
      type: "button", class: "quiet menu", "aria-expanded": "false", "aria-controls": "views",
      on: { click: () => this.open(!this.nav.classList.contains("open")) },
    }, "Menu");
    this.content = h("main", { id: "content", tabindex: "-1" });
    const person = h("p", { class: "who", title: whose(who) }, short(who.user));
    this.element = h("div", { class: "shell" },
      h("header", {},
        h("a", { class: "brand", href: "#/overview" }, h("span", { class: "sign", "aria-hidden": "true" }, "≈"), "Ebbtide"),
        this.status, person, themeSwitch(),
        h("button", { type: "button", class: "quiet", on: { click: signOut } }, "Sign out"), this.opener),
      this.nav, this.content);
    this.state = { live: undefined, since: new Date() };
    this.mark();
  }

  open(open) {
    this.nav.classList.toggle("open", open);
    this.opener.setAttribute("aria-expanded", String(open));
  }

  /** show puts a view into the page, and says where that is. */
  show(name, title, ...content) {
    const first = this.content.childElementCount === 0;
    this.open(false);
    fill(this.links, menu.map((item) => h("li", {}, h("a", {
      href: `#/${item.id}`, "aria-current": item.id === name || item.covers?.includes(name) ? "page" : null,
    }, item.title))));
    document.title = `${title} · Ebbtide`;
    this.content.replaceChildren(...content);
    this.content.scrollTop = 0;
    // Who follows a link is then at the top of what it leads to.
    if (!first) this.content.querySelector("h1")?.focus({ preventScroll: true });
  }

  decided(at) {
    this.at = at;
    this.mark();
  }

  live(state) {
    this.state = state;
    this.mark();
  }

  /** read notes that the view has been drawn from fresh answers. */
  read() {
    this.drawn = new Date();
  }

  mark() {
    const { live, since, why } = this.state;
    const kind = live === undefined ? "" : live ? "live" : "stale";
    this.status.className = `status ${kind}`;
    if (live === undefined) fill(this.status, "connecting");
    else if (live) fill(this.status, sign("●"), "Live", h("span", { class: "tier2" }, this.at ? [", decided ", time(this.at)] : ""));
    else fill(this.status, sign("△"), "Stale since ", time(this.drawn && this.drawn < since ? this.drawn : since), why ? `: ${why}` : "");
  }
}

const sign = (text) => h("span", { class: "sign", "aria-hidden": "true" }, text);

// A service account is known by its namespace and name.
const short = (user) => user.replace(/^system:serviceaccount:([^:]+):/, "$1/");

const whose = (who) => `${who.user}: ${who.all ? "may list Loans in all namespaces" : `sees what concerns ${(who.tenants ?? []).join(", ") || "nobody, as no tenant's namespaces are his"}`}`;
