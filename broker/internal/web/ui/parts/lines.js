// Lines over a time axis: loads with their water marks, and how many units are lent. A line
// is told from its neighbours by its dashes and a letter, not by its colour alone.

import { s } from "./dom.js";
import { count, percent } from "./format.js";
import { nice } from "./axis.js";

export const dashes = ["", "7 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2"];
export const most = dashes.length;
export const letterOf = (i) => String.fromCharCode(97 + i);

const foot = 18;
const top = 6;

/** frame has the axis, its ticks and what is drawn in it, over a width and height in pixels. */
function frame(axis, { width, height, label, marks, gutter = 36 }, inner) {
  const bottom = height - foot;
  const x = (share) => gutter + share * (width - gutter);
  const { list } = axis.ticks(Math.max(2, Math.floor((width - gutter) / 72)));
  return s("svg", { class: "lines", role: "img", "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}` },
    marks.map((m) => [
      s("line", { class: m.class ?? "rule", x1: gutter, x2: width, y1: m.y, y2: m.y }),
      m.text && s("text", { class: "mark", x: gutter - 6, y: m.y + 4, "text-anchor": "end" }, m.text),
      m.note && s("text", { class: "mark", x: width - 2, y: m.y - 4, "text-anchor": "end" }, m.note),
    ]),
    list.map((tick) => [
      s("line", { class: "tick", x1: x(tick.at), x2: x(tick.at), y1: top, y2: bottom + 4 }),
      s("text", { class: "mark", x: x(tick.at), y: height - 4, "text-anchor": x(tick.at) < gutter + 20 ? "start" : x(tick.at) > width - 20 ? "end" : "middle" }, tick.text),
    ]),
    s("line", { class: "base", x1: gutter, x2: width, y1: bottom, y2: bottom }),
    inner(x, bottom));
}

/** loadLines draws the utilization of lenders, and the water marks that `marked` has. */
export function loadLines(axis, loads, { width, height, marked, gutter }) {
  const bottom = height - foot;
  const y = (share) => bottom - Math.min(Math.max(share, 0), 1) * (bottom - top);
  const marks = [0, 0.5, 1].map((v) => ({ y: y(v), text: percent(v).replace(" ", "") }));
  if (marked) {
    marks.push({ y: y(marked.highWater), class: "water high", note: `high water ${percent(marked.highWater)}` });
    marks.push({ y: y(marked.lowWater), class: "water low", note: `low water ${percent(marked.lowWater)}` });
  }
  const label = `Load of ${loads.map((l) => l.lender).join(", ") || "no lender"}, as a share of what it owns, over time`;
  return frame(axis, { width, height, label, marks, gutter }, (x) => loads.map((load, i) => [
    s("path", { class: `load line${i}`, d: path(axis, load, x, y), "stroke-dasharray": dashes[i] }),
    lettered(axis, load, x, y, i),
  ]));
}

// A step that nobody knows is a gap, never a line to what comes after it.
function path(axis, load, x, y) {
  const { from, step } = begin(load);
  let d = "";
  let pen = false;
  load.utilization.forEach((value, i) => {
    const share = axis.at(from + (i + 0.5) * step);
    if (value === null || share < -0.02 || share > 1.02) pen = false;
    else {
      d += `${pen ? "L" : "M"}${x(share).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = true;
    }
  });
  return d || null;
}

const begin = (load) => ({ from: new Date(load.from).getTime(), step: load.stepSeconds * 1000 });

// The letters stand apart, each on its own line.
function lettered(axis, load, x, y, i) {
  const value = loadAt(load, axis.moment(letterAt(i)));
  return value === null ? null : s("text", { class: "letter", x: x(letterAt(i)), y: Math.max(14, y(value) - 5), "text-anchor": "middle" }, letterOf(i));
}

const letterAt = (i) => 0.06 + 0.11 * i;

/** loadAt is what a load was at a moment; null if nobody knows. */
export function loadAt(load, moment) {
  const { from, step } = begin(load);
  return load.utilization[Math.floor((moment - from) / step)] ?? null;
}

/** tide is how many units were lent at each time: [{at, units}], where it changed. */
export function tide(spans, axis) {
  const changes = [];
  for (const span of spans) {
    let held = 0;
    for (const step of [{ at: span.from, units: span.units }, ...(span.changes ?? [])]) {
      changes.push([Math.max(new Date(step.at), axis.from), step.units - held]);
      held = step.units;
    }
    if (span.to) changes.push([new Date(span.to).getTime(), -held]);
  }
  changes.sort((a, b) => a[0] - b[0]);
  const points = [];
  let now = 0;
  for (const [at, change] of changes) {
    if (at > axis.to) break;
    now += change;
    if (at < axis.from) continue;
    if (points.at(-1)?.at === at) points.at(-1).units = now;
    else points.push({ at, units: now });
  }
  return points;
}

/** area draws how many units were lent. */
export function area(axis, points, { width, height, label }) {
  const bottom = height - foot;
  const scale = nice(Math.max(...points.map((p) => p.units), 0));
  const y = (n) => bottom - (n / scale) * (bottom - top);
  const marks = [0, 0.5, 1].map((v) => ({ y: y(v * scale), text: count(v * scale) }));
  return frame(axis, { width, height, label, marks }, (x) => {
    let d = `M${x(0).toFixed(1)} ${bottom}`;
    let last = 0;
    for (const p of points) {
      const at = x(Math.max(0, axis.at(p.at))).toFixed(1);
      d += `L${at} ${y(last).toFixed(1)}L${at} ${y(p.units).toFixed(1)}`;
      last = p.units;
    }
    d += `L${x(1).toFixed(1)} ${y(last).toFixed(1)}`;
    return [
      s("path", { class: "area", d: `${d}L${x(1).toFixed(1)} ${bottom}Z` }),
      s("path", { class: "edge", d }),
    ];
  });
}
