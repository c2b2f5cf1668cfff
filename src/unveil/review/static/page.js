// The review page. Names and ids are untrusted: they are set as text, never as markup.

const FLICKER_MS = 450;
const PREFETCHED_PAIRS = 3;
const MAX_CACHED_IMAGES = 48;
const REASONS = {
  "exposed person": (person) => `Finding: exposed person ${person}.`,
  "synthetic identity": (person) => `Finding: synthetic identity that shows ${person}.`,
  "closest pair": (person) => `Not a finding: one of the closest pairs, with ${person}.`,
};
const count = (n) => n.toLocaleString("en");
const byId = (id) => document.getElementById(id);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

let reviewer = "";
let verdicts = []; // the verdict of this reviewer on each pair, or null
let blind = false;
let current = 0; // index of the pair that is shown
let faces = false;
let zoom = 1;
let centre = [50, 50]; // of the zoom, in percent
let flicker = null;
let realOnTop = false; // while flickering
let undoable = []; // indices of the pairs with a verdict in this session
let sending = Promise.resolve();
let unsaved = 0;

// ---- requests

async function request(path) {
  const answer = await fetch(path);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error ?? answer.statusText);
  return content;
}

const addressOf = (name, i) => `${name}/${i}?reviewer=${encodeURIComponent(reviewer)}`;
const pairs = new Map();
const images = new Map(); // from address to a promise of a blob address, oldest first

function pair(i) {
  if (!pairs.has(i)) {
    const found = request(addressOf("pair", i));
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
  while (images.size > MAX_CACHED_IMAGES) {
    const [oldest, removed] = images.entries().next().value;
    images.delete(oldest);
    removed.then((blob) => blob && URL.revokeObjectURL(blob)).catch(() => {});
  }
  return found;
}

function prefetch() {
  for (let i = current + 1; i <= Math.min(current + PREFETCHED_PAIRS, verdicts.length - 1); i += 1) {
    pair(i)
      .then((p) => Promise.all([loadImage(p.synthetic, faces), loadImage(p.real, faces)]))
      .catch(() => {});
  }
}

// While a verdict is not on disk, the page is marked as busy and asks before it is closed.
function countUnsaved(change) {
  unsaved += change;
  byId("progress").setAttribute("aria-busy", String(unsaved > 0));
}

// Verdicts are sent one after the other, in order.
function send(i, verdict) {
  countUnsaved(1);
  sending = sending.then(async () => {
    const body = JSON.stringify({ reviewer, index: i, verdict });
    const answer = await fetch("verdict", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!answer.ok) throw new Error((await answer.json()).error ?? answer.statusText);
    countUnsaved(-1);
  });
  sending = sending.catch((error) => {
    countUnsaved(-1);
    verdicts[i] = null;
    current = i;
    show();
    announce(`The verdict was not stored (${error.message}). Check that unveil review is running, then give it again.`, true);
  });
}

// ---- display

function announce(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

function setImage(image, address) {
  image.classList.toggle("missing", !address);
  image.parentElement.classList.toggle("missing", !address);
  if (address) image.src = address;
  else image.removeAttribute("src");
}

async function show() {
  const here = current;
  stopFlicker();
  closeNeighbours();
  byId("done").hidden = true;
  byId("work").hidden = false;
  setZoom(1);
  showProgress();
  let p;
  try {
    p = await pair(here);
  } catch (error) {
    announce(error.message, true);
    return;
  }
  const [left, right] = await Promise.all([loadImage(p.synthetic, faces), loadImage(p.real, faces)].map((f) => f.catch(() => null)));
  if (here !== current) return;
  setImage(byId("left-image"), left);
  setImage(byId("right-image"), right);
  const d = p.details;
  byId("left-image").alt = blind ? "Synthetic image" : `Synthetic image ${d.synthetic_id}`;
  byId("right-image").alt = blind ? "Real image" : `Real image ${d.real_id}`;
  byId("left-caption").textContent = blind ? "" : d.synthetic_id;
  byId("right-caption").textContent = blind ? "" : d.real_id;
  byId("details").textContent = blind
    ? "Blind review: scores and names are hidden, the order is random, and some pairs are controls that cannot be leaks."
    : `${REASONS[d.why](d.person)} Cosine ${d.cosine.toFixed(3)}, score ${d.score.toFixed(2)}.${d.agreement ? ` ${d.agreement}` : ""}`;
  byId("pair").dataset.index = String(here);
  prefetch();
}

function showProgress() {
  const n = verdicts.filter((v) => v !== null).length;
  byId("progress").textContent = `${reviewer}: pair ${count(current + 1)} of ${count(verdicts.length)}, ${count(n)} reviewed`;
  byId("bar").max = verdicts.length;
  byId("bar").value = n;
  for (const button of byId("verdicts").children) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === verdicts[current]));
  }
}

function setZoom(to) {
  zoom = to;
  if (to === 1) centre = [50, 50];
  for (const image of [byId("left-image"), byId("right-image")]) {
    image.style.transformOrigin = `${centre[0]}% ${centre[1]}%`;
    image.style.transform = to === 1 ? "" : `scale(${to})`;
  }
}

function moveCentre(x, y) {
  centre = [Math.min(100, Math.max(0, x)), Math.min(100, Math.max(0, y))];
  setZoom(zoom);
}

function swapImages() {
  realOnTop = !realOnTop;
  byId("left").classList.toggle("under", realOnTop);
  byId("right").classList.toggle("under", !realOnTop);
}

function toggleFlicker() {
  if (flicker !== null && !reducedMotion.matches) {
    stopFlicker();
    return;
  }
  if (flicker === null) {
    byId("pair").classList.add("flicker");
    button("flicker").setAttribute("aria-pressed", "true");
    realOnTop = true;
  }
  swapImages();
  // With reduced motion nothing moves by itself: each press shows the other image.
  if (flicker === null) flicker = reducedMotion.matches ? 0 : setInterval(swapImages, FLICKER_MS);
}

function stopFlicker() {
  if (flicker === null) return;
  clearInterval(flicker);
  flicker = null;
  byId("pair").classList.remove("flicker");
  byId("left").classList.remove("under");
  byId("right").classList.remove("under");
  button("flicker").setAttribute("aria-pressed", "false");
}

const button = (tool) => document.querySelector(`[data-tool="${tool}"]`);

function closeNeighbours() {
  byId("neighbours").hidden = true;
  byId("neighbours").replaceChildren();
  button("neighbours").setAttribute("aria-expanded", "false");
}

async function toggleNeighbours() {
  if (!byId("neighbours").hidden) {
    closeNeighbours();
    return;
  }
  const here = current;
  const groups = await request(addressOf("neighbours", here));
  if (here !== current) return;
  const rows = groups.flatMap((group) => {
    const title = document.createElement("h3");
    title.textContent = group.title;
    const row = document.createElement("div");
    row.className = "row";
    for (const one of group.images) {
      const figure = document.createElement("figure");
      const frame = document.createElement("div");
      frame.className = "frame";
      const image = document.createElement("img");
      image.alt = one.caption || group.title;
      frame.append(image);
      const caption = document.createElement("figcaption");
      caption.textContent = one.caption;
      figure.append(frame, caption);
      row.append(figure);
      loadImage(one.number, faces).then((address) => setImage(image, address)).catch(() => setImage(image, null));
    }
    return [title, row];
  });
  if (!rows.length) {
    const none = document.createElement("p");
    none.textContent = "There are no further images for this pair.";
    rows.push(none);
  }
  byId("neighbours").replaceChildren(...rows);
  byId("neighbours").hidden = false;
  button("neighbours").setAttribute("aria-expanded", "true");
}

async function finish() {
  stopFlicker();
  byId("work").hidden = true;
  byId("done").hidden = false;
  byId("progress").textContent = `${reviewer}: all ${count(verdicts.length)} pairs reviewed`;
  announce("All pairs are reviewed.");
  await sending;
  const found = await request("agreement");
  const lines = found.reviewers.map((r) => `${r.name}: ${count(r.n)} verdicts`);
  const interval = (e) => `${e.value.toFixed(2)} (${e.low.toFixed(2)} to ${e.high.toFixed(2)}, 95% interval, ${e.n} pairs)`;
  if (found.alpha) lines.push(`Agreement of all reviewers, Krippendorff's alpha: ${interval(found.alpha)}`);
  for (const k of found.kappas) lines.push(`Agreement of ${k.reviewers.join(" and ")}, Cohen's kappa: ${interval(k)}`);
  byId("agreement").replaceChildren(
    ...lines.map((line) => {
      const p = document.createElement("p");
      p.textContent = line;
      return p;
    }),
  );
}

// ---- actions

function go(to) {
  current = Math.min(verdicts.length - 1, Math.max(0, to));
  show();
}

function firstWithoutVerdict(from = 0) {
  const n = verdicts.length;
  for (let k = 0; k < n; k += 1) {
    if (verdicts[(from + k) % n] === null) return (from + k) % n;
  }
  return -1;
}

function giveVerdict(verdict) {
  verdicts[current] = verdict;
  undoable.push(current);
  send(current, verdict);
  announce(`Pair ${count(current + 1)}: ${verdict}.`);
  const next = current + 1 < verdicts.length && verdicts[current + 1] === null ? current + 1 : firstWithoutVerdict(current + 1);
  if (next < 0) finish();
  else go(next);
}

function undo() {
  const last = undoable.pop() ?? (verdicts[current] === null ? -1 : current);
  if (last < 0) {
    announce("There is no verdict to undo.");
    return;
  }
  verdicts[last] = null;
  send(last, null);
  announce(`The verdict on pair ${count(last + 1)} is withdrawn.`);
  go(last);
}

const tools = {
  back: () => go(current - 1),
  next: () => go(current + 1),
  jump: () => (firstWithoutVerdict() < 0 ? finish() : go(firstWithoutVerdict())),
  undo,
  zoom: () => {
    setZoom(zoom === 4 ? 1 : zoom * 2);
    announce(`Zoom ${zoom} times.`);
  },
  flicker: toggleFlicker,
  faces: () => {
    faces = !faces;
    button("faces").setAttribute("aria-pressed", String(faces));
    show();
  },
  neighbours: () => toggleNeighbours().catch((error) => announce(error.message, true)),
  restart: () => go(0),
  help: () => {
    byId("help").showModal();
    byId("help-button").setAttribute("aria-expanded", "true");
  },
};
const keys = { ArrowLeft: "back", ArrowRight: "next", j: "jump", u: "undo", z: "zoom", f: "flicker", a: "faces", n: "neighbours", "?": "help" };
const moves = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open || byId("work").hidden) return;
  if (event.target instanceof HTMLInputElement) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const choice = byId("verdicts").children[Number(key) - 1];
  if (event.shiftKey && zoom > 1 && moves[key]) moveCentre(centre[0] + moves[key][0], centre[1] + moves[key][1]);
  else if (/^[1-4]$/.test(key) && choice) {
    if (event.repeat) return; // a key that is held down gives one verdict
    giveVerdict(choice.dataset.verdict);
  } else if (keys[key]) tools[keys[key]]();
  else return;
  event.preventDefault();
});
for (const choice of byId("verdicts").children) choice.addEventListener("click", () => giveVerdict(choice.dataset.verdict));
for (const tool of document.querySelectorAll("[data-tool]")) tool.addEventListener("click", () => tools[tool.dataset.tool]());
byId("help-button").addEventListener("click", tools.help);
byId("help").addEventListener("close", () => byId("help-button").setAttribute("aria-expanded", "false"));
for (const frame of document.querySelectorAll("#pair .frame")) {
  frame.addEventListener("pointermove", (event) => {
    if (zoom === 1) return;
    const box = frame.getBoundingClientRect();
    moveCentre((100 * (event.clientX - box.left)) / box.width, (100 * (event.clientY - box.top)) / box.height);
  });
}
addEventListener("beforeunload", (event) => {
  if (unsaved > 0) event.preventDefault();
});

async function start(name) {
  const queue = await request(`queue?reviewer=${encodeURIComponent(name)}`);
  ({ reviewer, verdicts, blind } = queue);
  for (const link of document.querySelectorAll("a[download]")) link.parentElement.hidden = blind; // it names the roles
  faces = !queue.aligned;
  button("faces").setAttribute("aria-pressed", String(faces));
  byId("note").textContent = queue.note;
  sessionStorage.setItem("reviewer", reviewer); // for this tab only, so that two reviewers can use two tabs
  byId("start").hidden = true;
  if (queue.missing.length) announce(`The ${queue.missing.join(" and ")} images were moved or removed.`, true);
  if (firstWithoutVerdict() < 0) await finish();
  else go(firstWithoutVerdict());
}

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  start(byId("name").value).catch((error) => announce(error.message, true));
});
const before = sessionStorage.getItem("reviewer");
if (before) start(before).catch((error) => announce(error.message, true));
else {
  byId("start").hidden = false;
  byId("name").focus();
}
