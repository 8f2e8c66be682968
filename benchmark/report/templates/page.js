"use strict";

// Sorts and filters the tables that the page already has; without it they can be read as they are.
(() => {
  const board = JSON.parse(document.getElementById("board").textContent);
  const kindOrder = ["paper", "control", "replica", "row"];
  const smallIsGood = new Set(["method", "kind", "core", "memory", "parameters"]);

  const sections = [...document.querySelectorAll("section.target")].map((element) => {
    const stored = board.tables[Number(element.dataset.table)];
    const table = element.querySelector("table.results");
    const rows = [...element.querySelectorAll("tbody[data-row]")].map((body) => ({
      body,
      stored: stored.rows[Number(body.dataset.row)],
      label: body.querySelector(".label").textContent,
      text: body.textContent.toLowerCase(),
    }));
    return { element, table, rows, nothing: element.querySelector(".nothing") };
  });

  function sortValue(row, column) {
    const stored = row.stored;
    switch (column) {
      case "method": return row.label.toLowerCase();
      case "kind": return kindOrder.indexOf(stored.role);
      case "versus": return stored.versus === null ? null : stored.versus.difference;
      case "seeds": return stored.seeds.length;
{% if has_trials %}
      case "trials": return stored.trials ?? null;
{% endif %}
      case "core": return stored.core_seconds;
      case "memory": return stored.peak_memory_mb;
      case "parameters": return stored.parameters_trained;
      default: return stored.cells[column].mean;
    }
  }

  // Rows of equal value keep the order they were written in; those without one come last, either way.
  function sorted(rows, column, direction) {
    if (direction === null) return rows;
    const sign = direction === "ascending" ? 1 : -1;
    return [...rows].sort((one, other) => {
      const a = sortValue(one, column);
      const b = sortValue(other, column);
      if (a === null || b === null) return (a === null) - (b === null);
      return a < b ? -sign : a > b ? sign : 0;
    });
  }

  // From none to the direction that shows good values first, to the other, and back to the order as written.
  function nextDirection(column, current) {
    const first = smallIsGood.has(column) ? "ascending" : "descending";
    const second = first === "ascending" ? "descending" : "ascending";
    return current === null ? first : current === first ? second : null;
  }

  function makeSortable(section) {
    for (const header of section.table.querySelectorAll("th[data-column]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.firstElementChild.childNodes);
      header.replaceChildren(button);
      button.addEventListener("click", () => {
        const column = header.dataset.column;
        const direction = nextDirection(column, header.getAttribute("aria-sort"));
        for (const other of section.table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
        if (direction !== null) header.setAttribute("aria-sort", direction);
        section.table.append(...sorted(section.rows, column, direction).map((row) => row.body));
      });
    }
  }

  // Best and second of the rows that are shown.
  function markBest(section) {
    const shown = section.rows.filter((row) => !row.body.hidden);
    for (const metric of shown.length ? Object.keys(shown[0].stored.cells) : []) {
      const means = shown.map((row) => Number(row.stored.cells[metric].mean.toFixed(9)));
      const ordered = [...new Set(means)].sort((a, b) => b - a);
      shown.forEach((row, place) => {
        const rank = shown.length < 2 ? -1 : ordered.indexOf(means[place]);
        const cell = row.body.querySelector(`td[data-metric="${CSS.escape(metric)}"]`);
        cell.classList.toggle("best", rank === 0);
        cell.classList.toggle("second", rank === 1);
        cell.querySelector(".rank").textContent = rank === 0 ? "best: " : rank === 1 ? "second: " : "";
      });
    }
  }

  const form = document.getElementById("filters");

  function applyFilters() {
    const chosen = new FormData(form);
    const target = chosen.get("target");
    const metric = chosen.get("metric");
    const kinds = new Set(chosen.getAll("kind"));
    const words = chosen.get("text").toLowerCase().split(/\s+/).filter(Boolean);
    let rowsShown = 0;
    let targetsShown = 0;
    for (const section of sections) {
      section.element.hidden = target !== "" && target !== section.element.dataset.table;
      if (section.element.hidden || section.table === null) continue;
      for (const row of section.rows) {
        row.body.hidden = !kinds.has(row.stored.role) || !words.every((word) => row.text.includes(word));
      }
      for (const cell of section.table.querySelectorAll("[data-metric]")) {
        cell.hidden = metric !== "" && metric !== cell.dataset.metric;
      }
      markBest(section);
      const count = section.rows.filter((row) => !row.body.hidden).length;
      section.nothing.hidden = count > 0;
      rowsShown += count;
      targetsShown += count > 0;
    }
    const rows = `${rowsShown} ${rowsShown === 1 ? "row" : "rows"}`;
    document.getElementById("count").textContent = `${rows} on ${targetsShown} ${targetsShown === 1 ? "target" : "targets"}`;
  }

  sections.filter((section) => section.table !== null).forEach(makeSortable);
  form.addEventListener("input", applyFilters);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  applyFilters();
})();
