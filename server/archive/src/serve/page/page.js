// Lists the newest rounds of an archive and what comes: the head says where the index is, the
// index which records there are, and events what is new. What strangers sent is only ever set as
// text.
"use strict";

const SHOWN = 100;
const START = 30;
const TRIES = 5;
const AGAIN = 5000;
const rounds = document.getElementById("rounds");
const state = document.getElementById("state");
const lines = (text) => text.split("\n").map((line) => line.split(" "));

// A busy archive, or a connection that is cut, is asked again.
async function fetched(path) {
  for (let tried = 1; ; tried++) {
    try {
      const answer = await fetch(path);
      if (answer.ok) return answer;
      throw new Error(`${path}: status ${answer.status}`);
    } catch (error) {
      if (tried === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, tried * 500));
    }
  }
}

function element(name, kind, text) {
  const made = document.createElement(name);
  made.className = kind;
  made.textContent = text;
  return made;
}

function put(key, order, made) {
  made.dataset.key = key;
  made.dataset.order = order;
  for (const other of rounds.children) if (other.dataset.key === key) return other.replaceWith(made);
  const before = [...rounds.children].find((other) => BigInt(other.dataset.order) < BigInt(order));
  rounds.insertBefore(made, before ?? null);
  while (rounds.children.length > SHOWN) rounds.lastChild.remove();
}

async function showRecord(epoch, number, record) {
  const path = `messages/${epoch}/${number.padStart(20, "0")}-${record}`;
  const round = await (await fetched(path)).json();
  const made = element("li", "", "");
  const people = round.participants === 1 ? "1 participant" : `${round.participants} participants`;
  const when = new Date(round.at * 1000).toISOString();
  made.append(element("div", "round", `round ${number}, ${people}, ${round.servers} servers, by ${when}`));
  for (const message of round.messages) {
    const shown = element("div", "message", "");
    // Text that changes its direction keeps to itself.
    shown.append(element("bdi", "", message.text));
    made.append(shown);
  }
  put(`${epoch}-${number}-${record}`, number, made);
}

function showGap(after, before, fate) {
  const what = fate === "lost" ? "no server has them any more" : "servers are asked for them";
  put(`gap-${before}`, before - 1, element("li", "gap", `records between rounds ${after} and ${before} are missing: ${what}`));
}

async function showPage(epoch, page) {
  const answer = await fetch(`index/${epoch}/${page.toString().padStart(18, "0")}`);
  if (!answer.ok) return 0;
  const entries = lines(await answer.text());
  for (const [kind, after, before, , fate] of entries) if (kind === "gap") showGap(after, before, fate);
  const records = entries.filter(([kind]) => kind === "record").slice(-START);
  for (const [, number, record] of records.reverse()) await showRecord(epoch, number, record);
  return records.length;
}

// One after the other, so that the list does not jump.
let queue = Promise.resolve();
const inTurn = (work) => queue = queue.then(work).catch((error) => { state.textContent = String(error); });

async function start() {
  const head = lines(await (await fetched("head")).text());
  document.getElementById("instance").textContent = head.find(([kind]) => kind === "instance")[1];
  const newest = head.filter(([kind]) => kind === "epoch").pop();
  if (newest) {
    const page = BigInt(newest[3]) / 128n;
    const shown = await showPage(newest[1], page);
    if (shown < START && page > 0n) await showPage(newest[1], page - 1n);
  }
  state.textContent = "It is up to date.";
}

function follow() {
  const events = new EventSource("events");
  // From here on events tell what is new; the index has what came before, after a cut too.
  events.addEventListener("open", () => { inTurn(start).then(() => { state.dataset.live = "yes"; }); });
  events.addEventListener("record", (event) => {
    const { epoch, number, record } = JSON.parse(event.data);
    inTurn(() => showRecord(epoch, String(number), record));
  });
  events.addEventListener("gap", (event) => {
    const { after, before, fate } = JSON.parse(event.data);
    inTurn(() => showGap(after, before, fate));
  });
  events.addEventListener("reset", () => inTurn(start));
  events.addEventListener("error", () => {
    delete state.dataset.live;
    // What is cut the browser asks for again by itself, but not what is refused.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN);
  });
}

inTurn(start);
follow();
