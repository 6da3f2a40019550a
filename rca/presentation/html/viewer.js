// One photograph at full size, stage by stage, two stages beside each other, zoomed and moved.

const viewer = document.getElementById("viewer");
const board = viewer.querySelector(".board");
const bench = viewer.querySelector(".bench");
const other = viewer.querySelector("[name=other]");
const cut = viewer.querySelector("[name=cut]");
const LARGEST = 12; // times

const view = { article: null, stage: null, stages: [], other: "", zoom: 1, x: 0, y: 0, drawn: 0 };

const hashOf = (article) => `#${encodeURIComponent(article.id)}`;

function addressed() {
  let id = location.hash.slice(1);
  try { id = decodeURIComponent(id); } catch { return null; }
  return id.startsWith("image-") ? document.getElementById(id) : null;
}

function place() {
  board.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  viewer.querySelector("[name=zoom]").textContent = `${+view.zoom.toFixed(1)}×`;
  bench.classList.toggle("zoomed", view.zoom > 1);
}

// Zooms about a point of the screen, which stays where it is.
function zoomTo(zoom, point) {
  zoom = Math.min(Math.max(zoom, 1), LARGEST);
  const box = bench.getBoundingClientRect();
  const [x, y] = point
    ? [point.clientX - box.left - box.width / 2, point.clientY - box.top - box.height / 2]
    : [0, 0];
  const ratio = zoom / view.zoom;
  view.x = zoom === 1 ? 0 : x - (x - view.x) * ratio;
  view.y = zoom === 1 ? 0 : y - (y - view.y) * ratio;
  view.zoom = zoom;
  place();
}

function divide() {
  const shown = Boolean(view.other);
  board.style.setProperty("--cut", shown ? `${cut.value}%` : "0%");
  board.classList.toggle("divided", shown);
  cut.disabled = !shown;
}

function legend() {
  const kinds = view.stages.filter(({ stage }) => stage === view.stage || stage === view.other);
  const items = [];
  if (kinds.some(({ kind }) => kind === "labels")) {
    for (const label of view.article.dataset.tags.split(" ").filter(Boolean)) {
      items.push([`var(--class-${label})`, facts.classes[label]]);
    }
  }
  if (kinds.some(({ kind }) => kind === "errors")) {
    for (const { colour, text } of Object.values(ERRORS)) items.push([`rgb(${colour})`, text]);
  }
  if (kinds.some(({ kind }) => kind === "marks")) {
    const { marks } = facts.splits[view.article.closest(".gallery").dataset.split];
    for (const { colour, text } of marks) items.push([`rgb(${colour})`, text]);
  }
  viewer.querySelector(".legend").replaceChildren(...items.map(([colour, text]) => {
    const chip = document.createElement("span");
    chip.className = "chip";
    const dot = document.createElement("i");
    dot.style.background = colour;
    chip.append(dot, text);
    return chip;
  }));
}

async function paint() {
  const turn = ++view.drawn;
  const known = (stage) => view.stages.find((one) => one.stage === stage);
  divide();
  legend();
  for (const button of viewer.querySelectorAll(".stages-bar button")) {
    button.setAttribute("aria-pressed", button.dataset.stage === view.stage);
  }
  const wanted = [["under", view.stage], ["over", view.other]].filter(([, stage]) => stage);
  for (const [where, stage] of wanted) {
    const canvas = document.createElement("canvas");
    canvas.className = where;
    await draw(canvas, view.article, known(stage));
    if (turn !== view.drawn) return; // something else was asked for meanwhile
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${known(stage).title}, ${nameOf(view.article)}`);
    board.querySelector(`.${where}`).replaceWith(canvas);
    board.style.setProperty("--ratio", canvas.width / canvas.height);
  }
}

function stageButton({ stage, title, iou }, number) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.stage = stage;
  button.append(`${number + 1} ${title}`);
  if (iou) {
    const score = document.createElement("b");
    score.textContent = ` ${iou}`;
    button.append(score);
  }
  button.addEventListener("click", () => { view.stage = stage; paint(); });
  return button;
}

function list() {
  const gallery = view.article.closest(".gallery");
  const shown = galleries.get(gallery.dataset.split);
  return shown.includes(view.article) ? shown : [...gallery.querySelectorAll(".photo")];
}

function open(article, stage) {
  const { final } = facts.splits[article.closest(".gallery").dataset.split];
  view.article = article;
  view.stages = stagesOf(article);
  const has = (wanted) => view.stages.some((one) => one.stage === wanted);
  view.stage = [stage, view.stage, final, "photograph"].find((one) => one && has(one));
  if (!has(view.other)) view.other = "";
  const every = list();
  viewer.querySelector("h2").textContent = nameOf(article);
  viewer.querySelector(".place").textContent = `${every.indexOf(article) + 1} of ${every.length}`;
  viewer.querySelector(".tags").replaceChildren(
    ...[...article.querySelectorAll("header .chip")].map((chip) => chip.cloneNode(true)));
  viewer.querySelector(".stages-bar").replaceChildren(...view.stages.map(stageButton));
  other.replaceChildren(new Option("nothing", ""),
    ...view.stages.map(({ stage: value, title }) => new Option(title, value)));
  other.value = view.other;
  zoomTo(1);
  history.replaceState(null, "", hashOf(article));
  if (!viewer.open) viewer.showModal();
  return paint();
}

function step(by) {
  const every = list();
  const next = every[(every.indexOf(view.article) + by + every.length) % every.length];
  open(next);
}

function stepStage(by) {
  const now = view.stages.findIndex(({ stage }) => stage === view.stage);
  view.stage = view.stages[(now + by + view.stages.length) % view.stages.length].stage;
  paint();
}

// The photograph, or else the truth, is what one most wants beside a stage.
function toggleOther() {
  const usual = ["truth", "photograph"].find((wanted) => wanted !== view.stage
    && view.stages.some(({ stage }) => stage === wanted));
  view.other = view.other ? "" : usual ?? "";
  other.value = view.other;
  paint();
}

const actions = {
  previous: () => step(-1),
  next: () => step(1),
  close: () => viewer.close(),
  in: () => zoomTo(view.zoom * 1.5),
  out: () => zoomTo(view.zoom / 1.5),
  fit: () => zoomTo(1),
};
const keys = {
  ArrowLeft: actions.previous, ArrowRight: actions.next,
  ArrowUp: () => stepStage(-1), ArrowDown: () => stepStage(1),
  "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.fit, c: toggleOther,
};

viewer.addEventListener("click", ({ target }) => {
  actions[target.closest("[data-do]")?.dataset.do]?.();
});
// Of the document: after an address was followed, the focus may be on none of the viewer's parts.
document.addEventListener("keydown", (event) => {
  if (!viewer.open || event.ctrlKey || event.metaKey || event.altKey) return;
  const { tagName } = event.target; // a list and the slider have a use for some keys themselves
  if (tagName === "SELECT" || (tagName === "INPUT" && event.key.startsWith("Arrow"))) return;
  const chosen = view.stages[+event.key - 1];
  if (chosen) { view.stage = chosen.stage; paint(); }
  else if (keys[event.key]) keys[event.key]();
  else return;
  event.preventDefault();
});
viewer.addEventListener("close", () => {
  history.replaceState(null, "", location.pathname + location.search);
  view.article.scrollIntoView({ block: "center" });
  view.article.querySelector("header a").focus({ preventScroll: true });
});
other.addEventListener("change", () => { view.other = other.value; paint(); });
cut.addEventListener("input", divide);

bench.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomTo(view.zoom * Math.exp(-event.deltaY / 400), event);
}, { passive: false });
bench.addEventListener("dblclick", (event) => zoomTo(view.zoom > 1 ? 1 : 3, event));
bench.addEventListener("pointerdown", (event) => {
  if (view.zoom === 1) return;
  bench.setPointerCapture(event.pointerId);
  const from = { x: view.x - event.clientX, y: view.y - event.clientY };
  const move = (now) => {
    view.x = from.x + now.clientX;
    view.y = from.y + now.clientY;
    place();
  };
  bench.addEventListener("pointermove", move);
  bench.addEventListener("pointerup", () => bench.removeEventListener("pointermove", move), { once: true });
});

document.addEventListener("palette", () => { if (viewer.open) paint(); });
document.addEventListener("click", (event) => {
  const figure = event.target.closest?.(".photo figure");
  if (figure) open(figure.closest("article"), figure.dataset.stage);
});
function followAddress() {
  const article = addressed();
  if (article) open(article);
}
window.addEventListener("hashchange", followAddress);
followAddress();
