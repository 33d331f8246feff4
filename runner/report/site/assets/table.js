// A table of rows: columns in memory, texts in pages that are loaded when they are looked at.
"use strict";
Report.table = (() => {
  const { load } = Report;
  const { bytes, holder, normal } = Report.search;
  const SMALL = ["status", "code", "finish"];
  const LARGE = ["number", "sample", "input", "output", "length", "answer", "prompt"];
  const STATUSES = ["succeeded", "failed", "missing", "pending"];
  const ABREAST = 64; // rows that are looked through at a time
  const NONE = 0xffffffff; // a number that nobody said

  async function open(place, progress = () => {}) {
    const table = { ...(await load(`${place}/table`)), place, keys: [] };
    for (const name of SMALL) table[name] = new Uint8Array(table.rows);
    for (const name of LARGE) table[name] = new Uint32Array(table.rows);
    let here = 0;
    const chunks = await Promise.all(
      Array.from({ length: table.chunks }, async (_, at) => {
        const chunk = await load(`${place}/columns/${at}`);
        progress(++here, table.chunks);
        return chunk;
      }),
    );
    let start = 0;
    for (const chunk of chunks) {
      for (const key of chunk.keys) table.keys.push(key);
      for (const name of SMALL) table[name].set(bytes(chunk[name]), start);
      for (const name of LARGE) table[name].set(new Uint32Array(bytes(chunk[name]).buffer), start);
      start += chunk.keys.length;
    }
    return table;
  }

  function pageOf(table, row) {
    let low = 0;
    let high = table.pages.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (table.pages[middle] <= row) low = middle;
      else high = middle;
    }
    return low;
  }

  async function texts(table, row) {
    const page = pageOf(table, row);
    return record(table, row, (await load(`${table.place}/rows/${page}`))[row - table.pages[page]]);
  }

  function record(table, row, [text, parsed, message, body, input, task, model]) {
    return {
      row, text, parsed, message, body, input, task, model,
      key: table.keys[row],
      number: table.number[row],
      sample: table.sample[row],
      status: STATUSES[table.status[row]],
      code: table.codes[table.code[row]],
      finish: table.finishes[table.finish[row]],
      inputTokens: table.input[row],
      outputTokens: table.output[row],
    };
  }

  // What a person reads of a request's body: its messages, in order.
  function messages(body) {
    let asked;
    try {
      asked = JSON.parse(body);
    } catch {
      return [{ role: "request", text: body }];
    }
    const found = [];
    if (asked?.system !== undefined) found.push({ role: "system", text: content(asked.system) });
    if (asked?.prompt !== undefined) found.push({ role: "prompt", text: content(asked.prompt) });
    if (asked?.input !== undefined) found.push({ role: "input", text: content(asked.input) });
    for (const message of Array.isArray(asked?.messages) ? asked.messages : [])
      found.push({ role: String(message?.role ?? "message"), text: content(message?.content) });
    return found.length ? found : [{ role: "request", text: body }];
  }

  function content(value) {
    if (typeof value === "string") return value;
    return (Array.isArray(value) ? value : [value])
      .map((part) => (typeof part === "string" ? part : typeof part?.text === "string" ? part.text : described(part)))
      .join("\n");
  }

  function described(part) {
    const url = part?.image_url?.url ?? part?.source?.data ?? "";
    if (typeof url === "string" && (url.startsWith("data:") || part?.source))
      return `[an image, ${Report.count(url.length)} characters]`;
    return JSON.stringify(part) ?? "";
  }

  // All that a phrase is looked for in.
  function haystack(one) {
    const asked = one.body === null ? [] : messages(one.body).map((message) => message.text);
    return normal([one.key, ...asked, one.text ?? "", one.message].join("\n"));
  }

  // The rows of `candidates` that hold every phrase; `found` hears of them as they grow and may say no to more.
  async function holding(table, candidates, phrases, found) {
    const holds = holder(phrases);
    const kept = [];
    let said = performance.now();
    for (let at = 0; at < candidates.length; at += ABREAST) {
      const some = await Promise.all(candidates.slice(at, at + ABREAST).map((row) => texts(table, row)));
      for (const one of some) {
        if (holds(haystack(one))) kept.push(one.row);
      }
      if (performance.now() - said < 150) continue;
      if (!found(kept)) return null;
      said = performance.now();
    }
    return kept;
  }

  return { open, texts, messages, holding, STATUSES, NONE };
})();
