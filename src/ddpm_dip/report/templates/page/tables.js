// Tables whose columns sort by a click, and those of the charts' data, made when they are opened.

function number(text) {
  const found = parseFloat(text.replace("−", "-").replace(/k$/, "e3").replace(/M$/, "e6"));
  return Number.isNaN(found) ? null : found;
}

function compareTexts(a, b) {
  const [x, y] = [number(a), number(b)];
  if (x !== null && y !== null) return x - y;
  if (x !== null || y !== null) return x === null ? 1 : -1; // numbers first
  return a.localeCompare(b);
}

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [row.cells[column]?.textContent.trim() ?? "", row]);
  rows.sort((a, b) => (descending ? -1 : 1) * compareTexts(a[0], b[0]));
  body.append(...rows.map(([, row]) => row));
  [...table.tHead.rows[0].cells].forEach((head, index) => {
    head.setAttribute("aria-sort", index !== column ? "none" : descending ? "descending" : "ascending");
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, column, head.getAttribute("aria-sort") === "ascending"));
    head.append(button);
    head.setAttribute("aria-sort", "none");
  });
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
}

// A table of records; a record with a known `cell` has buttons that put it into A or B.
function tableOf(records, columns) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  const withCells = records.some((record) => indexOf.has(record.cell));
  for (const name of withCells ? [...columns, ""] : columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const record of records) {
    const row = body.insertRow();
    for (const name of columns) row.insertCell().textContent = shown(record[name]);
    if (withCells) row.insertCell().append(...(indexOf.has(record.cell) ? placeButtons(record.cell) : []));
  }
  makeSortable(table);
  return table;
}

function placeButtons(path) {
  return ["a", "b"].map((side) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "place";
    button.textContent = side.toUpperCase();
    button.setAttribute("aria-label", `Show ${data.cells[indexOf.get(path)].name} in ${side.toUpperCase()}`);
    button.addEventListener("click", () => place(side, path));
    return button;
  });
}

function csvOf(records, columns) {
  const field = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...records.map((record) => columns.map((name) => record[name]))]
    .map((row) => row.map(field).join(",") + "\n")
    .join("");
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
