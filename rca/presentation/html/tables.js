// Every table: its columns sort, and a field above it filters the rows.

function cellValue(cell) {
  const text = cell.textContent.trim().replace("−", "-");
  const number = parseFloat(text);
  return Number.isNaN(number) ? (text === "–" ? null : text) : number;
}

// Numbers before words, in either direction nothing last.
function byCell(column, direction) {
  return (a, b) => {
    const [x, y] = [a, b].map((row) => cellValue(row.cells[column]));
    if (x === null || y === null) return (x === null) - (y === null);
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
    return direction * (typeof x === "number" ? x - y : x.localeCompare(y));
  };
}

function makeSortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    if (header.tagName !== "TH" || !header.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const numeric = header.classList.contains("n");
      const known = header.getAttribute("aria-sort");
      const downwards = known ? known === "ascending" : numeric;
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", downwards ? "descending" : "ascending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(byCell(column, downwards ? -1 : 1)));
    });
  });
}

function makeFilterable(table, region) {
  const label = document.createElement("label");
  label.className = "row-filter";
  label.append("Rows with ");
  const field = document.createElement("input");
  field.type = "search";
  field.setAttribute("aria-label", `Rows with, ${region.getAttribute("aria-label")}`);
  const count = document.createElement("output");
  label.append(field, count);
  region.before(label);
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    const kept = rows.filter((row) => !row.hidden).length;
    count.textContent = wanted ? ` ${kept} of ${rows.length}` : "";
  });
}

for (const region of document.querySelectorAll("main .scroll")) {
  const table = region.querySelector("table");
  makeSortable(table);
  if (table.tBodies[0].rows.length > 3) makeFilterable(table, region);
}
