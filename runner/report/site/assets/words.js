// In which words two texts differ.
"use strict";
Report.words = (() => {
  const WORD = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}\p{M}]+|\s+|[^\s]/gu;
  const MOST = 4_000_000; // words of one text times words of the other

  // Places [start, end) that are only in the one text, and those that are only in the other.
  function apart(one, other) {
    if (one === other) return [[], []];
    const a = one.match(WORD) ?? [];
    const b = other.match(WORD) ?? [];
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start++;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
    const kept = common(a.slice(start, a.length - end), b.slice(start, b.length - end));
    const places = (words, side) => {
      const found = [];
      let at = 0;
      let between = -1;
      words.forEach((word, index) => {
        const differs = index >= start && index < words.length - end && !kept[side].has(index - start);
        const last = found.at(-1);
        if (differs && last && (last[1] === at || between === at)) last[1] = at + word.length;
        else if (differs) found.push([at, at + word.length]);
        if (!differs && last?.[1] === at && !word.trim()) between = at + word.length; // a space that both have
        at += word.length;
      });
      return found;
    };
    return [places(a, 0), places(b, 1)];
  }

  // Indices on either side of the longest sequence of words that both have.
  function common(a, b) {
    const kept = [new Set(), new Set()];
    if (a.length * b.length > MOST) return kept;
    const width = b.length + 1;
    const length = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        length[i * width + j] =
          a[i] === b[j] ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
    for (let i = 0, j = 0; i < a.length && j < b.length; ) {
      if (a[i] === b[j]) {
        kept[0].add(i++);
        kept[1].add(j++);
      } else if (length[(i + 1) * width + j] >= length[i * width + j + 1]) i++;
      else j++;
    }
    return kept;
  }

  return { apart };
})();
