startExplorer();
startCharts();
document.querySelectorAll("table.sortable").forEach(makeSortable);
for (const row of document.querySelectorAll("tr[data-cell]")) row.lastElementChild.append(...placeButtons(row.dataset.cell));
