// What several pages show alike: statuses, texts with what was searched for, pages of a list, a row in full.
"use strict";
Report.view = (() => {
  const { element, count } = Report;
  const SHOWN = 20_000; // characters of a text before somebody asks for more
  const BEFORE = 40; // characters of an excerpt before what was searched for

  const badge = (status) => element("span", { class: `badge ${status}` }, status);

  // A text as nodes, with the places in it marked by elements of this name.
  function marked(text, places, name = "mark") {
    const nodes = [];
    let at = 0;
    for (const [start, end] of places) {
      if (start > at) nodes.push(text.slice(at, start));
      nodes.push(element(name, {}, text.slice(start, end)));
      at = end;
    }
    nodes.push(text.slice(at));
    return nodes;
  }

  // The part of a text that a table has room for, around the first place that matters.
  function excerpt(text, places, size, name) {
    const first = places.length ? places[0][0] : 0;
    const start = first > size - BEFORE ? first - BEFORE : 0;
    const part = text.slice(start, start + size).replace(/\s/g, " ");
    const inside = places
      .map(([from, to]) => [Math.max(0, from - start), Math.min(part.length, to - start)])
      .filter(([from, to]) => from < to);
    return [start ? "…" : null, ...marked(part, inside, name), start + size < text.length ? "…" : null];
  }

  // A text as it is, in a box; the rest of a very long one on demand.
  function full(text, places = [], name = "mark") {
    const box = element("div", { class: "text", dir: "auto" });
    const fill = (size) => {
      const inside = places.filter(([start, end]) => start < size && end <= size);
      box.replaceChildren(...element("div", {}, ...marked(text.slice(0, size), inside, name)).childNodes);
      if (size >= text.length) return;
      const more = `Show all ${count(text.length)} characters`;
      box.append(element("button", { type: "button", class: "more", onclick: () => fill(text.length) }, more));
    };
    fill(Math.min(text.length, SHOWN));
    return box;
  }

  function pretty(json) {
    try {
      return JSON.stringify(JSON.parse(json), null, 2);
    } catch {
      return json;
    }
  }

  const folded = (title, json) =>
    json === null ? null : element("details", {}, element("summary", {}, title), full(pretty(json)));

  const section = (title, ...children) =>
    element("section", { "aria-label": title }, element("h3", {}, title), ...children);

  function prompt(one, mark, title = "Prompt") {
    if (one.body === null) return section(title, element("p", { class: "quiet" }, "Prompts are not part of this report."));
    return section(
      title,
      Report.table.messages(one.body).map(({ role, text }) =>
        element("div", { class: "message" }, element("div", { class: "role" }, role), full(text, mark(text))),
      ),
    );
  }

  function answer(one, title, mark, name) {
    const parts = [];
    if (one.status !== "succeeded" && (one.code || one.message))
      parts.push(element("div", { class: "error" }, element("strong", {}, one.code), " ", element("bdi", {}, one.message)));
    if (one.parsed !== null) parts.push(full(pretty(one.parsed)), folded("As it came", JSON.stringify(one.text)));
    else if (one.text !== null) parts.push(full(one.text, mark(one.text), name));
    else if (!parts.length) parts.push(element("p", { class: "quiet" }, "There is no answer yet."));
    return section(title, parts);
  }

  const tokens = (number) => (number === Report.table.NONE ? "–" : count(number));

  function facts(one) {
    const said = [
      ["Row", count(one.number) + (one.sample > 1 ? `, sample ${one.sample}` : "")],
      ["Model", one.model],
      ["Task", one.task],
      ["Tokens", `${tokens(one.inputTokens)} in, ${tokens(one.outputTokens)} out`],
      ["Finish", one.finish],
    ];
    return element(
      "dl",
      { class: "facts" },
      said.filter(([, value]) => value).map(([name, value]) =>
        element("div", {}, element("dt", {}, name), element("dd", {}, element("bdi", {}, value))),
      ),
    );
  }

  // The dialog that shows one row.  `step(by)` goes to another one, `close()` hears that it was closed.
  function reader(step, close) {
    const title = element("h2", { id: "reader-title" });
    const body = element("div", { class: "reader-body" });
    const button = (name, action, label = null) => element("button", { type: "button", "aria-label": label, onclick: action }, name);
    const copy = button("Copy link", () => navigator.clipboard?.writeText(location.href));
    const dialog = element(
      "dialog",
      { class: "reader", "aria-labelledby": "reader-title" },
      element(
        "header",
        {},
        title,
        element(
          "div",
          { class: "buttons" },
          button("←", () => step(-1), "Row before"),
          button("→", () => step(1), "Row after"),
          copy,
          button("Close", () => dialog.close()),
        ),
      ),
      body,
    );
    dialog.addEventListener("close", close);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      step(by);
    });
    document.body.append(dialog);
    return {
      show(heading, ...children) {
        title.replaceChildren(...heading);
        body.replaceChildren(...children.filter(Boolean));
        if (!dialog.open) dialog.showModal();
        dialog.scrollTop = 0;
      },
      hide: () => dialog.open && dialog.close(),
    };
  }

  // Buttons that go through `total` things, `size` at a time; `go(page)` goes to one, from 0 on.
  function pager(host, size, go) {
    const button = (label, to) => element("button", { type: "button", onclick: () => go(to()) }, label);
    let page = 0;
    let last = 0;
    const first = button("First", () => 0);
    const before = button("Previous", () => page - 1);
    const after = button("Next", () => page + 1);
    const end = button("Last", () => last);
    const where = element("span", { class: "quiet" });
    host.append(first, before, where, after, end);
    return (now, total) => {
      page = now;
      last = Math.max(0, Math.ceil(total / size) - 1);
      first.disabled = before.disabled = page <= 0;
      after.disabled = end.disabled = page >= last;
      where.textContent = total ? `${count(page * size + 1)}–${count(Math.min(total, (page + 1) * size))} of ${count(total)}` : "";
      host.hidden = total <= size;
    };
  }

  // Arrow keys, Home and End go through the links that open rows.
  function walk(host) {
    host.addEventListener("keydown", (event) => {
      const links = [...host.querySelectorAll("a.open")];
      const at = links.indexOf(event.target);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
      if (at < 0 || to === undefined) return;
      event.preventDefault();
      links[Math.max(0, Math.min(links.length - 1, to))].focus();
    });
    host.addEventListener("click", (event) => {
      const row = event.target.closest("tbody tr");
      if (row && !event.target.closest("a, button") && !String(getSelection())) row.querySelector("a.open")?.click();
    });
  }

  // A field of a form that looks for what is typed: a moment after the last key, at once on Enter; Escape empties it.
  function searching(form, field, look) {
    let typed = 0;
    const now = () => {
      clearTimeout(typed);
      look(field.value);
    };
    field.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(now, 120);
    });
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !field.value) return;
      event.preventDefault();
      field.value = "";
      now();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      now();
    });
  }

  return { badge, marked, excerpt, full, folded, section, prompt, answer, facts, reader, pager, walk, searching, tokens };
})();
