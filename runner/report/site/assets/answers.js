// All rows of one batch: searched, filtered, sorted, and each with its prompt beside its answer.
"use strict";
(() => {
  const { element, count, place, address, load } = Report;
  const { open, texts, messages, holding, STATUSES, NONE } = Report.table;
  const { parse, find, places } = Report.search;
  const { badge, excerpt, prompt, answer, facts, folded, reader, pager, walk, searching, tokens } = Report.view;
  const SIZE = 50; // rows of one page
  const EXCERPT = 240;
  const at = (id) => document.getElementById(id);
  const SORTS = { number: "number", key: "key", length: "length", input: "input", output: "output", status: "status" };

  let table = null;
  let shown = { batch: "" };
  let order = []; // positions of the rows that fit, in the order shown
  let asked = parse("");
  let turn = 0;
  let orderedFor = null;

  function state() {
    const said = place();
    return {
      batch: said.get("batch") ?? "",
      q: said.get("q") ?? "",
      status: said.get("status") ?? "",
      code: said.get("code") ?? "",
      finish: said.get("finish") ?? "",
      sort: said.get("sort") ?? "",
      page: said.get("page") ?? "",
      row: said.get("row") ?? "",
    };
  }

  // Go to where `changes` lead; whatever filters begins at the first page.
  function go(changes) {
    const filters = Object.keys(changes).some((key) => !["page", "row"].includes(key));
    const next = { ...shown, ...(filters ? { page: "", row: "" } : {}), ...changes };
    history.replaceState(null, "", address(next));
    start();
  }

  async function update() {
    const now = state();
    const mine = ++turn;
    const before = shown;
    shown = now;
    if (!table || before.batch !== now.batch) {
      if (!(await choose(now.batch, mine))) return;
    }
    controls();
    const filter = JSON.stringify({ ...now, page: "", row: "" });
    if (filter !== orderedFor) {
      if (!(await select(now, mine))) return;
      orderedFor = filter;
    }
    if (now.row) await openRow(now.row, mine);
    else dialog.hide();
    if (mine === turn) await render(mine);
  }

  async function choose(batch, mine) {
    const tables = await load("tables");
    const known = tables.find((one) => one.place === batch) ?? tables[0];
    if (!known) {
      at("count").textContent = "This report has no rows.";
      return false;
    }
    at("count").textContent = "Loading…";
    const opened = await open(known.place, (here, all) => {
      if (mine === turn) at("count").textContent = `Loading ${count(here)} of ${count(all)} parts…`;
    });
    if (mine !== turn) return false;
    table = { ...opened, samples: known.samples };
    orderedFor = null;
    shown = { ...shown, batch: known.place };
    at("batch").replaceChildren(
      ...tables.map((one) => element("option", { value: one.place, selected: one.place === known.place }, one.title)),
    );
    document.title = `${known.title}: answers`;
    at("title").replaceChildren("Answers of ", element("a", { href: `batches/${known.page}.html` }, known.title));
    return true;
  }

  // ---- which rows, in which order

  async function select(now, mine) {
    asked = parse(now.q);
    const mask = await find(table, asked);
    if (mine !== turn) return false;
    const found = candidates(mask);
    if (!asked.phrases.length) {
      facets(found, true);
      order = sorted(filtered(found, now), now.sort);
      tell(order.length, true);
      return true;
    }
    const kept = await holding(table, found, asked.phrases, (some) => {
      if (mine !== turn) return false;
      facets(some, false);
      order = sorted(filtered(some, now), now.sort);
      tell(order.length, false);
      render(mine);
      return true;
    });
    if (mine !== turn || kept === null) return false;
    facets(kept, true);
    order = sorted(filtered(kept, now), now.sort);
    tell(order.length, true);
    return true;
  }

  function candidates(mask) {
    const found = [];
    for (let row = 0; row < table.rows; row++) if (!mask || mask[row]) found.push(row);
    return found;
  }

  function filtered(rows, now) {
    const status = STATUSES.indexOf(now.status);
    const code = now.code ? table.codes.indexOf(now.code) : -1;
    const finish = now.finish ? table.finishes.indexOf(now.finish) : -1;
    return rows.filter(
      (row) =>
        (!now.status || table.status[row] === status) &&
        (!now.code || table.code[row] === code) &&
        (!now.finish || table.finish[row] === finish),
    );
  }

  // "-output" sorts by that column, greatest first; rows without a number come last either way.
  function sorted(rows, sort) {
    const name = SORTS[sort.replace("-", "")];
    if (!name) return rows;
    const sign = sort.startsWith("-") ? -1 : 1;
    if (name === "key") {
      const keys = numeric() ?? table.keys;
      return rows.sort((a, b) => (keys[a] < keys[b] ? -sign : keys[a] > keys[b] ? sign : a - b));
    }
    const values = table[name];
    return rows.sort((a, b) => {
      const [one, other] = [values[a], values[b]];
      if (one === other) return a - b;
      if (one === NONE || other === NONE) return one === NONE ? 1 : -1;
      return sign * (one - other);
    });
  }

  function numeric() {
    table.numbers ??= table.keys.every((key) => /^-?\d{1,15}(\.\d{1,9})?$/.test(key)) ? table.keys.map(Number) : null;
    return table.numbers;
  }

  function tell(number, complete) {
    const all = number === table.rows ? Report.plural(number, "row") : `${count(number)} of ${Report.plural(table.rows, "row")}`;
    at("count").textContent = complete ? all : `${count(number)} so far, still counting…`;
    at("count").dataset.complete = complete;
  }

  // How many of the rows found there are of each kind: of each status, whatever the other two filters say.
  function facets(rows, complete) {
    const statuses = new Uint32Array(STATUSES.length);
    const codes = new Uint32Array(table.codes.length);
    const finishes = new Uint32Array(table.finishes.length);
    for (const row of rows) {
      statuses[table.status[row]]++;
      codes[table.code[row]]++;
      finishes[table.finish[row]]++;
    }
    const more = complete ? "" : "+";
    const chip = (name, label, number) =>
      element(
        "button",
        { type: "button", class: `chip ${name}`, "aria-pressed": String(shown.status === name), onclick: () => go({ status: name }) },
        label,
        " ",
        element("span", { class: "number" }, count(number) + more),
      );
    const focused = document.activeElement?.closest?.("#statuses button");
    const index = focused ? [...at("statuses").children].indexOf(focused) : -1;
    at("statuses").replaceChildren(chip("", "All", rows.length), ...STATUSES.map((name, code) => chip(name, name, statuses[code])));
    if (index >= 0) at("statuses").children[index].focus();
    options("code", table.codes, codes, "Any error");
    options("finish", table.finishes, finishes, "Any finish");
  }

  function options(id, names, numbers, any) {
    const found = names.map((name, code) => [name, numbers[code]]).filter(([name, number]) => name && (number || shown[id] === name));
    found.sort((a, b) => b[1] - a[1]);
    at(id).replaceChildren(
      element("option", { value: "" }, any),
      ...found.map(([name, number]) => element("option", { value: name, selected: shown[id] === name }, `${name} (${count(number)})`)),
    );
    at(id).parentElement.hidden = !found.length;
  }

  // ---- what is seen of them

  function controls() {
    if (document.activeElement !== at("q")) at("q").value = shown.q;
    for (const head of document.querySelectorAll("th[data-sort]")) {
      const { sort } = head.dataset;
      const way = shown.sort === sort ? "ascending" : shown.sort === `-${sort}` ? "descending" : null;
      if (way) head.setAttribute("aria-sort", way);
      else head.removeAttribute("aria-sort");
    }
  }

  async function render(mine) {
    const page = Math.min(Math.max(0, Number.parseInt(shown.page || "1", 10) - 1 || 0), Math.max(0, Math.ceil(order.length / SIZE) - 1));
    const rows = await Promise.all(order.slice(page * SIZE, (page + 1) * SIZE).map((row) => texts(table, row)));
    if (mine !== turn) return;
    const focused = document.activeElement?.closest?.("#rows a.open")?.dataset.row;
    at("rows").replaceChildren(...rows.map(line));
    if (focused) at("rows").querySelector(`a[data-row="${CSS.escape(focused)}"]`)?.focus();
    at("nothing").hidden = rows.length > 0;
    paging(page, order.length);
    document.documentElement.dataset.ready = String(mine);
  }

  const name = (one) => `${one.number}.${one.sample}`;

  function line(one) {
    const question = one.body === null ? "" : (messages(one.body).at(-1)?.text ?? "");
    const reply = one.text ?? one.message;
    return element(
      "tr",
      {},
      element(
        "th",
        { scope: "row" },
        element("a", { class: "open", "data-row": name(one), href: address({ ...shown, row: name(one) }) }, element("bdi", {}, one.key)),
        table.samples > 1 ? element("span", { class: "quiet" }, ` #${one.sample}`) : null,
      ),
      element("td", {}, badge(one.status)),
      element("td", { class: "prompt" }, element("div", { class: "clip", dir: "auto" }, ...excerpt(question, places(question, asked), EXCERPT))),
      element(
        "td",
        {},
        element(
          "div",
          { class: one.text === null ? "clip quiet" : "clip", dir: "auto" },
          one.code ? element("code", {}, one.code) : null,
          one.code ? " " : null,
          ...excerpt(reply, places(reply, asked), EXCERPT),
        ),
      ),
      element("td", { class: "numeric wide" }, tokens(table.length[one.row])),
      element("td", { class: "numeric wide" }, tokens(one.inputTokens)),
      element("td", { class: "numeric wide" }, tokens(one.outputTokens)),
    );
  }

  // ---- one row

  function position(row) {
    const [number, sample] = row.split(".").map(Number);
    for (let found = 0; found < table.rows; found++)
      if (table.number[found] === number && table.sample[found] === sample) return found;
    return -1;
  }

  async function openRow(row, mine) {
    const found = position(row);
    if (found < 0) {
      dialog.hide();
      at("count").textContent = `There is no row ${row}.`;
      return;
    }
    const one = await texts(table, found);
    if (mine !== turn) return;
    const mark = (text) => places(text, asked);
    dialog.show(
      [element("bdi", {}, one.key), " ", badge(one.status)],
      facts(one),
      element("div", { class: "sides" }, prompt(one, mark), answer(one, "Answer", mark)),
      folded("Input row", one.input),
      folded("Request body", one.body),
    );
  }

  const dialog = reader(
    (by) => {
      const here = order.indexOf(position(shown.row));
      const next = order[here + by];
      if (next === undefined) return;
      go({ row: `${table.number[next]}.${table.sample[next]}`, page: String(Math.floor((here + by) / SIZE) + 1) });
    },
    () => {
      const { row } = shown;
      if (!row) return;
      go({ row: "" });
      at("rows").querySelector(`a[data-row="${CSS.escape(row)}"]`)?.focus();
    },
  );

  const paging = pager(at("pages"), SIZE, (page) => {
    go({ page: String(page + 1) });
    at("title").scrollIntoView();
  });
  walk(at("table"));

  // ---- what a person does

  searching(at("search"), at("q"), (q) => go({ q }));
  at("q").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    at("rows").querySelector("a.open")?.focus();
  });
  for (const id of ["code", "finish"]) at(id).addEventListener("change", () => go({ [id]: at(id).value }));
  at("batch").addEventListener("change", () => go({ batch: at("batch").value, q: "", status: "", code: "", finish: "", sort: "" }));
  for (const head of document.querySelectorAll("th[data-sort] button"))
    head.addEventListener("click", () => {
      const { sort } = head.parentElement.dataset;
      go({ sort: shown.sort === sort ? `-${sort}` : shown.sort === `-${sort}` ? "" : sort });
    });

  const start = () => update().catch((error) => (at("count").textContent = error.message));
  addEventListener("hashchange", start);
  start();
})();
