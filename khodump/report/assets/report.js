"use strict";
(() => {
  const PAGE = 25;
  const data = JSON.parse(document.getElementById("data").textContent);
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

  const size = (bytes) => {
    let value = bytes, unit = 0;
    while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
    return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
  };
  const make = (name, properties, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  /* A column: the raw value of a row, what sorts it, and the text that shows it. */
  const column = ([name, kind], stored) => {
    const raw = stored.words ? (row) => stored.words[stored.index[row]] : (row) => stored.values[row];
    const key = kind === "address" ? (row) => { const value = raw(row); return value === null ? -1n : BigInt(value); }
      : (row) => { const value = raw(row); return value === null ? (stored.words ? "" : -1) : value; };
    const text = (row) => {
      const value = raw(row);
      if (value === null) return "\u2013";
      if (kind === "size") return size(value);
      if (kind === "truth") return value ? "yes" : "no";
      return String(value);
    };
    return { name, words: Boolean(stored.words), key, text, length: (stored.index || stored.values).length };
  };

  const grid = (box) => {
    const { columns: named, values } = data[box.dataset.grid];
    const columns = named.map((name, at) => column(name, values[at]));
    const total = columns.length ? columns[0].length : 0;
    let rows = [...Array(total).keys()], first = 0, sorted = null, descending = false;

    const body = make("tbody", {});
    const heads = columns.map((one) => make("th", { scope: "col", className: one.words ? "" : "number" },
      make("button", { type: "button", textContent: one.name, onclick: () => sort(one) })));
    const search = make("input", { type: "search", placeholder: "Search", ariaLabel: `Search ${box.querySelector("h3").textContent}`, oninput: () => filter() });
    const previous = make("button", { type: "button", textContent: "Previous", onclick: () => { first -= PAGE; draw(); } });
    const next = make("button", { type: "button", textContent: "Next", onclick: () => { first += PAGE; draw(); } });
    const where = make("span", { role: "status" });

    const draw = () => {
      first = Math.max(0, Math.min(first, Math.floor((rows.length - 1) / PAGE) * PAGE));
      body.replaceChildren(...rows.slice(first, first + PAGE).map((row) => make("tr", {}, ...columns.map((one) => {
        return make("td", { className: one.words ? "text" : "number", textContent: one.text(row) });
      }))));
      heads.forEach((head, at) => {
        if (columns[at] === sorted) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      previous.disabled = first === 0;
      next.disabled = first + PAGE >= rows.length;
      where.textContent = rows.length ? `${first + 1} to ${Math.min(first + PAGE, rows.length)} of ${rows.length}` : "nothing found";
    };
    const order = () => {
      if (!sorted) return;
      const keys = new Map(rows.map((row) => [row, sorted.key(row)]));
      rows.sort((a, b) => {
        const left = keys.get(a), right = keys.get(b);
        const by = left < right ? -1 : left > right ? 1 : a - b;
        return descending ? -by : by;
      });
    };
    const sort = (one) => { descending = sorted === one && !descending; sorted = one; first = 0; order(); draw(); };
    const filter = () => {
      const wanted = search.value.toLowerCase();
      rows = [...Array(total).keys()].filter((row) => !wanted || columns.some((one) => one.text(row).toLowerCase().includes(wanted)));
      first = 0;
      order();
      draw();
    };

    const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), body);
    const region = make("div", { className: "scroll", tabIndex: 0 }, table);
    region.setAttribute("role", "region");
    region.setAttribute("aria-label", box.querySelector("h3").textContent);
    box.append(make("div", { className: "controls" }, search, previous, next, where), region);
    draw();
  };

  /* Zoom by the SVG's own view box: the picture stays sharp, and nothing is drawn anew. */
  const zoom = (figure) => {
    const svg = figure.querySelector("svg");
    const whole = svg.viewBox.baseVal;
    const all = { x: whole.x, y: whole.y, width: whole.width, height: whole.height };
    const at = (x, y, factor) => {
      const box = svg.viewBox.baseVal;
      const width = Math.min(all.width, box.width * factor), height = Math.min(all.height, box.height * factor);
      const left = Math.max(all.x, Math.min(x - width / 2, all.x + all.width - width));
      const top = Math.max(all.y, Math.min(y - height / 2, all.y + all.height - height));
      svg.setAttribute("viewBox", `${left} ${top} ${width} ${height}`);
    };
    const centre = () => { const box = svg.viewBox.baseVal; return [box.x + box.width / 2, box.y + box.height / 2]; };
    svg.addEventListener("click", (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      at(point.x, point.y, event.shiftKey ? 2 : 0.5);
    });
    figure.addEventListener("keydown", (event) => {
      const factor = { "+": 0.5, "=": 0.5, "-": 2, 0: Infinity }[event.key];
      if (factor === undefined) return;
      event.preventDefault();
      at(...centre(), factor);
    });
  };

  document.querySelectorAll("[data-grid]").forEach(grid);
  document.querySelectorAll("[data-zoom]").forEach(zoom);
})();
