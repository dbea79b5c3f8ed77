// A time axis: what share of it a moment is at, and where its ticks stand. All in UTC.

import { clockOf, dayOf } from "./format.js";

const minute = 60_000;
const steps = [0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 10080, 43200].map((m) => m * minute);

export class Axis {
  /** from and to are dates; to is after from. */
  constructor(from, to) {
    this.from = from;
    this.to = to;
    this.length = Math.max(1, to - from);
  }

  /** at is the share of the axis, 0 to 1, at which a moment is; it may lie outside. */
  at(time) {
    return (time - this.from) / this.length;
  }

  /** moment at a share of the axis. */
  moment(share) {
    return new Date(this.from.getTime() + share * this.length);
  }

  /** ticks, at round times: no more than fit. The first of a day has its date. */
  ticks(most) {
    const step = steps.find((one) => this.length / one <= most) ?? steps.at(-1);
    const list = [];
    let day = "";
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
      const time = new Date(t);
      const today = dayOf(time);
      const text = step >= 1440 * minute ? today.slice(5) : today === day || day === "" ? clockOf(time, step < minute) : today.slice(5);
      list.push({ time, at: this.at(time), text });
      day = today;
    }
    return { list, step: step / this.length };
  }
}

/** nice is the least round number that is not below n: the top of a scale. */
export function nice(n) {
  if (n <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 2.5, 4, 5, 10].map((m) => m * power).find((top) => top >= n - 1e-9);
}
