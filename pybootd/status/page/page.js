"use strict";
// What the network is booting right now. Everything that came over the network is text: it is only
// ever put into the page by textContent.

const rows = new Map();      // name -> {data, row, more, cells}
const open = new Map();      // name -> number of the boot that is shown, or null: the newest
const told = new Map();      // name -> the verdict that was read out
const byId = (id) => document.getElementById(id);
const MOST = 200;
let token = decodeURIComponent(location.hash.slice(1)) || sessionStorage.getItem("token") || "";
let search = "", total = 0;
let silent = new Set();      // names of the daemons that are away
let stats = null, before = null;
let source = null, pending = null;

function clean(value) {
  // controls and the marks that turn text around are shown, not obeyed
  return String(value).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]/g,
    (one, at, all) => {
      const code = all.codePointAt(at);
      if (code > 0xffff) return one;
      if (code >= 0xdc00 && code <= 0xdfff && at && all.codePointAt(at - 1) > 0xffff) return one;
      return code < 256 ? "\\x" + code.toString(16).padStart(2, "0")
        : "\\u" + code.toString(16).padStart(4, "0");
    });
}

function make(tag, name, text, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined && text !== null) made.textContent = clean(text);
  made.append(...children);
  return made;
}

function setText(element, text) {
  text = clean(text);
  if (element.textContent !== text) element.textContent = text;
}

function size(octets) {
  for (const unit of ["B", "kB", "MB"]) {
    if (octets < 1000) return unit === "B" ? `${octets.toFixed(0)} B` : `${octets.toFixed(1)} ${unit}`;
    octets /= 1000;
  }
  return `${octets.toFixed(1)} GB`;
}

function span(seconds) {
  if (seconds < 0.1) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 100) return `${seconds.toFixed(2)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(0)} h` : `${(seconds / 86400).toFixed(0)} days`;
}

function whole(seconds) {
  return seconds < 100 ? `${seconds.toFixed(0)} s` : span(seconds);
}

function ago(then) {
  const seconds = Date.now() / 1000 - then;
  return seconds < 2 ? "now" : `${whole(seconds)} ago`;
}

async function get(path, query = {}) {
  if (token) query = {...query, token};
  const text = new URLSearchParams(query).toString();
  const answer = await fetch(path + (text ? "?" + text : ""), {cache: "no-store"});
  if (answer.status === 403) askForToken();
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}

function askForToken() {
  if (source) source.close();
  byId("ask").hidden = false;
  byId("machines").hidden = true;
  byId("token").focus();
}

// rows

function entry(name) {
  let found = rows.get(name);
  if (found) return found;
  const button = make("button", "", name);
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => toggle(name));
  const cells = {
    host: make("span", "host"), address: make("td", "num"), kind: make("td"),
    state: make("td", "state"), doing: make("td", "doing"), seen: make("td", "seen"),
    seer: make("td", "seer"),
  };
  const row = make("tr", "machine", null, make("td", "name", null, button, cells.host),
    cells.address, cells.kind, cells.state, cells.doing, cells.seen, cells.seer);
  found = {row, cells, button, more: null, data: null};
  rows.set(name, found);
  return found;
}

function update(data) {
  const found = entry(data.name), cells = found.cells;
  found.data = data;
  setText(cells.host, data.hostname);
  setText(cells.address, data.address);
  setText(cells.kind, data.kind);
  setText(cells.state, data.state);
  cells.state.className = `state ${data.state}`;
  setText(cells.seen, ago(data.last));
  showSeer(found);
  showDoing(cells.doing, data);
  const verdict = data.verdict;
  if (verdict && verdict.grade === "fault" && told.get(data.name) !== verdict.name && source) {
    byId("news").append(make("p", "", `${data.hostname || data.name}: ${verdict.what}`));
    while (byId("news").childElementCount > 5) byId("news").firstChild.remove();
  }
  told.set(data.name, verdict ? verdict.name : "");
  return found;
}

function showSeer(found) {
  const name = found.data.daemon || "";
  setText(found.cells.seer, silent.has(name) ? `${name} (away)` : name);
}

function showDoing(cell, data) {
  if (data.transfers.length) {
    while (cell.children.length > data.transfers.length) cell.lastChild.remove();
    data.transfers.forEach((one, at) => {
      let moving = cell.children[at];
      if (!moving || !moving.classList.contains("moving")) {
        const fresh = make("div", "moving", null, make("span"), make("progress"), make("span", "num"));
        if (moving) moving.replaceWith(fresh); else cell.append(fresh);
        moving = fresh;
      }
      const [name, bar, rate] = moving.children;
      setText(name, one.name.split(/[/\\]/).pop());
      bar.setAttribute("aria-label", clean(one.name));
      if (one.size) { bar.max = one.size; bar.value = one.sent; } else bar.removeAttribute("value");
      setText(rate, `${size(one.sent)}, ${size(one.rate)}/s`);
    });
    return;
  }
  const verdict = data.verdict;
  const shown = make("span", verdict ? verdict.grade : "", verdict ? verdict.what : data.stage);
  cell.replaceChildren(shown);
}

function order() {
  const wanted = [...rows.values()].filter((one) => one.data).sort((a, b) => b.data.last - a.data.last);
  for (const gone of wanted.splice(MOST)) {
    if (open.has(gone.data.name)) continue;
    remove(gone.data.name);
  }
  const body = byId("rows"), focus = document.activeElement;
  let at = body.firstChild;
  for (const one of wanted) {
    for (const element of one.more ? [one.row, one.more] : [one.row]) {
      if (element === at) at = at.nextSibling; else body.insertBefore(element, at);
    }
  }
  if (focus && focus !== document.activeElement && focus.isConnected) focus.focus();
  byId("nobody").hidden = wanted.length > 0 || search !== "";
}

function remove(name) {
  const found = rows.get(name);
  if (!found) return;
  found.row.remove();
  if (found.more) found.more.remove();
  rows.delete(name);
}

async function load() {
  const asked = search;
  let document_;
  try {
    document_ = await get("api/clients", {search: asked, limit: MOST});
  } catch (error) { return; }
  if (asked !== search) return;
  const names = new Set(document_.clients.map((one) => one.name));
  for (const name of [...rows.keys()]) if (!names.has(name)) { open.delete(name); remove(name); }
  document_.clients.forEach(update);
  order();
  total = document_.total;
  showCount(document_.clients.length);
  for (const name of open.keys()) if (rows.has(name)) show(name);
}

function showCount(shown) {
  setText(byId("shown"), shown < total ? `${shown} of ${total} machines`
    : shown === 1 ? "1 machine" : `${shown} machines`);
}

function soon() {
  if (pending === null) pending = setTimeout(() => { pending = null; load(); }, 400);
}

// one machine

function toggle(name) {
  const found = rows.get(name);
  if (open.has(name)) {
    open.delete(name);
    found.button.setAttribute("aria-expanded", "false");
    if (found.more) { found.more.remove(); found.more = null; }
    return;
  }
  open.set(name, null);
  show(name);
}

async function show(name) {
  let client;
  try {
    client = (await get(`api/clients/${encodeURIComponent(name)}`)).client;
  } catch (error) { return; }
  const found = rows.get(name);
  if (!found || !open.has(name)) return;
  found.button.setAttribute("aria-expanded", "true");
  if (!found.more) {
    const cell = make("td", "more");
    cell.colSpan = 7;
    found.more = make("tr", "", null, cell);
    found.row.after(found.more);
  }
  const number = open.get(name);
  const boot = client.boots.find((one) => one.number === number) || client.boots[0];
  const cell = found.more.firstChild;
  const focused = cell.contains(document.activeElement) ? document.activeElement.textContent : null;
  cell.replaceChildren(...(client.elsewhere ? elsewhere(client, boot) : []), ...(boot
    ? [boots(name, client, boot), verdictOf(boot), factsOf(client, boot), waterfall(boot)] : []));
  if (focused !== null) [...cell.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
}

function elsewhere(client, own) {
  const there = `The daemon ${client.daemon} saw it last: ${client.stage}. Its page shows each step.`;
  return [make("p", "facts", there), verdictOf(client), factsOf(client, {}),
    ...(own ? [make("p", "facts", "What this daemon saw of it before:")] : [])];
}

function boots(name, client, shown) {
  const list = make("div", "boots");
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Boots, the newest first");
  for (const one of client.boots) {
    const time = new Date(one.began * 1000).toLocaleTimeString();
    const button = make("button", "", `${time} ${one.state}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(one === shown));
    button.addEventListener("click", () => { open.set(name, one.number); show(name); });
    list.append(button);
  }
  return list;
}

const PLAIN = {up: "The system is up.", booting: "It is booting.", quiet: "Nothing is known to be wrong."};

const SURE = {certain: "Certain: it was seen here.", likely: "Likely: the usual cause of what was seen.",
  unknown: "Not known why: what was due next did not come."};

function verdictOf(boot) {
  const found = boot.verdict;
  if (!found) return make("div", `verdict ${boot.state}`, null, make("p", "what", PLAIN[boot.state] || boot.state));
  const seen = make("ul", "", null, ...found.evidence.map((line) => make("li", "", `seen: ${line}`)));
  const sure = make("p", "sure", SURE[found.certainty] || "");
  return make("div", `verdict ${found.grade}`, null, make("p", "what", found.what), sure, make("p", "", found.advice), seen);
}

function factsOf(client, boot) {
  const facts = [client.uuid && `UUID ${client.uuid}`, boot.boot_file && `boot file ${boot.boot_file}`,
    boot.vendor_class, boot.interface && `on ${boot.interface}`, boot.relay && `through ${boot.relay}`,
    boot.proxy && "as proxy", boot.left_out && `${boot.left_out} steps left out`];
  return make("p", "facts", facts.filter(Boolean).join(", "));
}

function waterfall(boot) {
  const whole = Math.max(...boot.steps.map((one) => one.until), 0.001);
  const list = make("ol", "fall");
  list.setAttribute("aria-label", "What happened, in order");
  for (const step of boot.steps) {
    const bar = make("span", "span");
    bar.style.left = `${Math.min(99.5, step.at / whole * 100)}%`;
    bar.style.width = `${Math.max(0, (step.until - step.at) / whole * 100)}%`;
    const track = make("span", "track", null, bar);
    track.setAttribute("aria-hidden", "true");
    const transfer = step.type === "transfer";
    const bad = ["aborted", "silent", "failed"].includes(step.outcome) || step.what === "refused";
    const what = make("span", "what", transfer ? `${step.what}: ${step.name}` : `${step.what} ${step.text}`);
    what.title = what.textContent;
    list.append(make("li", `${step.type}${bad ? " bad" : ""}`, null,
      make("span", "num", `${step.at.toFixed(2)} s`), what, track, make("span", "details", details(step))));
  }
  return list;
}

function details(step) {
  if (step.type === "step") {
    return [step.count > 1 && `${step.count} times`, step.more].filter(Boolean).join(", ");
  }
  if (step.outcome === "probed") return "asked for its size";
  return [size(step.sent) + (step.size && step.outcome !== "done" ? ` of ${size(step.size)}` : ""),
    span(step.until - step.at), step.sent > 1e5 && `${size(step.rate)}/s`, step.outcome,
    step.retransmissions && `${step.retransmissions} blocks sent again`, step.reason]
    .filter(Boolean).join(", ");
}

// live

function showStats(now) {
  const moment = performance.now() / 1000;
  let rate = 0;
  if (before && moment > before.moment) rate = Math.max(0, (now.sent - before.sent) / (moment - before.moment));
  before = {sent: now.sent, moment};
  stats = now;
  const shared = now.daemons.length > 1;
  const shown = [[shared ? "machines here" : "machines", now.clients], ["transfers", now.running], ["rate", `${size(rate)}/s`]];
  for (const pool of now.pools) shown.push([`pool ${pool.network}`, `${pool.taken} of ${pool.addresses}`]);
  byId("stats").replaceChildren(...shown.map(([name, value]) =>
    make("div", "", null, make("dt", "", name), make("dd", "", value))));
  byId("machines").classList.toggle("shared", shared);
  byId("away").hidden = now.database_away === null;
  if (now.database_away !== null) setText(byId("away"), "The lease database has not answered for "
    + `${whole(now.database_away)}: what other daemons saw since is not shown.`);
  showDaemons(now.daemons);
}

function showDaemons(daemons) {
  byId("site").hidden = daemons.length < 2;
  silent = new Set(daemons.filter((one) => one.silent).map((one) => one.name));
  for (const one of rows.values()) if (one.data) showSeer(one);
  byId("daemons").replaceChildren(...daemons.map((one) => {
    const cells = ["version", "leases", "booting", "up", "failed"].map((what) => {
      const cell = make("td", "", one[what]);
      cell.dataset.what = what;
      return cell;
    });
    const sign = `${whole(one.seen)} ago`;
    const seen = one.here ? "now" : one.silent ? `away, last sign of life ${sign}` : sign;
    return make("tr", "", null, make("td", "", one.name + (one.here ? " (this one)" : "")), ...cells,
      make("td", one.silent ? "fault" : "", seen));
  }));
}

function listen() {
  source = new EventSource("api/events" + (token ? `?token=${encodeURIComponent(token)}` : ""));
  source.addEventListener("open", () => { live("live", true); load(); });
  source.addEventListener("error", () => live("not connected", false));
  source.addEventListener("stats", (event) => showStats(JSON.parse(event.data)));
  source.addEventListener("clients", (event) => {
    for (const one of JSON.parse(event.data)) {
      if (rows.has(one.name) || !search) update(one); else soon();
      if (open.has(one.name)) showSoon(one.name);
    }
    order();
    if (!search) showCount(rows.size);
  });
}

const waiting = new Map();
function showSoon(name) {
  if (waiting.has(name)) return;
  waiting.set(name, setTimeout(() => { waiting.delete(name); show(name); }, 400));
}

function live(text, on) {
  setText(byId("live"), text);
  byId("live").className = on ? "on" : "";
}

byId("find").addEventListener("submit", (event) => event.preventDefault());
byId("search").addEventListener("input", (event) => { search = event.target.value.trim(); soon(); });
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("token", token);
  byId("ask").hidden = true;
  byId("machines").hidden = false;
  start();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "Escape" && document.activeElement === byId("search")) {
    byId("search").value = search = "";
    soon();
  }
});
setInterval(() => {
  for (const one of rows.values()) if (one.data) setText(one.cells.seen, ago(one.data.last));
}, 1000);

async function start() {
  if (location.hash) {
    sessionStorage.setItem("token", token);
    history.replaceState(null, "", location.pathname);
  }
  try {
    showStats((await get("api")).stats);
  } catch (error) {
    if (byId("ask").hidden) { live("not connected", false); setTimeout(start, 3000); }
    return;
  }
  listen();
}
start();
