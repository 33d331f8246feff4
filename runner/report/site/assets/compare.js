// Two tables over the same rows, beside one another: which answers differ, and in which words.
"use strict";
(() => {
  const { element, count, place, address, load } = Report;
  const { open, texts, messages } = Report.table;
  const { parse, find } = Report.search;
  const { badge, excerpt, prompt, answer, facts, reader, pager, walk, searching } = Report.view;
  const { apart } = Report.words;
  const SIZE = 50;
  const EXCERPT = 260;
  const COMPARED = 4000; // characters of a text that the table looks for differences in
  const at = (id) => document.getElementById(id);
  const KINDS = {
    differ: "Answer differs",
    same: "Same answer",
    outcome: "Outcome differs",
    prompt: "Prompt differs",
    left: "Only left",
    right: "Only right",
    all: "All",
  };

  let left = null;
  let right = null;
  let pairs = []; // [row on the left, row on the right], -1 where there is none
  let kinds = {};
  let order = [];
  let shown = {};
  let turn = 0;

  function state() {
    const said = place();
    const read = (key, otherwise = "") => said.get(key) ?? otherwise;
    return { left: read("left"), right: read("right"), show: read("show", "differ"), q: read("q"), page: read("page"), row: read("row") };
  }

  function go(changes) {
    const next = { ...shown, ...("page" in changes || "row" in changes ? {} : { page: "", row: "" }), ...changes };
    history.replaceState(null, "", address(next));
    start();
  }

  async function update() {
    const now = state();
    const mine = ++turn;
    const tables = await load("tables");
    if (mine !== turn) return;
    if (!prepare(tables, now)) return;
    shown = now;
    if (left?.place !== now.left || right?.place !== now.right) {
      at("count").textContent = "Loading…";
      const both = await Promise.all([open(now.left), open(now.right)]);
      if (mine !== turn) return;
      [left, right] = both;
      pair();
    }
    const asked = parse(now.q);
    const masks = await Promise.all([find(left, asked), find(right, asked)]);
    if (mine !== turn) return;
    choose(masks);
    if (now.row) await openPair(now.row, mine);
    else dialog.hide();
    if (mine === turn) await render(mine);
  }

  // Fill the two lists; the right one offers what was asked of the same input as the left.
  function prepare(tables, now) {
    const comparable = (one) => tables.filter((other) => other !== one && other.input === one.input);
    const lefts = tables.filter((one) => comparable(one).length);
    const chosen = lefts.find((one) => one.place === now.left) ?? lefts[0];
    if (!chosen) {
      at("count").textContent = "No two tables of this report are about the same input.";
      return false;
    }
    const rights = comparable(chosen);
    const other = rights.find((one) => one.place === now.right) ?? rights.find((one) => one.batch === chosen.batch) ?? rights[0];
    now.left = chosen.place;
    now.right = other.place;
    const list = (id, from, place) =>
      at(id).replaceChildren(...from.map((one) => element("option", { value: one.place, selected: one.place === place }, one.title)));
    list("left", lefts, now.left);
    list("right", rights, now.right);
    at("left-head").textContent = chosen.title;
    at("right-head").textContent = other.title;
    if (document.activeElement !== at("q")) at("q").value = now.q;
    return true;
  }

  // Rows with one key belong together, the first of it with the first, the second with the second.
  function names(table) {
    const seen = new Map();
    return Array.from({ length: table.rows }, (_, row) => {
      const name = `${table.keys[row]}\n${table.sample[row]}`;
      const times = (seen.get(name) ?? 0) + 1;
      seen.set(name, times);
      return times > 1 ? `${name}\n${times}` : name;
    });
  }

  // Whether both have the same keys in the same order, as batches over one input have.
  const inStep = () =>
    left.rows === right.rows && left.keys.every((key, row) => key === right.keys[row] && left.sample[row] === right.sample[row]);

  function pair() {
    if (inStep()) {
      pairs = left.keys.map((_, row) => [row, row]);
      return;
    }
    const there = new Map(names(right).map((name, row) => [name, row]));
    pairs = names(left).map((name, row) => {
      const other = there.get(name) ?? -1;
      there.delete(name);
      return [row, other];
    });
    for (const row of there.values()) pairs.push([-1, row]);
  }

  function kindsOf([one, other]) {
    if (one < 0) return ["right"];
    if (other < 0) return ["left"];
    const found = [left.answer[one] === right.answer[other] ? "same" : "differ"];
    if (left.status[one] !== right.status[other] || left.codes[left.code[one]] !== right.codes[right.code[other]]) found.push("outcome");
    if (left.prompt[one] !== right.prompt[other]) found.push("prompt");
    return found;
  }

  function choose([here, there]) {
    kinds = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
    order = [];
    pairs.forEach((both, number) => {
      if (here && !(here[both[0]] || there[both[1]])) return;
      const found = ["all", ...kindsOf(both)];
      for (const kind of found) kinds[kind]++;
      if (found.includes(shown.show)) order.push(number);
    });
    at("kinds").replaceChildren(
      ...Object.entries(KINDS).filter(([kind]) => kinds[kind] || kind === shown.show || kind === "all" || kind === "differ").map(([kind, label]) =>
        element(
          "button",
          { type: "button", class: "chip", "aria-pressed": String(kind === shown.show), onclick: () => go({ show: kind }) },
          label,
          " ",
          element("span", { class: "number" }, count(kinds[kind])),
        ),
      ),
    );
    at("count").textContent = `${count(order.length)} of ${Report.plural(pairs.length, "row")}`;
    at("count").dataset.complete = true;
  }

  const side = (table, row) => (row < 0 ? null : texts(table, row));
  const sides = ([one, other]) => Promise.all([side(left, one), side(right, other)]);

  async function render(mine) {
    const page = Math.min(Math.max(0, Number.parseInt(shown.page || "1", 10) - 1 || 0), Math.max(0, Math.ceil(order.length / SIZE) - 1));
    const here = order.slice(page * SIZE, (page + 1) * SIZE);
    const found = await Promise.all(here.map((number) => sides(pairs[number])));
    if (mine !== turn) return;
    at("rows").replaceChildren(...found.map((both, index) => line(both, here[index])));
    at("nothing").hidden = found.length > 0;
    paging(page, order.length);
    document.documentElement.dataset.ready = String(mine);
  }

  const said = (one) => one?.text ?? one?.message ?? "";

  function line([one, other], number) {
    const both = typeof one?.text === "string" && typeof other?.text === "string";
    const [gone, come] = both ? apart(one.text.slice(0, COMPARED), other.text.slice(0, COMPARED)) : [[], []];
    const cell = (entry, places, name) =>
      element(
        "td",
        {},
        entry === null
          ? element("span", { class: "quiet" }, "not there")
          : element(
              "div",
              { class: entry.text === null ? "clip quiet" : "clip", dir: "auto" },
              entry.status === "succeeded" ? null : [badge(entry.status), " "],
              ...excerpt(said(entry), places, EXCERPT, name),
            ),
      );
    const { key, sample } = one ?? other;
    return element(
      "tr",
      {},
      element(
        "th",
        { scope: "row" },
        element("a", { class: "open", "data-row": number, href: address({ ...shown, row: String(number + 1) }) }, element("bdi", {}, key)),
        sample > 1 ? element("span", { class: "quiet" }, ` #${sample}`) : null,
      ),
      cell(one, gone, "del"),
      cell(other, come, "ins"),
    );
  }

  async function openPair(row, mine) {
    const both = pairs[Number(row) - 1];
    if (!both) return dialog.hide();
    const [one, other] = await sides(both);
    if (mine !== turn) return;
    const said = typeof one?.text === "string" && typeof other?.text === "string";
    const [gone, come] = said ? apart(one.text, other.text) : [[], []];
    const none = (title) => Report.view.section(title, element("p", { class: "quiet" }, "There is no such row."));
    dialog.show(
      [element("bdi", {}, (one ?? other).key)],
      element(
        "div",
        { class: "sides" },
        one ? element("div", {}, facts(one), answer(one, at("left-head").textContent, () => gone, "del")) : none("Left"),
        other ? element("div", {}, facts(other), answer(other, at("right-head").textContent, () => come, "ins")) : none("Right"),
      ),
      ...asked(one, other),
    );
  }

  // The prompt once where it is the same, both with what differs where it is not.
  function asked(one, other) {
    if (!one || !other || one.body === other.body) return [prompt(one ?? other, () => [])];
    const text = (entry) => (entry.body === null ? "" : messages(entry.body).map((message) => message.text).join("\n"));
    if (text(one) === text(other)) return [prompt(one, () => [])];
    const differing = (mine, theirs, which) => {
      const others = theirs.body === null ? [] : messages(theirs.body);
      const seen = new Map((mine.body === null ? [] : messages(mine.body)).map(({ text }, index) => [text, others[index]?.text ?? ""]));
      return (text) => apart(...(which ? [seen.get(text) ?? "", text] : [text, seen.get(text) ?? ""]))[which];
    };
    return [element("div", { class: "sides" }, prompt(one, differing(one, other, 0), "Prompt, left"), prompt(other, differing(other, one, 1), "Prompt, right"))];
  }

  const dialog = reader(
    (by) => {
      const here = order.indexOf(Number(shown.row) - 1) + by;
      if (order[here] !== undefined) go({ row: String(order[here] + 1), page: String(Math.floor(here / SIZE) + 1) });
    },
    () => {
      const { row } = shown;
      if (!row) return;
      go({ row: "" });
      at("rows").querySelector(`a[data-row="${CSS.escape(String(Number(row) - 1))}"]`)?.focus();
    },
  );
  const paging = pager(at("pages"), SIZE, (page) => go({ page: String(page + 1) }));
  walk(at("table"));

  searching(at("search"), at("q"), (q) => go({ q }));
  at("left").addEventListener("change", () => go({ left: at("left").value, right: "" }));
  at("right").addEventListener("change", () => go({ right: at("right").value }));

  const start = () => update().catch((error) => (at("count").textContent = error.message));
  addEventListener("hashchange", start);
  start();
})();
