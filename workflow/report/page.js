// What the page does beyond being read. Without it every figure, table and number is still there.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const make = (name, given = {}) => Object.assign(document.createElement(name), given);
  const MARK = "svg [data-subject], svg [data-label]";
  const SEARCHED = 10; // rows, from which on a table has a search field

  // --- One tooltip: who a mark is, and every digit of a number

  const tip = byId("tip");
  const said = byId("said");

  for (const mark of all(MARK)) {
    const title = mark.querySelector(":scope > title");
    if (!title) continue;
    mark.dataset.tip = title.textContent;
    title.remove(); // or the browser's own tooltip would come on top
  }
  for (const cell of all("td[title], caption [title]")) {
    cell.dataset.raw = cell.dataset.tip = cell.title;
    cell.removeAttribute("title");
  }

  let told = null; // the element that the tooltip tells of

  function showTip(element) {
    told = element;
    tip.textContent = element.dataset.tip;
    tip.hidden = false;
    const at = element.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const within = (place, room) => `${Math.max(8, Math.min(place, room - 8))}px`;
    const above = at.top - box.height - 8;
    tip.style.left = within(at.left + (at.width - box.width) / 2, innerWidth - box.width);
    tip.style.top = within(above > 8 ? above : at.bottom + 8, innerHeight - box.height);
  }
  const hideTip = () => { tip.hidden = true; };
  const tipped = (event) => event.target.closest?.("[data-tip]");

  document.addEventListener("pointerover", (event) => {
    const element = tipped(event);
    if (element) showTip(element);
    else hideTip();
  });
  document.addEventListener("scroll", () => tip.hidden || showTip(told), true);

  // --- One person, everywhere

  const people = [...new Set(all("[data-subject]").map((e) => e.dataset.subject))];
  const select = byId("chosen");
  const inOrder = new Intl.Collator(undefined, { numeric: true });
  people.sort(inOrder.compare);
  select.append(...people.map((who) => make("option", { value: who, textContent: who })));
  select.parentElement.hidden = people.length === 0;

  function choose(who) {
    const found = all("[data-subject]").filter((e) => e.toggleAttribute(
      "data-chosen", e.dataset.subject === who));
    document.body.toggleAttribute("data-choosing", found.length > 0);
    select.value = found.length ? who : "";
    const marks = found.filter((e) => e.closest("svg")).length;
    said.textContent = found.length
      ? `${who}: highlighted in ${marks} marks and ${found.length - marks} rows`
      : "Nobody is highlighted";
    if (found.length) {
      history.replaceState(null, "", `#subject=${encodeURIComponent(who)}`);
    } else if (location.hash.startsWith("#subject=")) {
      history.replaceState(null, "", location.href.split("#")[0]);
    }
  }
  const toggle = (who) => choose(who === select.value ? "" : who);

  function chooseFromAddress() {
    const found = /^#subject=(.*)$/.exec(location.hash);
    if (!found) return;
    try {
      choose(decodeURIComponent(found[1]));
    } catch { /* not an address that this page wrote */ }
  }
  select.addEventListener("change", () => choose(select.value));
  window.addEventListener("hashchange", chooseFromAddress);

  document.addEventListener("click", (event) => {
    const element = tipped(event);
    if (element) showTip(element);
    const person = event.target.closest?.("svg [data-subject], tr[data-subject]");
    const isBusy = event.target.closest?.("a, button, input, label") || String(getSelection());
    if (person && !isBusy) toggle(person.dataset.subject);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (tip.hidden && select.value) choose("");
    hideTip();
  });

  // --- Arrow keys walk through the marks of a figure

  for (const drawing of all(".drawing")) {
    const marks = all(MARK, drawing).filter((mark) => mark.dataset.tip);
    if (!marks.length) continue;
    let at = -1;
    const leave = () => marks[at]?.removeAttribute("data-active");
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    drawing.setAttribute("aria-description", `${marks.length} marks; arrow keys walk through them`);
    drawing.addEventListener("blur", () => { leave(); hideTip(); });
    drawing.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && marks[at]?.dataset.subject) toggle(marks[at].dataset.subject);
      const by = step[event.key];
      if (!by) return;
      event.preventDefault();
      leave();
      at = at < 0 && by < 0 ? marks.length - 1 : (at + by + marks.length) % marks.length;
      marks[at].setAttribute("data-active", "");
      marks[at].scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
      showTip(marks[at]);
      said.textContent = marks[at].dataset.tip;
    });
  }

  // --- Unrounded numbers

  byId("unrounded").addEventListener("change", (event) => {
    for (const cell of all("[data-raw]")) {
      cell.dataset.shown ??= cell.textContent;
      cell.textContent = event.target.checked ? cell.dataset.raw : cell.dataset.shown;
      cell.dataset.tip = event.target.checked ? cell.dataset.shown : cell.dataset.raw;
    }
  });

  // --- Sort and search

  const isMissing = (text) => text === "n/a" || text === "";
  const written = (cell) => cell.dataset.raw ?? cell.textContent;
  function numberOf(cell) { // of an interval its lower bound
    const text = written(cell).replace("[", "").replace("\u2212", "-").replace(/\u221e|\binf\b/, "Infinity");
    return parseFloat(text);
  }
  const asNumbers = (a, b) => numberOf(a) - numberOf(b) || 0;
  const asWords = (a, b) => inOrder.compare(written(a), written(b));

  function sort(table, column, way, compare, original) {
    const body = table.tBodies[0];
    if (!way) return body.append(...original);
    const rows = [...original].sort((a, b) => {
      const [one, other] = [a.cells[column], b.cells[column]];
      const missing = isMissing(written(one)) - isMissing(written(other));
      return missing || way * compare(one, other);
    });
    return body.append(...rows);
  }

  function makeSortable(table) {
    const heads = [...table.tHead.rows].at(-1).cells;
    const original = [...table.tBodies[0].rows];
    const ways = ["ascending", "descending", null];
    [...heads].forEach((head, column) => {
      const compare = head.classList.contains("number") ? asNumbers : asWords;
      const button = make("button", { type: "button", textContent: head.textContent });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const next = ways[(ways.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next) head.setAttribute("aria-sort", next);
        sort(table, column, { ascending: 1, descending: -1 }[next] ?? 0, compare, original);
      });
    });
  }

  function makeSearchable(table, box) {
    const rows = [...table.tBodies[0].rows];
    const field = make("input", { type: "search" });
    const count = make("output", { textContent: `${rows.length} rows` });
    const label = make("label", { textContent: "Search " });
    const bar = make("p", { className: "search" });
    label.append(field);
    bar.append(label, " ", count);
    box.before(bar);
    field.setAttribute("aria-label", `Search ${box.getAttribute("aria-label")}`);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const holds = (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
      for (const row of rows) row.hidden = !holds(row);
      const n = rows.filter((row) => !row.hidden).length;
      count.textContent = words.length ? `${n} of ${rows.length} rows` : `${rows.length} rows`;
    });
  }

  for (const box of all(".scroll")) {
    const table = box.querySelector("table");
    if (!table || box.closest(".card")) continue;
    const n = table.tBodies[0].rows.length;
    if (n > 1) makeSortable(table);
    if (n > SEARCHED) makeSearchable(table, box);
  }

  // --- Copy a text; execCommand, since a page from disk has no other clipboard everywhere

  for (const button of all("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      getSelection().selectAllChildren(byId(button.dataset.copy));
      said.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    });
  }

  document.body.classList.add("scripted");
  document.querySelector(".tools").hidden = false;
  chooseFromAddress();
})();
