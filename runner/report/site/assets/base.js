// Data files and elements.  A page from a disk may not fetch, so data comes as scripts, each of which calls Report.take.
"use strict";
const Report = (() => {
  const KEPT = 400; // data files in memory, beside those that somebody holds
  const waiting = new Map();
  const loaded = new Map();

  function take(name, value) {
    waiting.get(name)?.resolve(value);
    waiting.delete(name);
  }

  // The value of a data file, loaded once as long as it is kept.
  function load(name) {
    const known = loaded.get(name);
    if (known) {
      loaded.delete(name);
      loaded.set(name, known); // it was used last
      return known;
    }
    const promise = new Promise((resolve, reject) => {
      waiting.set(name, { resolve });
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onload = () => {
        script.remove();
        if (waiting.delete(name)) reject(new Error(`${script.src} is damaged`));
      };
      script.onerror = () => {
        script.remove();
        waiting.delete(name);
        loaded.delete(name);
        reject(new Error(`${script.src} cannot be loaded`));
      };
      document.head.append(script);
    });
    loaded.set(name, promise);
    if (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
    return promise;
  }

  // What would be obeyed or passed over instead of being shown, spelt out.
  const STRANGE =
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]|[\ud800-\udfff]/gu;
  const visible = (text) =>
    text.replace(STRANGE, (found) => `⟨${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

  // An element.  Children are elements or texts; no text is ever taken for markup.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value === true ? "" : String(value));
    }
    made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined).map(asNode));
    return made;
  }
  const asNode = (child) => (child instanceof Node ? child : document.createTextNode(visible(String(child))));

  const count = (number) => number.toLocaleString("en");
  const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

  // What the address says after its #.
  const place = () => new URLSearchParams(location.hash.slice(1));
  function address(values) {
    const said = new URLSearchParams();
    for (const [key, value] of Object.entries(values)) if (value) said.set(key, value);
    return `#${said}`;
  }

  // "/" goes to the search, wherever one is.
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && event.target.closest("input, select, textarea, dialog");
    const search = document.querySelector('main input[type="search"]');
    if (event.key !== "/" || typing || !search || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
    search.select();
  });

  return { take, load, visible, element, count, plural, place, address };
})();
