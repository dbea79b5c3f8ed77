// One loan on a time axis: how long it was lent, since when its units are asked back, and
// how it ended.

import { h } from "./dom.js";
import { at, clockOf, count, dayOf, span as lasting, words } from "./format.js";
import { ends } from "./marks.js";

/** lane draws a loan's bar as a part of its row. */
export function lane(loan, axis, step) {
  const start = at(loan.from);
  const end = at(loan.to) ?? axis.to;
  const asked = at(loan.reclaimAt);
  const left = Math.max(0, axis.at(start));
  const right = Math.min(1, Math.max(axis.at(end), left));
  const turn = asked ? Math.min(Math.max(axis.at(asked), left), right) : right;
  const grid = { "--step": percent(step.step), "--offset": percent(step.offset) };
  if (axis.at(start) > 1 || axis.at(end) < 0) return h("div", { class: "lane", style: grid });
  return h("div", { class: "lane", style: grid },
    h("span", { class: "run lent", style: { left: percent(left), width: percent(turn - left) } }, turn - left > 0.04 && [h("b", {}, "L"), h("i", {}, lenderOf(loan))]),
    asked && h("span", { class: "run asked", style: { left: percent(turn), width: percent(right - turn) } }, h("b", {}, "r")),
    loan.to && axis.at(end) <= 1 && h("span", { class: "end", style: { left: percent(right) } }, loan.mark || "]"),
    (loan.changes ?? []).map((c) => h("span", { class: "change", style: { left: percent(Math.max(0, axis.at(at(c.at)))) } })));
}

// Room is scarce in a bar: of several lenders the first is named.
function lenderOf(loan) {
  const names = (loan.lenders ?? []).filter(Boolean);
  return names.length > 1 ? `${names[0]} +${names.length - 1}` : names[0] ?? "own quota";
}

const percent = (share) => `${(share * 100).toFixed(3)}%`;

/** grid is where the ticks of an axis stand in each lane. */
export function grid(axis, ticks) {
  const { list, step } = axis.ticks(ticks);
  return { list, step, offset: list.length > 0 ? list[0].at % step : 0 };
}

/** story is what is said of a loan beside its bar. */
export function story(loan, now) {
  const [from, asked, to] = [at(loan.from), at(loan.reclaimAt), at(loan.to)];
  const moment = (t) => `${dayOf(t)} ${clockOf(t)}Z`;
  const lenders = (loan.lenders ?? []).filter(Boolean).join(", ");
  return [
    h("p", {}, h("strong", {}, loan.job || loan.loan), ` ${count(loan.units)} of ${(loan.flavors ?? []).join(", ")}`),
    lenders && h("p", {}, `lent by ${lenders}`),
    h("p", {}, `${moment(from)}, for ${lasting(((to ?? now) - from) / 1000)}${to ? "" : " until now"}`),
    asked && h("p", {}, `r asked back ${moment(asked)}${to ? `, back after ${lasting((to - asked) / 1000)}` : ""}`),
    to && h("p", {}, `${loan.mark || "]"} ${ends[loan.mark] ?? "ended"} ${moment(to)}`),
    (loan.reason || loan.message) && h("p", { class: "verdict" }, loan.message || words(loan.reason)),
  ];
}
