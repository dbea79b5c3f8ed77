// The page: who is signed in, where he is, and what he sees there, kept up to date.

import { ask, token } from "./api.js";
import { follow } from "./watch.js";
import { fill, h } from "./parts/dom.js";
import { Feed } from "./parts/feed.js";
import { here } from "./parts/route.js";
import { dress } from "./parts/theme.js";
import { hide } from "./parts/tip.js";
import { notice, problems, waitingFor } from "./parts/page.js";
import { Shell } from "./shell.js";
import { signIn } from "./views/signin.js";
import { views } from "./views/all.js";

dress();
const app = document.getElementById("app");

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what is after the # says which view this is
  document.getElementById("content")?.focus();
});

let session = null;

// A 401 may be of a bad moment: who was known is asked for once more after so long, before he is
// signed out and his token forgotten.
const doubtful = 5000;

const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** whoami is who is signed in. fresh: he has just shown his token, and is told at once if it is bad. */
async function whoami(fresh) {
  try {
    return await ask("whoami");
  } catch (problem) {
    if (problem.status !== 401 || fresh) throw problem;
    await later(doubtful);
    return ask("whoami");
  }
}

/** start shows the page to who has a token, and asks for one otherwise. */
async function start(said, fresh) {
  session?.end();
  session = null;
  if (!token.get()) {
    fill(app);
    app.append(signIn(() => start(undefined, true), said));
    return;
  }
  fill(app, waitingFor("who you are"));
  try {
    session = new Session(await whoami(fresh));
  } catch (problem) {
    if (problem.status === 401) {
      token.forget();
      start(problem);
      return;
    }
    fill(app, h("main", { id: "content", class: "alone", tabindex: "-1" }, h("h1", {}, "Ebbtide"), notice(problem.message, problem.advice ?? "", "bad"),
      h("p", {}, h("button", { type: "button", on: { click: () => start() } }, "Ask again"))));
  }
}

function signOut(said) {
  token.forget();
  start(said);
}

/** Session is what somebody who is signed in sees. */
class Session {
  constructor(who) {
    this.who = who;
    this.shell = new Shell(who, () => signOut());
    app.replaceChildren(this.shell.element);
    this.ended = new AbortController();
    addEventListener("hashchange", () => this.go(), { signal: this.ended.signal });
    addEventListener("visibilitychange", () => this.feed?.soon(), { signal: this.ended.signal });
    this.follow();
    this.go();
  }

  /** follow hears of changes from now on. */
  follow() {
    this.unfollow?.();
    this.unfollow = follow({
      heard: (event) => {
        this.shell.decided(event.decidedAt);
        this.feed?.changed(event.changed ?? []);
      },
      state: (state) => this.shell.live(state),
      refused: (problem) => this.doubt(problem),
    });
  }

  /** doubt signs out who is not known, if after some seconds he still is not. */
  async doubt(problem) {
    if (this.doubted) return;
    this.doubted = true;
    await later(doubtful);
    const again = this.ended.signal.aborted ? null : await ask("whoami").then(() => null, (other) => other);
    if (this.ended.signal.aborted) return;
    if (again?.status === 401) {
      signOut(problem);
      return;
    }
    this.doubted = false;
    this.follow();
    this.feed.again();
  }

  end() {
    this.feed?.end();
    this.unfollow();
    this.ended.abort();
    hide();
  }

  /** go shows the view that the address names. */
  go() {
    const { view: name, about, query } = here();
    const view = views[name] ?? views.missing;
    this.feed?.end();
    this.view?.leave?.();
    hide();
    const wrong = h("div", { class: "wrong", "aria-live": "polite" });
    const root = h("div", { class: view.fills ? "view fills" : "view" });
    const page = { root, about, query, who: this.who, again: () => this.feed.again() };
    this.view = view.build(page);
    const draw = (data, found) => {
      const unknown = Object.values(found).find((problem) => problem.status === 401);
      if (unknown) {
        this.doubt(unknown); // what was drawn stays meanwhile
        return;
      }
      problems(wrong, found);
      this.view.draw(data, new Date(), found);
      this.shell.read();
      root.dataset.ready = "";
    };
    this.feed = new Feed(view.sources(page), draw);
    this.shell.show(name, about ? `${about} · ${view.title}` : view.title, wrong, root);
    this.feed.read();
  }
}

start();
