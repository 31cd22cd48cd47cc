// Reads the Grafana dashboard beside this folder, asks a Prometheus for what its panels
// ask for, and draws that. index.html?prometheus=URL&minutes=N
"use strict";

const settings = new URLSearchParams(location.search);
const prometheus = settings.get("prometheus") ?? "http://127.0.0.1:9090";
const minutes = Number(settings.get("minutes") ?? 60);
const STEPS = 120;

async function ask(path, parameters) {
  const answer = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const told = await answer.json();
  if (told.status !== "success") throw new Error(told.error);
  return told.data;
}

/// `{{label}}` in a legend, as Grafana fills it in.
function legend(format, labels) {
  const filled = format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "");
  return filled || Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(" ");
}

async function fill(panel, box, variables, from, to) {
  const step = Math.max(1, Math.round((to - from) / STEPS));
  const series = [];
  for (const target of panel.targets) {
    let query = target.expr.replaceAll("$__rate_interval", `${Math.max(30, 4 * step)}s`);
    for (const [name, value] of Object.entries(variables)) query = query.replaceAll(`$${name}`, value);
    const { result } = await ask("query_range", { query, start: from, end: to, step });
    for (const { metric, values } of result) {
      const points = values.map(([at, value]) => [at, Number(value)]).filter(([, value]) => Number.isFinite(value));
      series.push({ name: legend(target.legendFormat, metric), points });
    }
  }
  if (panel.type === "stat") number(box, panel, series);
  else lines(box, panel, series, from, to);
}

async function main() {
  const dashboard = await (await fetch("../zipnet-dashboard.json")).json();
  const variables = {};
  for (const variable of dashboard.templating.list.filter((variable) => variable.type === "query")) {
    const [, metric, label] = variable.query.query.match(/^label_values\((\w+), (\w+)\)$/);
    variables[variable.name] = (await ask(`label/${label}/values`, { "match[]": metric }))[0];
  }
  const to = Math.floor(Date.now() / 1000);
  const from = to - minutes * 60;
  document.getElementById("title").textContent = `${dashboard.title}: ${variables.instance}`;
  document.getElementById("about").textContent = `the last ${minutes} minutes until ${new Date(to * 1000).toISOString().slice(0, 19)}Z; drawn by deploy/monitoring/page, not by Grafana`;
  const work = dashboard.panels.map(async (panel) => {
    const { x, y, w, h } = panel.gridPos;
    const place = `grid-area: ${y + 1} / ${x + 1} / span ${h} / span ${w}`;
    if (panel.type === "row") {
      return void document.getElementById("grid").append(element("h2", { style: place }, panel.title));
    }
    const box = element("section", { style: place, title: panel.description });
    box.append(element("h3", {}, panel.title));
    document.getElementById("grid").append(box);
    try {
      await fill(panel, box, variables, from, to);
    } catch (error) {
      box.append(element("div", { class: "error" }, String(error)));
    }
  });
  await Promise.all(work);
  document.body.dataset.done = String(document.querySelectorAll(".error").length);
}

main().catch((error) => {
  document.body.append(element("p", { class: "error" }, String(error)));
  document.body.dataset.done = "failed";
});
