// Which rows hold the words of a query.  runner/report/site/words.py takes texts apart in the same way.
"use strict";
Report.search = (() => {
  const LONGEST = 32;
  const JOINED =
    "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uac00-\\ud7af\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
  const RUN = new RegExp(`([${JOINED}]+)|((?:(?![${JOINED}])[\\p{L}\\p{N}])+)`, "gu");
  const normal = (text) => text.normalize("NFKC").toLowerCase();

  // A query as words that each begin a word of the row, phrases that it holds as they are, and keys, one of which is its.
  function parse(query) {
    const phrases = [];
    const keys = [];
    const rest = query.replace(/(?<!\S)key:(?:"([^"]*)"|(\S+))/g, (_, quoted, bare) => {
      keys.push(quoted ?? bare);
      return " ";
    });
    const loose = rest.replace(/"([^"]+)"?/g, (_, phrase) => {
      phrases.push(normal(phrase).trim());
      return ` ${phrase} `;
    });
    const words = [];
    for (const [, joined, word] of normal(loose).matchAll(RUN)) {
      if (word) {
        words.push([...word].slice(0, LONGEST).join(""));
        continue;
      }
      const letters = [...joined];
      if (letters.length === 1) words.push(joined);
      for (let at = 0; at + 1 < letters.length; at++) words.push(letters[at] + letters[at + 1]);
    }
    return { words: [...new Set(words)], phrases: [...new Set(phrases)].filter(Boolean), keys };
  }

  function bytes(base64) {
    const text = atob(base64);
    const found = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) found[at] = text.charCodeAt(at);
    return found;
  }

  // Set mask[row] for every row of one word.
  function mark(encoded, mask) {
    if (encoded[0] === "a") return void mask.fill(1);
    const data = bytes(encoded.slice(1));
    if (encoded[0] === "b") {
      for (let row = 0; row < mask.length; row++) mask[row] |= (data[row >> 3] >> (7 - (row & 7))) & 1;
      return;
    }
    let row = 0;
    let gap = 0;
    let shift = 0;
    for (const byte of data) {
      gap |= (byte & 127) << shift;
      shift += 7;
      if (byte > 127) continue;
      row += gap;
      mask[row] = 1;
      gap = shift = 0;
    }
  }

  // The files of the index that may hold words with this beginning.
  function shards(firsts, start) {
    const found = [];
    for (let at = 0; at < firsts.length; at++) {
      const ends = at + 1 === firsts.length || firsts[at + 1] >= start;
      if (ends && (firsts[at] <= start || firsts[at].startsWith(start))) found.push(at);
    }
    return found;
  }

  async function rowsWith(table, start) {
    const mask = new Uint8Array(table.rows);
    const files = await Promise.all(shards(table.words, start).map((at) => Report.load(`${table.place}/words/${at}`)));
    for (const file of files) for (const [word, rows] of file) if (word.startsWith(start)) mark(rows, mask);
    return mask;
  }

  const CUT = 100; // characters of a key that a check remembers

  function rowsOf(table, keys) {
    const mask = new Uint8Array(table.rows);
    const exact = new Set(keys);
    const long = keys.filter((key) => key.length >= CUT);
    table.keys.forEach((key, row) => {
      if (exact.has(key) || long.some((start) => key.startsWith(start))) mask[row] = 1;
    });
    return mask;
  }

  // A byte for every row, 1 where it has all the words and one of the keys; null where nothing is asked for.
  async function find(table, { words, keys }) {
    const masks = await Promise.all(words.map((word) => rowsWith(table, word)));
    if (keys.length) masks.push(rowsOf(table, keys));
    if (!masks.length) return null;
    const [first, ...others] = masks;
    for (const other of others) for (let row = 0; row < first.length; row++) first[row] &= other[row];
    return first;
  }

  // A word or a phrase where it begins no later than a word does.
  const BEGINS = `(?<!(?![${JOINED}])[\\p{L}\\p{N}])`;
  const PLAIN = new RegExp(`^(?![${JOINED}])[\\p{L}\\p{N}]`, "u");
  const pattern = (text) => (PLAIN.test(text) ? BEGINS : "") + text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

  // Whether a text, normal as the phrases are, holds all of them.
  function holder(phrases) {
    const patterns = phrases.map((phrase) => new RegExp(pattern(phrase), "u"));
    return (text) => patterns.every((one) => one.test(text));
  }

  // Where a text holds what was asked for: [start, end) of each place, in order.
  function places(text, { words, phrases }) {
    const wanted = [...phrases, ...words];
    if (!wanted.length) return [];
    const found = [];
    for (const hit of text.matchAll(new RegExp(wanted.map(pattern).join("|"), "giu"))) {
      found.push([hit.index, hit.index + hit[0].length]);
      if (found.length === 1000) break;
    }
    return found;
  }

  return { parse, find, holder, places, bytes, normal };
})();
