// The charts: Vega-Lite specifications in the page, drawn when they come near the window, on light ground in any theme, as
// their colours are made for it.

const INK = "#1d232b";
const LINE = "#d9dee4";

function look() {
  const text = { labelColor: INK, titleColor: INK, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" };
  return {
    background: "#fff",
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: LINE },
    axis: { ...text, gridColor: LINE, domainColor: INK, tickColor: INK },
    legend: { ...text, symbolSize: 120 },
    rule: { color: INK },
    text: { color: INK },
  };
}

// The records of a chart, not the helper rows of a layer: those that name cells, else the most.
function recordsOf(spec) {
  const sets = Object.values(spec.datasets);
  return sets.find(([first]) => first && "cell" in first) ?? sets.reduce((a, b) => (b.length > a.length ? b : a), []);
}

function columnsOf(records) {
  const names = new Set(records.flatMap((record) => Object.keys(record)));
  names.delete("cell");
  return [...names, ...(records.some((record) => record.cell) ? ["cell"] : [])];
}

async function drawChart(holder) {
  const { spec } = data.charts[holder.dataset.chart];
  holder.closest("figure").classList.add("live"); // a chart is as wide as its place, which has to be shown
  const found = await vegaEmbed(holder, spec, { ast: true, renderer: "svg", actions: false, config: look() });
  found.view.addEventListener("click", (event, item) => {
    if (item?.datum?.cell !== undefined && indexOf.has(item.datum.cell)) place(target(), item.datum.cell);
  });
}

function fillData(details) {
  if (details.dataset.filled) return;
  details.dataset.filled = "yes";
  const { title, spec } = data.charts[details.dataset.chart];
  const records = recordsOf(spec);
  const columns = columnsOf(records);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Download as CSV";
  const file = title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  button.addEventListener("click", () => download(`${file}.csv`, csvOf(records, columns)));
  const scroll = document.createElement("div");
  scroll.className = "scroll small";
  scroll.tabIndex = 0;
  scroll.append(tableOf(records, columns.filter((name) => name !== "cell")));
  details.append(button, scroll);
}

function startCharts() {
  const figures = new Set([...document.querySelectorAll(".vega")].map((holder) => holder.closest("figure")));
  const near = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target: figure } of entries) {
        if (!isIntersecting) continue;
        near.unobserve(figure);
        figure.querySelectorAll(".vega").forEach(drawChart);
      }
    },
    { rootMargin: "600px" },
  );
  figures.forEach((figure) => near.observe(figure));
  for (const details of document.querySelectorAll("details[data-chart]")) {
    details.addEventListener("toggle", () => details.open && fillData(details));
  }
}
