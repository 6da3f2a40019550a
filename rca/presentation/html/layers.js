// Label maps, scores and errors drawn over their photograph, on a canvas of the photograph's size.

const facts = JSON.parse(document.getElementById("facts").textContent);
const IGNORED = 255;
const FILL = 0.6; // opacity of a class's colour
const HEAT = [ // nine steps of matplotlib's `inferno`
  [0, 0, 4], [33, 12, 74], [87, 16, 110], [138, 34, 106], [188, 55, 84],
  [228, 90, 49], [249, 142, 9], [249, 203, 53], [252, 255, 164],
];
const ERRORS = {
  missed: { colour: [0, 135, 255], text: "missed: background in place of a class" },
  added: { colour: [240, 120, 0], text: "added: a class in place of background" },
  swapped: { colour: [214, 40, 120], text: "swapped: another class" },
};

const key = (red, green, blue) => (red << 16) | (green << 8) | blue;
// Label maps are embedded in the screen's colours, from which their labels are read back.
const labelOf = new Map(
  facts.palettes.screen.map(([red, green, blue], place, all) =>
    [key(red, green, blue), place === all.length - 1 ? IGNORED : place]),
);

function paintOf(label) {
  const colours = facts.palettes[document.documentElement.dataset.palette || "screen"];
  return label === IGNORED ? colours[colours.length - 1] : colours[label];
}

// The pixels of an image as RGBA, brought to width × height.
async function pixels(image, width, height, smooth) {
  image.loading = "eager";
  await image.decode();
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

async function labelsIn(image, width, height) {
  const data = await pixels(image, width, height, false);
  const labels = new Uint8Array(width * height);
  for (let i = 0; i < labels.length; i++) {
    labels[i] = labelOf.get(key(data[4 * i], data[4 * i + 1], data[4 * i + 2])) ?? IGNORED;
  }
  return labels;
}

const mix = (below, above, opacity) => below + (above - below) * opacity;
const greyOf = (data, i) => 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];

// Greyer and paler, so that colours stand out.
function fade(data) {
  for (let i = 0; i < data.length; i += 4) {
    const grey = greyOf(data, i);
    for (let c = 0; c < 3; c++) data[i + c] = mix(mix(data[i + c], grey, 0.5), 255, 0.15);
  }
}

function put(data, i, colour, opacity) {
  for (let c = 0; c < 3; c++) data[4 * i + c] = mix(data[4 * i + c], colour[c], opacity);
}

function hatch(data, i, width) {
  put(data, i, [255, 255, 255], ((i % width) + Math.floor(i / width)) % 7 < 3 ? 0.9 : 0.45);
}

function drawLabels(data, labels, width) {
  fade(data);
  const paints = new Map([...new Set(labels)].map((label) => [label, paintOf(label)]));
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i];
    const side = (other) => other !== undefined && other !== label && other !== IGNORED;
    if (label === IGNORED) hatch(data, i, width);
    else if (label) {
      const column = i % width;
      const edge = (column && side(labels[i - 1])) || (column < width - 1 && side(labels[i + 1]))
        || side(labels[i - width]) || side(labels[i + width]);
      put(data, i, paints.get(label), edge ? 1 : FILL);
    } else if ([labels[i - 1], labels[i + 1], labels[i - width], labels[i + width]]
      .some((other) => other && other !== IGNORED)) put(data, i, [255, 255, 255], 0.9);
  }
}

function heat(score) {
  const place = Math.min(Math.max(score, 0), 1) * (HEAT.length - 1);
  const step = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[step].map((low, c) => mix(low, HEAT[step + 1][c], place - step));
}
const HEATS = Array.from({ length: 256 }, (_, level) => heat(level / 255));

function drawScores(data, scores, width, threshold) {
  const above = (i) => scores[4 * i] > 255 * threshold;
  for (let i = 0; i < scores.length / 4; i++) {
    const grey = greyOf(data, 4 * i);
    for (let c = 0; c < 3; c++) data[4 * i + c] = grey;
    const line = above(i) && ((i % width && !above(i - 1)) || (i >= width && !above(i - width))
      || ((i + 1) % width && !above(i + 1)) || (4 * (i + width) < scores.length && !above(i + width)));
    if (line) put(data, i, [255, 255, 255], 1);
    else put(data, i, HEATS[scores[4 * i]], 0.3 + 0.45 * scores[4 * i] / 255);
  }
}

function drawErrors(data, labels, truth, width) {
  fade(data);
  for (let i = 0; i < truth.length; i++) {
    if (truth[i] === IGNORED) hatch(data, i, width);
    else if (labels[i] !== truth[i]) {
      const lost = labels[i] === 0 || labels[i] === IGNORED;
      put(data, i, ERRORS[truth[i] === 0 ? "added" : lost ? "missed" : "swapped"].colour, 0.75);
    }
  }
}

// Marks are embedded in the colours that they are drawn in; the background's is none.
function drawMarks(data, marks, width) {
  const [none, ignored] = [facts.palettes.screen[0], facts.palettes.screen.at(-1)].map((c) => key(...c));
  fade(data);
  for (let i = 0; i < marks.length / 4; i++) {
    const colour = [marks[4 * i], marks[4 * i + 1], marks[4 * i + 2]];
    if (key(...colour) === ignored) hatch(data, i, width);
    else if (key(...colour) !== none) put(data, i, colour, 0.75);
  }
}

const imageOf = (article, stage) => article.querySelector(`figure[data-stage="${stage}"] img`);

// The stages that an article can show, from the photograph to the errors.
function stagesOf(article) {
  const { final } = facts.splits[article.closest(".gallery").dataset.split];
  const shown = [...article.querySelectorAll("figure")].map((figure) => ({
    stage: figure.dataset.stage,
    kind: figure.dataset.kind,
    title: figure.querySelector("figcaption").firstChild.textContent.trim(),
    iou: figure.querySelector("figcaption b")?.textContent,
  }));
  const scored = ["truth", final].every((stage) => shown.some((one) => one.stage === stage));
  return scored ? [...shown, { stage: "errors", kind: "errors", title: "Errors" }] : shown;
}

async function draw(canvas, article, { stage, kind }) {
  const photograph = imageOf(article, "photograph");
  const width = +photograph.getAttribute("width");
  const height = +photograph.getAttribute("height");
  const data = new ImageData(await pixels(photograph, width, height, true), width, height);
  const of = facts.splits[article.closest(".gallery").dataset.split];
  if (kind === "labels") {
    drawLabels(data.data, await labelsIn(imageOf(article, stage), width, height), width);
  } else if (kind === "scores") {
    const { threshold } = of.stages.find((one) => one.stage === stage);
    const scores = await pixels(imageOf(article, stage), width, height, true);
    drawScores(data.data, scores, width, threshold);
  } else if (kind === "errors") {
    const maps = await Promise.all(
      [of.final, "truth"].map((one) => labelsIn(imageOf(article, one), width, height)));
    drawErrors(data.data, ...maps, width);
  } else if (kind === "marks") {
    drawMarks(data.data, await pixels(imageOf(article, stage), width, height, false), width);
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(data, 0, 0);
}
