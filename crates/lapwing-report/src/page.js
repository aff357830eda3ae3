"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const headings = Array.from(table.tHead.rows[0].cells);
  const status = document.getElementById("status");
  const key = (row, place) => {
    const cell = row.cells[place];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  // Unknown values stay last, whichever way the others go.
  const isUnknown = (row, place) => row.cells[place].querySelector(".missing") !== null;
  const order = (place, sign) => (a, b) => {
    if (isUnknown(a, place) || isUnknown(b, place)) {
      return Number(isUnknown(a, place)) - Number(isUnknown(b, place));
    }
    const [one, other] = [key(a, place), key(b, place)];
    if (typeof one === "number") {
      return typeof other === "number" ? sign * (one - other) : -1;
    }
    return typeof other === "number" ? 1 : sign * one.localeCompare(other, "en", { numeric: true });
  };
  headings.forEach((heading, place) => {
    heading.querySelector("button").addEventListener("click", () => {
      const isAscending = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
      const rows = Array.from(body.rows).sort(order(place, isAscending ? 1 : -1));
      body.append(...rows);
      status.textContent = "Sorted by " + heading.textContent + (isAscending ? ", up" : ", down");
    });
  });
}
