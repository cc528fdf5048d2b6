// The page: sends pictures, two at a time, and shows what is told of them. It knows no rule of the server but its
// limits, which it asks for; what a picture is called here is known to this page alone.

const AT_ONCE = 2;
const LISTENED_AT_ONCE = 20;
const REMEMBERED = 50;
const TRIES = 5;
const AGAIN_MS = 5000;
const KEPT = "pictures", TOKEN = "token";

const byId = (id) => document.getElementById(id);
const pictures = []; // {name, card, file, id, state, over, error}
let about = { max_bytes: Infinity, needs_token: false, takes: [] };
let sending = 0;
let source = null;
let listenAgain = null;

const units = ["bytes", "kB", "MB", "GB"];
function bytes(count) {
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

// -- what was sent before, in this tab ---------------------------------------------------------------------------------

function remember() {
  const kept = pictures.filter((each) => each.id).slice(-REMEMBERED).map(({ id, name }) => ({ id, name }));
  sessionStorage.setItem(KEPT, JSON.stringify(kept));
}

function recall() {
  try {
    for (const { id, name } of JSON.parse(sessionStorage.getItem(KEPT) ?? "[]")) {
      const picture = add(name);
      picture.id = id;
      say(picture, "asking how it stands");
    }
  } catch { sessionStorage.removeItem(KEPT); }
  listen();
}

// -- one picture -------------------------------------------------------------------------------------------------------

function add(name, file) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  card.querySelector("h2").textContent = name;
  card.querySelector("h2").title = name;
  byId("pictures").prepend(card);
  const picture = { name, file, card, tries: 0, over: false };
  pictures.push(picture);
  badge(picture, "waiting");
  say(picture, "waits for its turn");
  return picture;
}

function badge(picture, word) {
  const place = picture.card.querySelector(".badge");
  place.textContent = word;
  place.className = `badge ${word}`;
  summary();
}

function say(picture, words) { picture.card.querySelector(".now").textContent = words; }

function fail(picture, words) {
  picture.over = true;
  badge(picture, "failed");
  say(picture, picture.file ? bytes(picture.file.size) : "");
  picture.card.querySelector("progress").hidden = true;
  tell(picture, [words]);
}

function tell(picture, errors) {
  const place = picture.card.querySelector(".error");
  place.hidden = !errors.length;
  place.textContent = errors.join("\n");
}

function summary() {
  const count = (word) => pictures.filter((each) => each.card.querySelector(".badge").textContent === word).length;
  const parts = [["done", count("done")], ["failed", count("failed")]].filter(([, many]) => many);
  const working = pictures.length - count("done") - count("failed");
  if (working) { parts.unshift(["under way", working]); }
  byId("summary").textContent = parts.map(([word, many]) => `${many} ${word}`).join(", ");
}

// -- sending -----------------------------------------------------------------------------------------------------------

function take(files) {
  for (const file of files) {
    const picture = add(file.name, file);
    if (file.size > about.max_bytes) {
      fail(picture, `This file has ${bytes(file.size)}; ${bytes(about.max_bytes)} are the most that is taken.`);
    } else if (!file.size) {
      fail(picture, "This file is empty.");
    }
  }
  sendNext();
}

function sendNext() {
  while (sending < AT_ONCE) {
    const picture = pictures.find((each) => each.file && !each.id && !each.over && !each.sent);
    if (!picture) { return; }
    send(picture);
  }
}

function send(picture) {
  sending += 1;
  picture.sent = true;
  badge(picture, "sending");
  const request = new XMLHttpRequest();
  request.open("POST", "/pictures");
  request.setRequestHeader("Content-Type", "application/octet-stream");
  const token = sessionStorage.getItem(TOKEN);
  if (token) { request.setRequestHeader("Authorization", `Bearer ${token}`); }
  request.upload.onprogress = (event) => {
    picture.card.querySelector("progress").value = event.total ? 100 * event.loaded / event.total : 0;
    say(picture, `${bytes(event.loaded)} of ${bytes(event.total)} sent`);
  };
  request.onloadend = () => {
    sending -= 1;
    answered(picture, request);
    sendNext();
  };
  request.send(picture.file);
}

function answered(picture, request) {
  const token = sessionStorage.getItem(TOKEN);
  let answer = {};
  try { answer = JSON.parse(request.responseText); } catch { /* a proxy's page, or nothing */ }
  if (request.status === 201) {
    picture.id = answer.id;
    show(picture, answer);
    remember();
    listen();
  } else if (request.status === 401) {
    picture.sent = false;
    picture.over = true;
    picture.needsToken = true;
    byId("token-form").hidden = false;
    badge(picture, "waiting");
    say(picture, token ? "that token is not the right one" : "waits for the token");
    byId("token").focus();
  } else if ((answer.retry_after_s || request.status === 0) && picture.tries < TRIES) {
    picture.tries += 1;
    const wait_s = answer.retry_after_s ?? 3;
    badge(picture, "waiting");
    say(picture, `${answer.error ?? "the server does not answer"}; again in ${wait_s} s`);
    setTimeout(() => { picture.sent = false; sendNext(); }, wait_s * 1000);
  } else {
    fail(picture, answer.error ?? (request.status ? `the server answered ${request.status}` : "the server does not answer"));
  }
}

// -- news --------------------------------------------------------------------------------------------------------------

function listen() {
  clearTimeout(listenAgain);
  source?.close();
  source = null;
  const ids = pictures.filter((each) => each.id && !each.over).slice(0, LISTENED_AT_ONCE).map((each) => each.id);
  if (!ids.length) { return; }
  const own = source = new EventSource(`/events?${ids.map((id) => `picture=${encodeURIComponent(id)}`).join("&")}`);
  const find = (event) => {
    const state = JSON.parse(event.data);
    return [pictures.find((each) => each.id === state.id), state];
  };
  own.addEventListener("picture", (event) => {
    const [picture, state] = find(event);
    if (picture) { show(picture, state); }
  });
  own.addEventListener("absent", (event) => {
    const [picture] = find(event);
    if (picture) { fail(picture, "There is no such picture any more."); }
  });
  own.addEventListener("end", () => { own.close(); if (source === own) { listen(); } });
  own.onopen = () => { byId("trouble").hidden = true; };
  own.onerror = () => {
    byId("trouble").hidden = false;
    byId("trouble").textContent = "No news from the server at the moment; trying again.";
    if (own.readyState === EventSource.CLOSED && source === own) { listenAgain = setTimeout(listen, AGAIN_MS); }
  };
}

function show(picture, state) {
  picture.over = state.state !== "working";
  badge(picture, state.state);
  const steps = state.steps;
  const done = steps.filter(({ state }) => state === "done" || state === "not needed").length;
  const bar = picture.card.querySelector("progress");
  bar.hidden = picture.over;
  bar.value = 100 * done / steps.length;
  say(picture, state.trouble ?? sizes(state));
  tell(picture, steps.filter((each) => each.reason && each.state !== "done").map((each) => why(state, each)));
  picture.card.querySelector(".steps").replaceChildren(...chips(steps));
  rows(picture.card, state);
  preview(picture.card, state.thumbnails);
}

function sizes(state) {
  const made = state.thumbnails.filter((each) => each.bytes);
  const sum = made.reduce((total, each) => total + each.bytes, 0);
  const original = state.original.bytes ? `${bytes(state.original.bytes)} original` : "";
  return original + (made.length ? `, ${made.length} thumbnail${made.length > 1 ? "s" : ""} of ${bytes(sum)} together` : "");
}

function why(state, step) {
  const of = step.of === "original" ? "" : ` of ${shape(state.thumbnails[step.of])}`;
  const again = step.state === "waiting" && step.due_at_ms
    ? ` It is tried again at ${new Date(step.due_at_ms).toLocaleTimeString()}.` : "";
  return `${step.step}${of}${step.attempt > 1 ? `, attempt ${step.attempt}` : ""}: ${step.reason}.${again}`;
}

// Steps of one kind are one chip: what matters is which kind of work goes on.
function chips(steps) {
  const kinds = new Map();
  for (const each of steps.filter(({ state }) => state !== "not needed")) { kinds.set(each.step, [...(kinds.get(each.step) ?? []), each.state]); }
  return [...kinds].map(([kind, states]) => {
    const chip = document.createElement("li");
    const done = states.filter((each) => each === "done").length;
    chip.textContent = states.length > 1 ? `${kind} ${done}/${states.length}` : kind;
    const order = ["failed", "running"].find((each) => states.includes(each));
    chip.className = done === states.length ? "done" : order ?? "waiting";
    return chip;
  });
}

const formatName = (format) => format === "webp" ? "WebP" : format.toUpperCase();

function shape(made) {
  return `${made.width}${made.height ? ` × ${made.height}` : " px"} ${formatName(made.format)}`;
}

function rows(card, state) {
  const entries = [["original", state.original], ...state.thumbnails.map((each) => [shape(each), each])];
  card.querySelector(".scroll").hidden = !state.thumbnails.some((each) => each.bytes);
  card.querySelector("tbody").replaceChildren(...entries.filter(([, each]) => each.bytes).map(([name, each]) => {
    const row = document.createElement("tr");
    const before = each.bytes_before ?? null;
    const cells = [name, before ? bytes(before) : "", bytes(each.bytes), before ? `${Math.round(100 - 100 * each.bytes / before)} %` : ""];
    cells.forEach((text, at) => {
      const cell = row.insertCell();
      cell.textContent = text;
      if (at) { cell.className = "number"; }
    });
    const cell = row.insertCell();
    const address = each.url ?? each.link;
    if (address) {
      const link = document.createElement("a");
      link.href = address;
      link.target = "_blank";
      link.rel = "noreferrer";
      link.textContent = each.url ? "published" : "look";
      cell.append(link);
    } else {
      cell.textContent = each.published ? "published" : "";
    }
    return row;
  }));
}

function preview(card, thumbnails) {
  const made = thumbnails.filter((each) => each.link).sort((one, other) => one.width - other.width);
  const best = made.find((each) => each.width >= 300) ?? made.at(-1);
  const image = card.querySelector("img");
  if (!best || image.dataset.link === best.link) { return; }
  image.dataset.link = best.link;
  image.src = best.link;
  image.hidden = false;
  image.parentElement.classList.remove("empty");
}

// -- the start ---------------------------------------------------------------------------------------------------------

function accept() {
  const drop = byId("drop"), files = byId("files");
  files.addEventListener("change", () => { take(files.files); files.value = ""; });
  for (const kind of ["dragover", "drop"]) { document.addEventListener(kind, (event) => event.preventDefault()); }
  document.addEventListener("dragover", () => drop.classList.add("over"));
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) { drop.classList.remove("over"); } });
  document.addEventListener("drop", (event) => { drop.classList.remove("over"); take(event.dataTransfer.files); });
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, byId("token").value.trim());
    byId("token-form").hidden = true;
    for (const each of pictures.filter((one) => one.needsToken)) { each.over = each.needsToken = false; }
    sendNext();
  });
}

async function start() {
  accept();
  try {
    about = await (await fetch("/about")).json();
    byId("files").accept = about.takes.join(",");
    const kinds = about.takes.map((kind) => formatName(kind.replace("image/", "")));
    byId("limits").textContent = `${kinds.join(", ")}, up to ${bytes(about.max_bytes)} each`;
    byId("token-form").hidden = !about.needs_token || Boolean(sessionStorage.getItem(TOKEN));
  } catch {
    byId("trouble").hidden = false;
    byId("trouble").textContent = "The server does not answer; load the page again in a while.";
  }
  recall();
}

start();
