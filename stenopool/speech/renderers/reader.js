// Player, search and keyboard navigation for a transcript. The data is in the page: each word has its start (data-t) and
// end (data-e) in seconds. `root` must contain the elements of transcript.html.j2, which the API's page also has.
// Returns a function that removes all listeners.
export function read(root, { missing } = {}) {
  const $ = (selector) => root.querySelector(selector);
  const audio = $("#audio"), text = $("#text"), choose = $("#choose"), follow = $("#follow");
  if (!audio || !text) return () => {}; // no speech
  const words = [...text.querySelectorAll("p [data-t]")];
  const start = (word) => Number(word.dataset.t);
  const end = new AbortController();
  const on = (target, event, handler, options) =>
    target.addEventListener(event, handler, { ...options, signal: end.signal });

  // ---- player: a click seeks, and the spoken word is highlighted
  // Channels overlap in time, so the words on the page are not sorted by time.
  const byTime = [...words].sort((a, b) => start(a) - start(b));
  const starts = Float64Array.from(byTime, start);
  const LINGER = 1; // seconds that a word stays highlighted in a pause after it
  let spoken = null;
  let handsOffUntil = 0; // no automatic scrolling shortly after the user scrolled

  function play(seconds) {
    if (audio.error || !audio.currentSrc) return missing ? missing(seconds) : choose.querySelector("input").focus();
    audio.currentTime = seconds;
    audio.play().catch(() => {}); // the error event handles failures
  }

  function lastAtMost(sorted, value) {
    let low = 0, high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] <= value) low = middle + 1; else high = middle;
    }
    return low - 1;
  }

  function wordAt(seconds) {
    const word = byTime[lastAtMost(starts, seconds)];
    return word && seconds <= Number(word.dataset.e) + LINGER ? word : null;
  }

  function mark() {
    const word = wordAt(audio.currentTime + 0.02);
    if (word !== spoken) {
      spoken?.classList.remove("now");
      word?.classList.add("now");
      spoken = word;
      if (word && follow.checked && performance.now() > handsOffUntil) keepInView(word);
    }
    for (const line of root.querySelectorAll(".playhead")) {
      line.setAttribute("x1", audio.currentTime);
      line.setAttribute("x2", audio.currentTime);
    }
  }

  function keepInView(word) {
    const { top, bottom } = word.getBoundingClientRect();
    const ceiling = $("#bar").getBoundingClientRect().bottom + 40;
    if (top < ceiling || bottom > innerHeight - 80) scrollBy({ top: top - innerHeight * 0.4 });
  }

  function tick() {
    mark();
    if (!audio.paused && !audio.ended && !end.signal.aborted) requestAnimationFrame(tick);
  }

  on(audio, "play", () => { document.body.classList.add("playing"); tick(); });
  on(audio, "seeked", () => { document.body.classList.add("playing"); mark(); });
  for (const event of ["wheel", "touchmove"]) {
    on(window, event, () => { handsOffUntil = performance.now() + 5000; }, { passive: true });
  }
  if (!audio.paused) tick();

  on(text, "click", (event) => {
    const target = event.target.closest("[data-t]");
    if (!target || getSelection().toString()) return; // the user is selecting text
    if (!target.matches(".time")) rove(target);
    play(start(target));
  });

  on($("#timeline"), "click", (event) => {
    const lane = event.target.closest(".lane > svg");
    if (!lane) return;
    const { left, width } = lane.getBoundingClientRect();
    play(((event.clientX - left) / width) * lane.viewBox.baseVal.width);
  });

  // ---- let the user choose the recording if the page cannot load it
  function ask() {
    $("#why").textContent = "The recording was not found. Choose the recording file to listen along:";
    choose.hidden = false;
    audio.hidden = true;
  }

  if (choose) {
    on(audio, "error", ask);
    if (audio.error) ask(); // loading failed before this script ran
    on(audio, "loadedmetadata", () => { choose.hidden = true; audio.hidden = false; });
    if (!audio.getAttribute("src")) audio.hidden = true;
    on(choose.querySelector("input"), "change", (event) => {
      const [file] = event.target.files;
      if (file) audio.src = URL.createObjectURL(file);
    });
  }

  // ---- keys: one tab stop for all words (roving tabindex); arrow keys move between words
  let stop = words[0];
  stop.tabIndex = 0;

  function rove(word) {
    stop.tabIndex = -1;
    stop = word;
    stop.tabIndex = 0;
    stop.focus();
  }

  on(text, "keydown", (event) => {
    if (event.target !== stop) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = step && words[words.indexOf(stop) + step];
    if (next) rove(next);
    else if (event.key === "Enter") play(start(stop));
    else return;
    event.preventDefault();
  });

  on(window, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, button, a, select, summary, audio, dialog")) return; // these handle keys themselves
    if (event.key === "/") query.focus();
    else if (event.key === " " && audio.currentSrc) audio.paused ? audio.play().catch(() => {}) : audio.pause();
    else return;
    event.preventDefault();
  });

  // ---- search: in the running text, so that phrases of several words are found
  const form = $("#search"), query = form.querySelector("input"), count = form.querySelector("output");
  const plain = (written) => written.toLowerCase().normalize("NFC");

  // Whether a space separates this word from the next, which may be in another sentence. Chinese has no spaces.
  function blankAfter(word) {
    for (let node = word; ; ) {
      while (!node.nextSibling) {
        node = node.parentElement;
        if (node.matches("p")) return true;
      }
      node = node.nextSibling;
      if (node.nodeType === Node.TEXT_NODE && node.data) return true;
      if (node.nodeType === Node.ELEMENT_NODE && !node.matches(".why")) return false;
    }
  }

  const offsets = [];
  let haystack = "";
  for (const word of words) {
    offsets.push(haystack.length);
    haystack += plain(word.textContent) + (blankAfter(word) ? " " : "");
  }
  let hits = []; // each a list of words
  let here = -1;

  function search() {
    for (const word of text.querySelectorAll(".hit")) word.classList.remove("hit", "here");
    const needle = plain(query.value.trim()).replace(/\s+/g, " ");
    hits = [];
    here = -1;
    for (let at = haystack.indexOf(needle); needle && at >= 0; at = haystack.indexOf(needle, at + needle.length)) {
      hits.push(words.slice(lastAtMost(offsets, at), lastAtMost(offsets, at + needle.length - 1) + 1));
    }
    for (const word of hits.flat()) word.classList.add("hit");
    for (const button of form.querySelectorAll("button")) button.disabled = !hits.length;
    count.textContent = needle && !hits.length ? "No matches" : "";
    if (hits.length) go(1);
  }

  function go(step) {
    if (!hits.length) return;
    for (const word of hits[here] ?? []) word.classList.remove("here");
    here = (here + step + hits.length) % hits.length;
    for (const word of hits[here]) word.classList.add("here");
    hits[here][0].scrollIntoView({ block: "center" });
    handsOffUntil = performance.now() + 5000;
    count.textContent = `${here + 1} of ${hits.length}`;
  }

  on(query, "input", search);
  on(query, "keydown", (event) => {
    if (event.key === "Enter" && event.shiftKey) { event.preventDefault(); go(-1); }
  });
  on(form, "submit", (event) => { event.preventDefault(); go(1); });
  on(form.querySelector("[data-step='-1']"), "click", () => go(-1));

  return () => { end.abort(); document.body.classList.remove("playing"); };
}
