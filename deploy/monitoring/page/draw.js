// Draws panels: numbers, and lines over time. No library.
"use strict";

const COLORS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#8ab8ff", "#f2495c", "#c8f2c2", "#ca95e5", "#e0b400"];
const NAMED = { green: "#73bf69", red: "#f2495c", orange: "#ff9830", yellow: "#f2cc0c", text: "#ccccdc" };

/// A number with its unit, as Grafana's units of these names.
function shown(value, unit) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-";
  const digits = (number) => {
    const size = Math.abs(number);
    const fixed = size >= 100 || Number.isInteger(number) ? number.toFixed(0) : size >= 10 ? number.toFixed(1) : number.toPrecision(2);
    return String(Number(fixed));
  };
  if (unit === "s") {
    if (value !== 0 && Math.abs(value) < 1) return `${digits(value * 1000)} ms`;
    return Math.abs(value) < 120 ? `${digits(value)} s` : `${digits(value / 60)} min`;
  }
  if (unit === "d") return `${digits(value)} d`;
  if (unit === "h") return `${digits(value)} h`;
  if (unit === "percentunit") return `${digits(value * 100)} %`;
  if (unit === "Bps") {
    const [scaled, prefix] = Math.abs(value) >= 1e6 ? [value / 1e6, "M"] : Math.abs(value) >= 1e3 ? [value / 1e3, "k"] : [value, ""];
    return `${digits(scaled)} ${prefix}B/s`;
  }
  return Math.abs(value) >= 1e4 ? `${digits(value / 1e3)} k` : digits(value);
}

function element(name, attributes = {}, text = "") {
  const svg = ["svg", "path", "line", "text"].includes(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function number(box, panel, series) {
  const { unit, thresholds } = panel.fieldConfig.defaults;
  const last = series[0]?.points.at(-1)?.[1];
  if (last === undefined) return void box.append(element("div", { class: "none" }, "No data"));
  const steps = thresholds.steps.filter((step) => step.value === null || last >= step.value);
  const color = NAMED[steps.at(-1).color];
  box.append(element("div", { class: "value", style: `color: ${color}` }, shown(last, unit)));
}

/// Round steps between two numbers, about four of them.
function ticks(low, high) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function lines(box, panel, series, from, to) {
  const { unit, min, custom, noValue } = panel.fieldConfig.defaults;
  const drawn = series.filter((one) => one.points.length);
  if (!drawn.length) return void box.append(element("div", { class: "none" }, noValue ?? "No data"));
  const place = element("div", { class: "plot" });
  const legend = element("div", { class: "legend" });
  box.append(place, legend);
  drawn.forEach((one, index) => {
    const entry = element("span", {}, "");
    entry.append(element("i", { style: `background: ${COLORS[index % COLORS.length]}` }), one.name);
    legend.append(entry);
  });
  if (custom.stacking.mode === "normal") {
    const below = new Map();
    for (const one of drawn) {
      one.points = one.points.map(([at, value]) => {
        below.set(at, (below.get(at) ?? 0) + value);
        return [at, below.get(at)];
      });
    }
  }
  const values = drawn.flatMap((one) => one.points.map((point) => point[1]));
  let low = Math.min(min ?? Infinity, ...values);
  let high = Math.max(...values);
  const room = high > low ? (high - low) * 0.08 : Math.max(1, Math.abs(high) * 0.1);
  high += room;
  if (min === undefined) low -= room;
  const { width, height } = place.getBoundingClientRect();
  const [left, right, top, bottom] = [52, width - 4, 4, height - 16];
  const x = (at) => left + ((at - from) / (to - from)) * (right - left);
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - top);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}` });
  for (const at of ticks(low, high)) {
    svg.append(element("line", { class: "line", x1: left, x2: right, y1: y(at), y2: y(at) }));
    svg.append(element("text", { x: left - 6, y: y(at) + 3, "text-anchor": "end" }, shown(at, unit)));
  }
  for (let part = 0; part <= 4; part += 1) {
    const at = from + ((to - from) * part) / 4;
    const clock = new Date(at * 1000).toISOString().slice(11, 19);
    const anchor = part === 0 ? "start" : part === 4 ? "end" : "middle";
    svg.append(element("text", { x: x(at), y: height - 3, "text-anchor": anchor }, clock));
  }
  drawn.forEach((one, index) => {
    const color = COLORS[index % COLORS.length];
    const path = one.points.map(([at, value], place) => `${place ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    const [first, last] = [one.points[0][0], one.points.at(-1)[0]];
    const area = `${path}L${x(last)} ${bottom}L${x(first)} ${bottom}Z`;
    svg.append(element("path", { d: area, fill: color, "fill-opacity": custom.fillOpacity / 100 }));
    svg.append(element("path", { d: path, fill: "none", stroke: color, "stroke-width": 1.5 }));
  });
  place.append(svg);
}
