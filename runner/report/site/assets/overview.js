// The list of batches, filtered by name and sorted by a column.
"use strict";
(() => {
  const body = document.querySelector("#batches tbody");
  const search = document.getElementById("q");
  if (!body || !search) return;
  const rows = [...body.rows];
  const names = rows.map((row) => row.dataset.text.toLowerCase());

  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/);
    let found = 0;
    rows.forEach((row, index) => {
      row.hidden = !words.every((word) => names[index].includes(word));
      found += row.hidden ? 0 : 1;
    });
    document.getElementById("count").textContent = `${Report.count(found)} of ${Report.count(rows.length)}`;
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !search.value) return;
    event.preventDefault();
    search.value = "";
    search.dispatchEvent(new Event("input"));
  });

  const heads = [...document.querySelectorAll("#batches thead th")];
  heads.forEach((head, column) => {
    const button = Report.element("button", { type: "button" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const collator = new Intl.Collator("en", { numeric: true });
      const order = rows.toSorted((a, b) => collator.compare(value(a), value(b)));
      body.append(...(down ? order.reverse() : order));
    });
  });
})();
