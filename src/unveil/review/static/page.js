// The review page. Names and ids come from strangers: they are set as text, never as markup.

const FLICKER_MS = 450;
const AHEAD = 3; // pairs whose images are fetched before they are asked for
const MAX_CACHED = 48; // images kept in memory
const at = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let reviewer = "";
let verdicts = []; // by place: what this reviewer said, or null
let blind = false;
let place = 0;
let faces = false;
let zoom = 1;
let centre = [50, 50];
let flicker = null;
let onTop = false; // while flickering: whether the real image is on top
let said = []; // places judged in this sitting, for undo
let sending = Promise.resolve();
let unsent = 0;

// ---- what is asked of the server

async function ask(path) {
  const answer = await fetch(path);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error ?? answer.statusText);
  return content;
}

const of = (what, i) => `${what}/${i}?reviewer=${encodeURIComponent(reviewer)}`;
const pairs = new Map();
const images = new Map(); // address -> promise of a blob address, the oldest first

function pair(i) {
  if (!pairs.has(i)) {
    const found = ask(of("pair", i));
    found.catch(() => pairs.delete(i));
    pairs.set(i, found);
  }
  return pairs.get(i);
}

function loadImage(number, face) {
  const address = `image/${number}${face ? "?view=face" : ""}`;
  let found = images.get(address);
  if (found) images.delete(address);
  else found = fetch(address).then(async (a) => (a.ok ? URL.createObjectURL(await a.blob()) : null));
  found.catch(() => images.delete(address));
  images.set(address, found);
  while (images.size > MAX_CACHED) {
    const [oldest, gone] = images.entries().next().value;
    images.delete(oldest);
    gone.then((blob) => blob && URL.revokeObjectURL(blob)).catch(() => {});
  }
  return found;
}

function fetchAhead() {
  for (let i = place + 1; i <= Math.min(place + AHEAD, verdicts.length - 1); i += 1) {
    pair(i)
      .then((p) => Promise.all([loadImage(p.synthetic, faces), loadImage(p.real, faces)]))
      .catch(() => {});
  }
}

// What is not on disk yet shows on the progress line, and keeps the page from being left.
function owe(more) {
  unsent += more;
  at("progress").setAttribute("aria-busy", String(unsent > 0));
}

// Verdicts go one after the other, in the order in which they were given.
function send(i, verdict) {
  owe(1);
  sending = sending.then(async () => {
    const body = JSON.stringify({ reviewer, place: i, verdict });
    const answer = await fetch("verdict", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!answer.ok) throw new Error((await answer.json()).error ?? answer.statusText);
    owe(-1);
  });
  sending = sending.catch((error) => {
    owe(-1);
    verdicts[i] = null;
    place = i;
    show();
    tell(`Not kept: ${error.message}. Is unveil review still running? Say it again when it is.`, true);
  });
}

// ---- what is shown

function tell(text, wrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", wrong);
}

function put(image, address) {
  image.classList.toggle("gone", !address);
  image.parentElement.classList.toggle("gone", !address);
  if (address) image.src = address;
  else image.removeAttribute("src");
}

async function show() {
  const here = place;
  stopFlicker();
  closeNeighbours();
  at("done").hidden = true;
  at("work").hidden = false;
  setZoom(1);
  marks();
  let p;
  try {
    p = await pair(here);
  } catch (error) {
    tell(error.message, true);
    return;
  }
  const [left, right] = await Promise.all([loadImage(p.synthetic, faces), loadImage(p.real, faces)].map((f) => f.catch(() => null)));
  if (here !== place) return;
  put(at("left-image"), left);
  put(at("right-image"), right);
  const t = p.told;
  at("left-image").alt = blind ? "Synthetic image" : `Synthetic image ${t.synthetic_id}`;
  at("right-image").alt = blind ? "Real image" : `Real image ${t.real_id}`;
  at("left-told").textContent = blind ? "" : t.synthetic_id;
  at("right-told").textContent = blind ? "" : t.real_id;
  at("told").textContent = blind
    ? "Scores are hidden, the order is your own, and pairs that cannot be leaks are among them."
    : `${t.why}: ${t.person}; cosine ${t.cosine.toFixed(3)}, score ${t.score.toFixed(2)}`;
  at("pair").dataset.place = String(here);
  fetchAhead();
}

function marks() {
  const n = verdicts.filter((v) => v !== null).length;
  at("progress").textContent = `${reviewer}: pair ${(place + 1).toLocaleString("en")} of ${verdicts.length.toLocaleString("en")}, ${n.toLocaleString("en")} judged`;
  at("bar").max = verdicts.length;
  at("bar").value = n;
  for (const button of at("verdicts").children) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === verdicts[place]));
  }
}

function setZoom(to) {
  zoom = to;
  if (to === 1) centre = [50, 50];
  for (const image of [at("left-image"), at("right-image")]) {
    image.style.transformOrigin = `${centre[0]}% ${centre[1]}%`;
    image.style.transform = to === 1 ? "" : `scale(${to})`;
  }
}

function look(x, y) {
  centre = [Math.min(100, Math.max(0, x)), Math.min(100, Math.max(0, y))];
  setZoom(zoom);
}

function turn() {
  onTop = !onTop;
  at("left").classList.toggle("under", onTop);
  at("right").classList.toggle("under", !onTop);
}

function toggleFlicker() {
  if (flicker !== null && !calm.matches) {
    stopFlicker();
    return;
  }
  if (flicker === null) {
    at("pair").classList.add("flicker");
    button("flicker").setAttribute("aria-pressed", "true");
    onTop = true;
  }
  turn();
  // Who asked for less motion turns by hand: each press shows the other.
  if (flicker === null) flicker = calm.matches ? 0 : setInterval(turn, FLICKER_MS);
}

function stopFlicker() {
  if (flicker === null) return;
  clearInterval(flicker);
  flicker = null;
  at("pair").classList.remove("flicker");
  at("left").classList.remove("under");
  at("right").classList.remove("under");
  button("flicker").setAttribute("aria-pressed", "false");
}

const button = (tool) => document.querySelector(`[data-tool="${tool}"]`);

function closeNeighbours() {
  at("neighbours").hidden = true;
  at("neighbours").replaceChildren();
  button("neighbours").setAttribute("aria-expanded", "false");
}

async function toggleNeighbours() {
  if (!at("neighbours").hidden) {
    closeNeighbours();
    return;
  }
  const here = place;
  const groups = await ask(of("neighbours", here));
  if (here !== place) return;
  const rows = groups.flatMap((group) => {
    const title = document.createElement("h2");
    title.textContent = group.title;
    const row = document.createElement("div");
    row.className = "row";
    for (const one of group.images) {
      const figure = document.createElement("figure");
      const frame = document.createElement("div");
      frame.className = "frame";
      const image = document.createElement("img");
      image.alt = one.told || group.title;
      frame.append(image);
      const caption = document.createElement("figcaption");
      caption.textContent = one.told;
      figure.append(frame, caption);
      row.append(figure);
      loadImage(one.number, faces).then((address) => put(image, address)).catch(() => put(image, null));
    }
    return [title, row];
  });
  if (!rows.length) {
    const none = document.createElement("p");
    none.textContent = "There are no other images to show with this pair.";
    rows.push(none);
  }
  at("neighbours").replaceChildren(...rows);
  at("neighbours").hidden = false;
  button("neighbours").setAttribute("aria-expanded", "true");
}

async function finish() {
  stopFlicker();
  at("work").hidden = true;
  at("done").hidden = false;
  at("progress").textContent = `${reviewer}: all ${verdicts.length.toLocaleString("en")} pairs judged`;
  tell("All pairs are judged.");
  await sending;
  const found = await ask("agreement");
  const lines = found.reviewers.map((r) => `${r.name}: ${r.n.toLocaleString("en")} verdicts`);
  const interval = (e) => `${e.value.toFixed(2)} (${e.low.toFixed(2)} to ${e.high.toFixed(2)}, 95% interval, ${e.n} pairs)`;
  if (found.alpha) lines.push(`Agreement of all, Krippendorff's alpha: ${interval(found.alpha)}`);
  for (const k of found.kappas) lines.push(`${k.reviewers.join(" and ")}, Cohen's kappa: ${interval(k)}`);
  at("agreement").replaceChildren(
    ...lines.map((line) => {
      const p = document.createElement("p");
      p.textContent = line;
      return p;
    }),
  );
}

// ---- what the reviewer does

function go(to) {
  place = Math.min(verdicts.length - 1, Math.max(0, to));
  show();
}

function firstLeft(from = 0) {
  const n = verdicts.length;
  for (let k = 0; k < n; k += 1) {
    if (verdicts[(from + k) % n] === null) return (from + k) % n;
  }
  return -1;
}

function judge(verdict) {
  verdicts[place] = verdict;
  said.push(place);
  send(place, verdict);
  tell(`Pair ${place + 1}: ${verdict}.`);
  const next = place + 1 < verdicts.length && verdicts[place + 1] === null ? place + 1 : firstLeft(place + 1);
  if (next < 0) finish();
  else go(next);
}

function undo() {
  const last = said.pop() ?? (verdicts[place] === null ? -1 : place);
  if (last < 0) {
    tell("There is no verdict to take back.");
    return;
  }
  verdicts[last] = null;
  send(last, null);
  tell(`Taken back: pair ${last + 1}.`);
  go(last);
}

const tools = {
  back: () => go(place - 1),
  next: () => go(place + 1),
  jump: () => (firstLeft() < 0 ? finish() : go(firstLeft())),
  undo,
  zoom: () => {
    setZoom(zoom === 4 ? 1 : zoom * 2);
    tell(`Zoom ${zoom} times.`);
  },
  flicker: toggleFlicker,
  faces: () => {
    faces = !faces;
    button("faces").setAttribute("aria-pressed", String(faces));
    show();
  },
  neighbours: () => toggleNeighbours().catch((error) => tell(error.message, true)),
  look: () => go(0),
  help: () => {
    at("keys").showModal();
    at("help").setAttribute("aria-expanded", "true");
  },
};
const keys = { ArrowLeft: "back", ArrowRight: "next", j: "jump", u: "undo", z: "zoom", f: "flicker", a: "faces", n: "neighbours", "?": "help" };
const moves = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at("keys").open || at("work").hidden) return;
  if (event.target instanceof HTMLInputElement) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const choice = at("verdicts").children[Number(key) - 1];
  if (event.shiftKey && zoom > 1 && moves[key]) look(centre[0] + moves[key][0], centre[1] + moves[key][1]);
  else if (/^[1-4]$/.test(key) && choice) {
    if (event.repeat) return; // a key held down judges one pair, not the rest
    judge(choice.dataset.verdict);
  } else if (keys[key]) tools[keys[key]]();
  else return;
  event.preventDefault();
});
for (const choice of at("verdicts").children) choice.addEventListener("click", () => judge(choice.dataset.verdict));
for (const tool of document.querySelectorAll("[data-tool]")) tool.addEventListener("click", () => tools[tool.dataset.tool]());
at("help").addEventListener("click", tools.help);
at("keys").addEventListener("close", () => at("help").setAttribute("aria-expanded", "false"));
for (const frame of document.querySelectorAll("#pair .frame")) {
  frame.addEventListener("pointermove", (event) => {
    if (zoom === 1) return;
    const box = frame.getBoundingClientRect();
    look((100 * (event.clientX - box.left)) / box.width, (100 * (event.clientY - box.top)) / box.height);
  });
}
addEventListener("beforeunload", (event) => {
  if (unsent > 0) event.preventDefault();
});

async function begin(name) {
  const deck = await ask(`deck?reviewer=${encodeURIComponent(name)}`);
  ({ reviewer, verdicts, blind } = deck);
  faces = !deck.aligned;
  button("faces").setAttribute("aria-pressed", String(faces));
  sessionStorage.setItem("reviewer", reviewer); // of this tab alone: a reload goes on, another tab may be another reviewer
  at("who").hidden = true;
  if (deck.missing.length) tell(`The ${deck.missing.join(" and ")} images are not where they were.`, true);
  if (firstLeft() < 0) await finish();
  else go(firstLeft());
}

at("who").addEventListener("submit", (event) => {
  event.preventDefault();
  begin(at("name").value).catch((error) => tell(error.message, true));
});
const before = sessionStorage.getItem("reviewer");
if (before) begin(before).catch((error) => tell(error.message, true));
else {
  at("who").hidden = false;
  at("name").focus();
}
