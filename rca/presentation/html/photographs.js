// The galleries: found by name, tag, score, gain and confusion; drawn when they come into view.

const galleries = new Map(); // split → { shown: articles in their order, filter: field → value set }

function fieldsOf(form) {
  return Object.fromEntries(new FormData(form));
}

// IoU of an image: the mean, or that of the one class that is asked for.
function iouOf(of, image, product, tag) {
  return of.scores[image]?.[product]?.[tag || ""];
}

function confusionOf(article, actual, predicted) {
  let share = 0;
  for (const entry of article.dataset.confused?.split(" ") ?? []) {
    const [from, to, part] = entry.split(",");
    if ((!actual || from === actual) && (!predicted || to === predicted)) share += +part;
  }
  return share;
}

function keyOf(of, article, fields) {
  const image = nameOf(article);
  if (fields.actual || fields.predicted) {
    return -confusionOf(article, fields.actual, fields.predicted);
  }
  if (fields.sort === "name") return null;
  if (fields.sort in article.dataset) return fields.order * article.dataset[fields.sort];
  const value = iouOf(of, image, fields.product, fields.tag);
  if (fields.sort === "score") return value === undefined ? null : fields.order * value;
  const before = iouOf(of, image, fields.since, fields.tag);
  if (value === undefined || before === undefined) return null;
  const gain = value - before;
  return fields.order * (fields.sort === "size" ? Math.abs(gain) : gain);
}

const nameOf = (article) => article.id.slice("image-".length);

function fits(of, article, fields) {
  const image = nameOf(article);
  if (!image.toLowerCase().includes(fields.search.trim().toLowerCase())) return false;
  if (fields.tag && !article.dataset.tags.split(" ").includes(fields.tag)) return false;
  if ((fields.actual || fields.predicted)
    && !confusionOf(article, fields.actual, fields.predicted)) return false;
  if (fields.low || fields.high) {
    const value = iouOf(of, image, fields.product, fields.tag);
    if (value === undefined) return false;
    if (value < (fields.low || 0) || value > (fields.high || 100)) return false;
  }
  return true;
}

function inOrder(of, articles, fields) {
  const keys = new Map(articles.map((article) => [article, keyOf(of, article, fields)]));
  return articles.sort((a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    if (x !== y && (x === null || y === null)) return (x === null) - (y === null);
    return x - y || (nameOf(a) < nameOf(b) ? -1 : 1);
  });
}

function update(gallery) {
  const form = gallery.querySelector(".tools");
  const fields = fieldsOf(form);
  const of = facts.splits[gallery.dataset.split];
  const list = gallery.querySelector(".photographs");
  const every = [...list.children];
  const shown = inOrder(of, every.filter((article) => fits(of, article, fields)), fields);
  const kept = new Set(shown);
  for (const article of every) if (article.hidden === kept.has(article)) article.hidden = !article.hidden;
  // Moving an article has the browser look at its pictures again, so only where the order changes.
  const before = every.filter((article) => kept.has(article));
  if (shown.some((article, place) => article !== before[place])) list.append(...shown);
  list.dataset.show = fields.show;
  const gains = ["change", "size"].includes(fields.sort);
  form.elements.since?.closest("label").toggleAttribute("hidden", !gains);
  form.querySelector("output").textContent = `${shown.length} of ${every.length}`;
  galleries.set(gallery.dataset.split, shown);
  if ((list.dataset.tag ?? "") !== fields.tag) labelAll(list, of, every, fields);
  for (const article of list.querySelectorAll(".found")) article.remove();
  if (fields.actual || fields.predicted || gains) {
    for (const article of shown) tell(of, article, fields);
  }
}

// Says of a photograph what it was found or put in order by, where no caption does.
function tell(of, article, fields) {
  const value = keyOf(of, article, fields);
  if (value === null) return;
  const found = document.createElement("span");
  found.className = "found";
  if (fields.actual || fields.predicted) {
    found.textContent = `${(-100 * value).toFixed(1)} % of its pixels`;
  } else {
    const gain = iouOf(of, nameOf(article), fields.product, fields.tag)
      - iouOf(of, nameOf(article), fields.since, fields.tag);
    found.textContent = `${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(1)} points`;
  }
  article.querySelector("header").append(found);
}

// The number beside a picture is of the class that is asked for.
function labelAll(list, of, every, fields) {
  list.dataset.tag = fields.tag;
  const productOf = Object.fromEntries(of.stages.map((stage) => [stage.stage, stage.product]));
  for (const article of every) {
    for (const number of article.querySelectorAll("figcaption b")) {
      number.dataset.mean ??= number.textContent;
      const product = productOf[number.closest("figure").dataset.stage];
      const value = iouOf(of, nameOf(article), product, fields.tag);
      number.textContent = !fields.tag ? number.dataset.mean : value?.toFixed(1) ?? "–";
    }
  }
}

// Pictures are drawn over their photograph as they come near, and given up as they go.
const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.querySelector("canvas")?.remove();
    target.classList.remove("drawn");
    if (isIntersecting && target.offsetParent) show(target);
  }
}, { rootMargin: "600px" });

async function show(figure) {
  const canvas = document.createElement("canvas");
  const image = figure.querySelector("img");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", image.alt);
  try {
    await draw(canvas, figure.closest("article"), figure.dataset);
  } catch {
    return; // the picture itself stays
  }
  figure.querySelector("canvas")?.remove();
  image.before(canvas);
  figure.classList.add("drawn");
}

function redraw() {
  for (const figure of document.querySelectorAll("figure.drawn")) show(figure);
  document.dispatchEvent(new Event("palette"));
}

function setUp(gallery) {
  const form = gallery.querySelector(".tools");
  form.hidden = false;
  const products = facts.splits[gallery.dataset.split].products;
  const start = () => {
    form.elements.order.value = "-1";
    form.elements.sort.value = form.dataset.sort;
    if (!form.elements.product) return;
    form.elements.product.value = products.at(-1)[0];
    const of = facts.splits[gallery.dataset.split];
    form.elements.product.value = of.stages.find((stage) => stage.stage === of.final).product;
    form.elements.since.value = products[0][0];
  };
  start();
  form.addEventListener("input", ({ target }) => {
    if (target.name !== "palette") return update(gallery);
    document.documentElement.dataset.palette = target.value;
    for (const other of document.querySelectorAll("[name=palette]")) other.value = target.value;
    redraw();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    setTimeout(() => {
      start();
      for (const other of document.querySelectorAll("[name=palette]")) {
        other.value = document.documentElement.dataset.palette || "screen";
      }
      update(gallery);
    });
  });
  gallery.querySelectorAll("figure:not([data-kind=photograph])").forEach((f) => near.observe(f));
  update(gallery);
}

// A cell of the confusion matrix finds its photographs.
function openConfusion(cell) {
  const gallery = document.querySelector('.gallery[data-split="val"]');
  const form = gallery.querySelector(".tools");
  form.reset();
  setTimeout(() => {
    form.elements.actual.value = cell.dataset.true;
    form.elements.predicted.value = cell.dataset.predicted;
    update(gallery);
    form.scrollIntoView();
    form.elements.actual.focus({ preventScroll: true });
  });
}

function makeConfusionsPressable() {
  if (!document.querySelector('.gallery[data-split="val"] .tools [name=actual]')) return;
  const name = (label) => facts.classes[label] ?? "255, uncertain";
  for (const cell of document.querySelectorAll("td[data-true]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    const words = `${name(cell.dataset.true)} taken for ${name(cell.dataset.predicted)}`;
    button.title = words;
    button.setAttribute("aria-label", `${words}, ${cell.textContent} %: show photographs`);
    button.addEventListener("click", () => openConfusion(cell));
    cell.replaceChildren(button);
  }
  for (const hint of document.querySelectorAll("#confusions .script")) hint.hidden = false;
}

document.querySelectorAll(".gallery").forEach(setUp);
makeConfusionsPressable();
