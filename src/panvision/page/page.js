"use strict";
// Names come from files and models: they reach the page as text nodes and properties, never as HTML.

const ANSWERS = { segmentation: "mask", detection: "boxes", classification: "state" };
const HEADLINE = ["mIoU", "mAP@0.5", "accuracy"];
const FRAME_MS = 200; // between two frames of the camera
const FRAME_SIDE = 1280; // pixels of the longer side of a frame
const COLORS = 6; // of states, in page.css

const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];
let facts, image, clip, watching, camera;

/** An element with properties and children; texts become text nodes, null and undefined are left out. */
function el(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}
const note = (text) => el("p", { className: "note" }, text);
const card = (title, small, ...content) => {
  return el("section", { className: "card" }, el("h2", {}, title, " ", el("small", {}, small)), ...content);
};
const cards = (...some) => el("div", { className: "cards" }, ...some);
const view = (src, alt) => el("img", { className: "view", src, alt });
const save = (href, file, kind, text) => el("a", { href, download: file.name.replace(/\.[^.]*$/, kind) }, text);
const say = (place, text, kind = "hint") => $(place).replaceChildren(el("p", { className: kind, role: "status" }, text));
const percent = (value) => `${Math.round(100 * value)}%`;
const score = (value) => (value === null ? "–" : value.toFixed(3));
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
const stateNames = () => (facts.state_order.length ? facts.state_order : facts.cls_class_names);

/** A table; the columns after the first `texts` ones are numbers. */
function table(head, rows, texts = 1) {
  const line = (tag) => (cells) =>
    el("tr", {}, ...cells.map((cell, i) => el(tag, { className: i < texts ? "" : "number" }, cell)));
  return el("table", {}, ...(head ? [head].map(line("th")) : []), ...rows.map(line("td")));
}

function bar(fraction, kind) {
  const inner = el("div");
  inner.style.width = percent(fraction);
  return el("div", { className: `bar ${kind}` }, inner);
}

function stateCard({ class_name, probabilities, answered, reason }, decided) {
  const bars = stateNames().flatMap((name) => {
    const best = name === class_name ? "best" : "";
    const p = probabilities[name];
    return [el("span", { className: best }, name), bar(p, best), el("span", { className: `number ${best}` }, percent(p))];
  });
  const remark = answered ? (decided === null ? "undecided so far" : "") : `no answer: ${reason}`;
  return card("State", remark, el("div", { className: answered ? "bars" : "bars unanswered" }, ...bars));
}

function boxesCard({ boxes, width, height }) {
  const rows = boxes.map(({ name, color, score, box }) => {
    const swatch = el("i", { className: "swatch" });
    swatch.style.background = `rgb(${color})`;
    return [el("span", {}, swatch, name), score.toFixed(2), ...box.map(Math.round)];
  });
  const found = rows.length ? table(["Class", "Score", "Left", "Top", "Right", "Bottom"], rows) : null;
  return card("Boxes", `${width} × ${height} pixels`, found ?? note("None scores above the threshold."));
}

function eventsCard(events, moment) {
  const words = ({ event, from, to }) => (to ? (from ? `${from} → ${to}` : to) : event);
  const rows = events.map((event) => [moment(event.time), words(event), percent(event.confidence)]).reverse();
  return card("Events", "", rows.length ? table(["Time", "Event", "Confidence"], rows, 2) : note("None so far."));
}

function statesCard(spans) {
  const length = spans.at(-1)[1];
  const line = spans.map(([start, end, name]) => {
    const text = name ?? "undecided";
    const span = el("span", { title: `${text}, ${clock(start)} to ${clock(end)}` }, end - start > length / 7 ? text : "");
    if (name !== null) span.className = `s${stateNames().indexOf(name) % COLORS}`;
    span.style.flex = end - start;
    return span;
  });
  return card("States in time", `0:00.0 to ${clock(length)}`, el("div", { className: "spans" }, ...line));
}

/** The model's answer to an image or a frame: drawn, and as cards. */
function showAnswer(place, found, ...more) {
  const own = [found.state && stateCard(found.state, found.decided), found.boxes && boxesCard(found)];
  $(place).replaceChildren(view(found.drawn, "the image with mask, boxes and state"), cards(...own, ...more));
}

/** The response to a file, which is sent with the values of the sliders; an error has a message for the visitor. */
async function ask(path, body, more, signal) {
  if (body.size > facts.max_upload) {
    throw new Error(`${body.name}: is larger than ${facts.max_upload / 2 ** 20} MB; --max_upload_mb N allows more`);
  }
  const query = new URLSearchParams([...Object.entries(more), ...new FormData(document.forms[0])]);
  const response = await fetch(`${path}?${query}`, { method: "POST", body, signal }).catch((error) => {
    throw signal?.aborted ? error : new Error("The page's server does not answer; is it still running?");
  });
  if (!response.ok) throw new Error((await response.json()).error);
  return response;
}

/** A function that never overlaps itself: calls meanwhile are done once afterwards. */
function latest(work) {
  let busy = false, again = false;
  return async () => {
    for (again = true; again && !busy; busy = false) {
      [busy, again] = [true, false];
      await work();
    }
  };
}

const look = latest(async () => {
  if (!image) return;
  const given = image;
  try {
    const found = await (await ask("image", given, { name: given.name })).json();
    const drawn = save(found.drawn, given, "_drawn.jpg", "Save the drawn image");
    const mask = found.mask && save(found.mask, given, "_mask.png", "Save the mask");
    const shown = found.mask && card("Mask", "", view(found.mask, "the mask"));
    showAnswer("image-found", found, shown, card("File", given.name, el("p", {}, drawn), el("p", {}, mask)));
  } catch (error) {
    say("image-found", error.message, "problem");
  }
});

/** The objects of a response that has a line of JSON for each. */
async function* items(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = "", part; !(part = await reader.read()).done; ) {
    const lines = (text + part.value).split("\n");
    text = lines.pop();
    yield* lines.map((line) => JSON.parse(line));
  }
}

async function watch() {
  watching?.abort();
  const mine = (watching = new AbortController());
  const running = (is) => ([$("again").disabled, $("stop").disabled] = [is, !is]);
  running(true);
  say("clip-found", "Watching …");
  try {
    let item;
    for await (item of items(await ask("clip", clip, { name: clip.name }, mine.signal))) {
      if (item.error) throw new Error(item.error);
      showClip(item);
    }
    if (!item?.video) throw new Error("The page's server stopped before the clip was watched.");
  } catch (error) {
    if (mine === watching) mine.signal.aborted ? say("clip-found", "Stopped.") : say("clip-found", error.message, "problem");
  }
  if (mine === watching) running(false);
}

function showClip({ note: remark, video, drawn, fraction, seconds, states, events }) {
  const shown = remark ? [el("p", { className: "hint" }, remark)] : [];
  if (video) {
    const bytes = Uint8Array.from(atob(video), (letter) => letter.charCodeAt(0));
    const src = URL.createObjectURL(new Blob([bytes], { type: "video/webm" }));
    const how = { controls: true, autoplay: true, muted: true, loop: true, playsInline: true };
    shown.push(el("video", { className: "view", src, ...how }), save(src, clip, "_drawn.webm", "Save the drawn video"));
  } else {
    shown.push(view(drawn, "the frame that is watched now"), bar(fraction, "best"), note(`Watching … ${clock(seconds)}`));
  }
  const line = states.some(([, , name]) => name !== null) ? statesCard(states) : null;
  $("clip-found").replaceChildren(...shown, cards(line, eventsCard(events, clock)));
}

async function record() {
  const ideal = { width: { ideal: 1280 }, height: { ideal: 720 }, facingMode: { ideal: "environment" } };
  const mine = await navigator.mediaDevices.getUserMedia({ video: ideal });
  [camera, $("live").srcObject, $("record").textContent] = [mine, mine, "Stop the camera"];
  mine.getTracks()[0].onended = stopCamera;
  say("camera-found", "Waiting for the first frame …");
  for (const visitor = crypto.randomUUID(); mine === camera; ) {
    const next = new Promise((done) => setTimeout(done, FRAME_MS));
    if ($("live").videoWidth) await postFrame(mine, visitor);
    await next;
  }
}

async function postFrame(mine, visitor) {
  const { videoWidth, videoHeight } = $("live");
  const factor = Math.min(1, FRAME_SIDE / Math.max(videoWidth, videoHeight));
  const canvas = el("canvas", { width: factor * videoWidth, height: factor * videoHeight });
  canvas.getContext("2d").drawImage($("live"), 0, 0, canvas.width, canvas.height);
  const frame = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  const found = await (await ask("camera", frame, { visitor })).json();
  const moment = (time) => new Date(Date.now() - 1000 * (found.now - time)).toTimeString().slice(0, 8);
  if (mine === camera) showAnswer("camera-found", found, eventsCard(found.events, moment));
}

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  [camera, $("live").srcObject, $("record").textContent] = [null, null, "Start the camera"];
}

function toggleCamera() {
  if (camera) return stopCamera();
  record().catch((error) => {
    stopCamera();
    say("camera-found", error.message, "problem");
  });
}

function take(file, tab) {
  if (!file) return;
  showTab(tab);
  if (tab === "clip") {
    clip = file;
    $("clip-name").textContent = file.name;
    watch();
  } else {
    image = file;
    URL.revokeObjectURL($("preview").src);
    $("preview").src = URL.createObjectURL(file);
    look();
  }
}

/** Give a dropped or pasted file to the tab that it is for. */
function receive(event, [file]) {
  if (!file) return;
  event.preventDefault();
  const here = all("[aria-selected=true]")[0].dataset.tab;
  const isClip = file.type.startsWith("video/") || (here === "clip" && !file.type.startsWith("image/"));
  take(file, isClip && !facts.no_clips ? "clip" : "image");
}

function showTab(tab) {
  for (const button of all("nav button")) button.ariaSelected = String(button.dataset.tab === tab);
  for (const part of all("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(tab);
  document.forms[0].hidden ||= !all("form label:not([hidden])").length;
}

function showFacts() {
  const { scores, image_size: side } = facts;
  const answers = facts.tasks.map((task) => ANSWERS[task] ?? task);
  const headline = scores.rows.filter(({ name }) => HEADLINE.includes(name));
  const chips = [`${side} px`, answers.join(" + "), ...headline.map(({ name, value }) => `${name} ${score(value)}`)];
  document.title = `panvision · ${facts.name}`;
  $("name").textContent = facts.name;
  $("hash").textContent = facts.sha256.slice(0, 12);
  $("chips").replaceChildren(...chips.map((text) => el("span", {}, text)));
  const rows = [
    ["File", `${facts.name}, ${(facts.size / 1e6).toFixed(1)} MB`],
    ["SHA-256", facts.sha256],
    ["Settings", facts.params_sha256],
    ["Data", facts.data_sha256],
    ["Input", `${side} × ${side} pixels`],
    ["Answers", answers.join(", ")],
    ["Boxes of", facts.det_class_names.join(", ")],
    ["States", stateNames().join(facts.state_order.length ? " → " : ", ")],
  ];
  const known = rows.filter(([, value]) => value).map(([name, value]) => [el("b", {}, name), value]);
  const lines = scores.rows.map(({ name, value, interval }) => [name, score(value), interval?.map(score).join(" – ")]);
  const figures = lines.length ? table(["Metric", "Value", "95 % interval"], lines) : null;
  $("model-found").replaceChildren(
    cards(card("Model", "", table(null, known, 2)), card("Scores", "", figures, note(scores.about))),
  );
}

function setSliders() {
  for (const input of all("form input")) {
    if (!facts.sliders[input.name]) input.parentElement.remove();
    else [input.min, input.max, input.defaultValue] = facts.sliders[input.name];
  }
  // The thresholds of the classes may differ, so no number is right at the start.
  const own = (input) => input.name === "score" && input.value === input.defaultValue;
  const show = () => {
    for (const input of all("form input")) {
      input.ariaValueText = own(input) ? "the model's own" : input.value;
      input.previousElementSibling.textContent = input.ariaValueText;
    }
  };
  const changed = () => setTimeout(() => (show(), look())); // a reset takes effect after its event
  document.forms[0].oninput = document.forms[0].onreset = changed;
  show();
}

async function start() {
  facts = await (await fetch("model")).json();
  showFacts();
  setSliders();
  showTab("image");
  say("image-found", "Here you see what the model finds in it.");
  say("camera-found", "Frames of the camera are looked at, and not kept.");
  if (facts.no_clips) say("clip-found", facts.no_clips, "problem");
  else say("clip-found", "The first 60 seconds of a clip are watched.");
  $("clip-file").disabled = Boolean(facts.no_clips);
  for (const button of all("nav button")) button.onclick = () => showTab(button.dataset.tab);
  for (const input of all("[type=file]")) {
    input.onchange = () => {
      take(input.files[0], input.dataset.tab);
      input.value = ""; // so that the same file can be chosen again
    };
  }
  $("preview").onload = $("preview").onerror = ({ type }) => ($("preview").hidden = type === "error");
  $("again").onclick = watch;
  $("stop").onclick = () => watching.abort();
  $("record").onclick = toggleCamera;
  document.ondragover = (event) => event.preventDefault();
  document.ondrop = (event) => receive(event, event.dataTransfer.files);
  document.onpaste = (event) => receive(event, event.clipboardData.files);
}

start();
