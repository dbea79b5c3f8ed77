// Signing in: the token that the API server accepts is what the broker accepts.

import { token } from "../api.js";
import { h } from "../parts/dom.js";
import { notice } from "../parts/page.js";
import { themeSwitch } from "../parts/theme.js";

/** signIn asks for a token and calls done when it has one. said is why it asks again. */
export function signIn(done, said) {
  const field = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "kept" });
  const form = h("form", {
    on: {
      submit(event) {
        event.preventDefault();
        // What is copied from a terminal may be broken into lines; a token has no spaces.
        const text = field.value.replace(/\s+/g, "").replace(/^Bearer/i, "");
        if (!text) return;
        token.set(text);
        done();
      },
    },
  },
  h("label", { for: "token" }, "Bearer token"), field,
  h("p", { id: "kept", class: "soft" }, "It is kept in this tab until you sign out or close it, and goes to the broker only."),
  h("button", { type: "submit", class: "strong" }, "Sign in"));
  return h("main", { id: "content", class: "alone", tabindex: "-1" },
    h("div", { class: "corner" }, themeSwitch()),
    h("h1", {}, h("span", { class: "sign", "aria-hidden": "true" }, "≈"), "Ebbtide"),
    h("p", {}, "You see here what you may list by kubectl: Loans of your namespaces, or all of them."),
    said && notice(said.message, said.advice, "bad"),
    form,
    h("section", { class: "how" },
      h("h2", {}, "How to make a token"),
      h("p", {}, "For a service account that may list Loans, for one hour, and good for nothing but the broker:"),
      h("pre", { tabindex: "0", role: "region", "aria-label": "Command" }, h("code", {}, "kubectl create token ACCOUNT -n NAMESPACE \\\n  --audience ebbtide-broker --duration 1h")),
      h("p", {}, "An account sees the rows of a namespace by the role view, edit or admin there, and all rows by the ClusterRole ebbtide-auditor. A token of your own, as your identity provider gives it to kubectl, works as well.")));
}
