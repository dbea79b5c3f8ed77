// The last time of one thing on the picture, on its own page.

import { ask } from "../api.js";
import { fill, h } from "./dom.js";
import { Band } from "./band.js";
import { plural } from "./format.js";
import { card, waitingFor } from "./page.js";
import { to } from "./route.js";

const hours = 24;

/** past is the source of what a part of a timeline was in the last day. */
export const past = (filter) => ({
  load: (signal) => ask("timeline", { ...filter, from: new Date(Date.now() - hours * 3_600_000).toISOString(), points: 400 }, signal),
  on: ["ledger", "lenders"],
});

/** pastCard shows it. */
export function pastCard(title, filter = {}) {
  const band = new Band({ tall: false });
  const note = h("p", { class: "soft" });
  const wait = h("div", {}, waitingFor("the ledger"));
  band.element.hidden = true;
  return {
    element: card(title, note, wait, band.element),
    end: () => band.end(),
    draw(timeline) {
      if (!timeline) return;
      fill(wait);
      band.element.hidden = false;
      band.set(timeline, filter.lender);
      fill(note, `${plural(timeline.spans.length, "loan")} in the last 24 hours. `, h("a", { href: to("picture", "", { ...filter, range: "24h" }) }, "Another time"));
    },
  };
}
