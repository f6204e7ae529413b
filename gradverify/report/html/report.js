"use strict";
(() => {
  const find = document.getElementById("find");
  const subject = document.getElementById("subject");
  const dtype = document.getElementById("dtype");
  const refused = document.getElementById("refused");
  const outcomes = [...document.querySelectorAll('input[name="outcome"]')];
  const body = document.querySelector("#table tbody");
  const rows = [...body.rows];
  const count = document.getElementById("count");

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(outcomes.filter((box) => box.checked).map((box) => box.value));
    let shown = 0;
    for (const row of rows) {
      const d = row.dataset;
      const text = `${d.id} ${d.kind} ${d.outcome}`.toLowerCase();
      row.hidden = !(
        wanted.has(d.outcome) &&
        (!subject.value || d.subject === subject.value) &&
        (!dtype.value || d.dtype === dtype.value) &&
        (!refused.checked || d.ok === "false") &&
        words.every((word) => text.includes(word))
      );
      shown += !row.hidden;
    }
    count.textContent = shown === rows.length ? `${shown} results` : `${shown} of ${rows.length} results`;
  }
  for (const control of [find, subject, dtype, refused, ...outcomes]) control.addEventListener("input", filter);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());

  for (const button of document.querySelectorAll("#table thead button")) {
    button.addEventListener("click", () => {
      const heading = button.parentElement;
      const rising = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of heading.parentElement.children) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const { key, kind } = button.dataset;
      const number = (row) => {
        const text = row.dataset[key];
        return text === "nan" ? -Infinity : text === "inf" ? Infinity : Number(text);
      };
      const order = kind === "number"
        ? (a, b) => (number(a) < number(b) ? -1 : number(a) > number(b) ? 1 : 0)
        : (a, b) => a.dataset[key].localeCompare(b.dataset[key]);
      rows.sort((a, b) => (rising ? order(a, b) : order(b, a)));
      body.append(...rows);
    });
  }

  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      find.focus();
    } else if (event.key === "Escape" && document.activeElement === find) {
      find.value = "";
      filter();
    }
  });

  // A link to a page about an outcome opens it.
  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  }
  addEventListener("hashchange", reveal);
  reveal();

  // A large drawing is scrolled to its first wrong step.
  for (const wrong of document.querySelectorAll(".box.wrong")) {
    const area = wrong.closest(".scroll");
    const [box, view] = [wrong.getBoundingClientRect(), area.getBoundingClientRect()];
    area.scrollTop = box.top - view.top - (view.height - box.height) / 2;
    area.scrollLeft = box.left - view.left - (view.width - box.width) / 2;
  }

  async function copied(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // A page that is opened as a file may have no clipboard: select the text and ask the browser.
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const done = await copied(button.parentElement.querySelector("pre").textContent);
      button.focus();
      button.textContent = done ? "Copied" : "Select it and copy it by hand";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
  }
})();
