// What happens on the review page. `scene` is what figures/review_page.py puts there.
const byId = id => document.getElementById(id);
const patches = scene.patches, DECISIONS = ["keep", "flip", "drop"];
const PAST = { keep: "kept", flip: "flipped", drop: "dropped" };
const state = { at: 0, decided: {}, undo: [] };  // decided: by row of the table; undo: [place, decision before]
let kept = true;

function load() {
  let text = null;
  try { text = localStorage.getItem(scene.key); } catch { kept = false; }
  if (!text) return;
  try {
    const saved = JSON.parse(text), rows = new Set(patches.map(patch => String(patch.row)));
    const decided = Object.entries(saved.decided).filter(([row, what]) => rows.has(row) && DECISIONS.includes(what));
    state.decided = Object.fromEntries(decided);
    state.undo = saved.undo.filter(([at]) => at in patches);
    state.at = saved.at in patches ? saved.at : 0;
  } catch { /* another program's: begin anew */ }
}

function save() {
  try { localStorage.setItem(scene.key, JSON.stringify(state)); kept = true; } catch { kept = false; }
  byId("unkept").hidden = kept;
}

const decisionOf = at => state.decided[patches[at].row] || "";
const word = label => scene.words[label];
const labelNow = at => decisionOf(at) === "flip" ? 1 - patches[at].label : patches[at].label;

function fits(at) {
  const kind = byId("kind").value;
  return (!kind || patches[at].kind === kind) && !(byId("undecided").checked && decisionOf(at));
}

function nextFrom(at, by) {
  for (let place = at + by; place in patches; place += by) if (fits(place)) return place;
  return -1;
}

function go(at, said = "") {
  state.at = at;
  save();
  show();
  const patch = patches[at];
  byId("said").textContent = `${said} Patch ${at + 1} of ${patches.length}: ${scene.kinds[patch.kind]}, labelled ${word(patch.label)}.`;
}

function step(by) {
  const place = nextFrom(state.at, by);
  if (place >= 0) go(place);
  else byId("said").textContent = by > 0 ? "This is the last one." : "This is the first one.";
}

function decide(what) {
  if (!fits(state.at)) return;
  const { at } = state;
  state.undo.push([at, decisionOf(at)]);
  state.decided[patches[at].row] = what;
  let place = nextFrom(at, 1);
  if (place < 0 && byId("undecided").checked) place = nextFrom(-1, 1);
  mark(at);
  go(place < 0 ? at : place, `${PAST[what]}.`);
}

function undo() {
  const last = state.undo.pop();
  if (!last) { byId("said").textContent = "There is nothing to undo."; return; }
  const [at, before] = last;
  if (before) state.decided[patches[at].row] = before; else delete state.decided[patches[at].row];
  mark(at);
  if (!fits(at)) byId("kind").value = "";
  filter();
  go(at, "Undone.");
}

function filter() {
  const thumbs = byId("all").children;
  for (let at = 0; at < patches.length; at++) thumbs[at].hidden = !fits(at);
}

function refilter() {
  filter();
  if (!fits(state.at)) {
    const place = Math.max(nextFrom(state.at, 1), nextFrom(-1, 1));
    if (place >= 0) { go(place); return; }
  }
  show();
}

function mark(at) {
  const thumb = byId("all").children[at], decision = decisionOf(at), patch = patches[at];
  if (decision) thumb.dataset.decision = decision; else delete thumb.dataset.decision;
  thumb.lastElementChild.textContent = decision || word(patch.label);
  thumb.setAttribute("aria-label", `${at + 1}: ${scene.kinds[patch.kind]}, labelled ${word(patch.label)}, ${PAST[decision] || "undecided"}`);
  thumb.hidden = !fits(at);
}

function count() {
  const done = Object.keys(state.decided).length;
  byId("count").textContent = `${done.toLocaleString("en")} of ${patches.length.toLocaleString("en")} reviewed`;
  byId("progress").value = done;
}

function labelled(element, label) {
  element.textContent = word(label);
  element.classList.toggle("one", label === 1);
}

function show() {
  count();
  const current = byId("all").querySelector("[aria-current]");
  if (current) current.removeAttribute("aria-current");
  const { at } = state, patch = patches[at], left = patch && fits(at);
  byId("none").hidden = !patch || left;
  byId("work").hidden = !left;
  if (!left) return;
  const decision = decisionOf(at);
  byId("all").children[at].setAttribute("aria-current", "true");
  const picture = byId("picture");
  picture.src = patch.picture;
  picture.alt = `Patch ${patch.id}, enlarged, labelled ${word(patch.label)}`;
  byId("title").textContent = `${at + 1}: ${scene.kinds[patch.kind]}`;
  labelled(byId("label"), patch.label);
  byId("changed").textContent = { "": "", keep: "(kept)", flip: `→ ${word(1 - patch.label)}`, drop: "(dropped)" }[decision];
  byId("keep").textContent = `Keep ${word(patch.label)}`;
  byId("flip").textContent = `Flip to ${word(1 - patch.label)}`;
  for (const button of byId("decide").children) button.setAttribute("aria-pressed", String(button.dataset.decision === decision));
  byId("undo").disabled = !state.undo.length;
  byId("reason").textContent = patch.reason;
  byId("probability").textContent = `${patch.probability.toFixed(3)} by ${patch.source}`;
  byId("loss").textContent = patch.loss.toFixed(3);
  byId("slide").textContent = patch.slide === null ? "not known" : patch.slide;
  byId("id").textContent = patch.id;
  similar(patch);
  const following = patches[nextFrom(at, 1)];
  if (following) for (const url of [following.picture, following.strip]) if (url) new Image().src = url;
}

function similar(patch) {
  const tumours = patch.similar.filter(each => each.label === 1).length, total = patch.similar.length;
  byId("vote").textContent = total
    ? `${tumours} of ${total} are labelled ${word(1)}. Nearest by the network's features, of patches trained on.`
    : "There is none to compare with.";
  byId("similar").replaceChildren(...patch.similar.map((each, place) => {
    const item = document.createElement("li"), cut = document.createElement("div"), frame = document.createElement("div");
    const name = document.createElement("span"), more = document.createElement("div");
    cut.className = "cut";
    cut.style.backgroundImage = `url("${patch.strip}")`;
    cut.style.backgroundPosition = `${total > 1 ? 100 * place / (total - 1) : 0}% 0`;
    cut.setAttribute("role", "img");
    cut.setAttribute("aria-label", `Similar patch ${place + 1}, labelled ${word(each.label)}`);
    frame.className = "frame";
    cut.append(frame);
    name.className = "label";
    labelled(name, each.label);
    const same = [each.same_pixels ? "the same pixels" : "", each.same_slide ? "the same slide" : ""].filter(Boolean);
    more.textContent = [`similarity ${each.similarity.toFixed(3)}`, ...same].join(", ");
    more.title = each.id;
    item.append(cut, name, more);
    return item;
  }));
}

// A pixel of the patch is a whole number of pixels of the page, as far as the window has room for it.
function zoom() {
  const narrow = innerWidth <= 720;
  const room = Math.min(byId("patch").clientWidth * (narrow ? 1 : 0.55), innerHeight * (narrow ? 0.5 : 0.68));
  const times = Math.max(1, Math.floor(room / scene.side_px));
  byId("picture").style.width = `${scene.side_px > room ? Math.floor(room) : times * scene.side_px}px`;
}

function thumb(patch, at) {
  const button = document.createElement("button"), image = document.createElement("img"), decision = document.createElement("span");
  image.loading = "lazy";
  image.alt = "";
  image.width = image.height = scene.side_px;
  image.src = patch.picture;
  button.append(image, decision);
  button.addEventListener("click", () => { go(at); byId("patch").scrollIntoView({ block: "nearest" }); });
  return button;
}

const quoted = cell => /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;

// The table as it was mined, with label and weight as decided.
function csv() {
  const at = name => scene.columns.indexOf(name);
  const lines = scene.rows.map((cells, row) => {
    const decision = state.decided[row] || "", decided = [...cells];
    if (decision) {
      decided[at("weight")] = String(scene.weights[cells[at("kind")]][decision]);
      if (decision === "flip") decided[at("label")] = String(1 - cells[at("label")]);
    }
    return [...decided, decision].map(quoted).join(",");
  });
  return [[...scene.columns, "decision"].join(","), ...lines, ""].join("\n");
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = scene.file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

const KEYS = {
  k: () => decide("keep"), f: () => decide("flip"), d: () => decide("drop"), u: undo,
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), c: () => document.body.classList.toggle("bare"),
};
document.addEventListener("keydown", event => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || !patches.length || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) act();  // a key that is held down decides once
});
for (const button of byId("decide").children) button.addEventListener("click", () => decide(button.dataset.decision));
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("undo").addEventListener("click", undo);
byId("download").addEventListener("click", download);
for (const id of ["kind", "undecided"]) byId(id).addEventListener("change", refilter);
addEventListener("resize", zoom);
addEventListener("storage", event => { if (event.key === scene.key) { load(); refresh(); } });  // another tab decided
addEventListener("beforeunload", event => { if (!kept && Object.keys(state.decided).length) event.preventDefault(); });

function refresh() {
  patches.forEach((_, at) => mark(at));
  refilter();
}

load();
byId("unkept").hidden = kept;
byId("all").append(...patches.map(thumb));
zoom();
refresh();
