// Shared by all views. Text from people and recordings goes through `html` as text, never as markup.
import { createContext, h, render } from "./vendor/preact.js";
import { useCallback, useContext, useEffect, useLayoutEffect, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";
import { nameOf } from "./format.js";

export const html = htm.bind(h);
export { createContext, render, useCallback, useContext, useEffect, useLayoutEffect, useRef, useState };

export const Session = createContext(null); // the caller, the options, the queue

// ---- a value that changes outside of any view
export function store(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) { value = next; for (const listener of listeners) listener(value); },
    use() {
      const [current, setCurrent] = useState(value);
      useEffect(() => {
        listeners.add(setCurrent);
        setCurrent(value);
        return () => listeners.delete(setCurrent);
      }, []);
      return current;
    },
  };
}

// ---- announcements for screen readers, and errors for everyone
const said = store([]);
let count = 0;
export const announce = (text) => said.set([...said.get().slice(-4), { text, key: count++ }]);
const trouble = store(null);
export const complain = (problem) => { if (problem.name !== "AbortError") trouble.set(problem); };

export function Announcements() {
  const texts = said.use(), problem = trouble.use();
  useEffect(() => {
    if (!problem) return undefined;
    const timer = setTimeout(() => trouble.set(null), 15_000);
    return () => clearTimeout(timer);
  }, [problem]);
  return html`
    <div class="unseen" role="log" aria-live="polite" aria-label="What has happened">${texts.map(({ text, key }) => html`<p key=${key}>${text}</p>`)}</div>
    <div class="trouble" role="alert">
      ${problem && html`<${Failure} failure=${problem}>
        <button class="icon" onClick=${() => trouble.set(null)} aria-label="Close this message"><${Icon} name="cross"/></button>
      <//>`}
    </div>`;
}

// ---- a confirmation before something that cannot be undone
const question = store(null);
export const confirm = (asked) => new Promise((resolve) => question.set({ ...asked, resolve }));

export function Question() {
  const asked = question.use(), dialog = useRef(), answer = useRef(false);
  useEffect(() => {
    if (!asked) return;
    answer.current = false;
    dialog.current.showModal();
  }, [asked]);
  if (!asked) return null;
  const close = (yes) => { answer.current = yes; dialog.current.close(); };
  return html`
    <dialog ref=${dialog} aria-labelledby="asked" aria-describedby="asked-more"
      onClose=${() => { question.set(null); asked.resolve(answer.current); }}>
      <h2 id="asked">${asked.title}</h2>
      <p id="asked-more">${asked.text}</p>
      <div class="row end">
        <button onClick=${() => close(false)} autofocus>${asked.no || "Keep"}</button>
        <button class="danger" onClick=${() => close(true)}>${asked.yes}</button>
      </div>
    </dialog>`;
}

// ---- small pieces
const ICONS = {
  alert: "M12 8v5M12 16.5v.01M10.3 4 2.7 17.5A2 2 0 0 0 4.4 20.5h15.2a2 2 0 0 0 1.7-3L13.7 4a2 2 0 0 0-3.4 0",
  back: "M15 5l-7 7 7 7",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6L6 18",
  down: "M12 4v11M7 11l5 5 5-5M5 20h14",
  key: "M8 16.5a4.5 4.5 0 1 1 0-9 4.5 4.5 0 0 1 0 9M12.5 12H21.5v3.5M17.5 12v3",
  pause: "M8.5 5v14M15.5 5v14",
  pencil: "M5 19l1-4L16 5l3 3L9 18z",
  play: "M7 5l12 7-12 7z",
  retry: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3M19.5 3.5v4.5H15",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13M15.5 15.5L20.5 20.5",
  trash: "M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13",
  up: "M12 16V5M7 9.5L12 4.5 17 9.5M5 20h14",
};

export const Icon = ({ name }) => html`
  <svg class="glyph" viewBox="0 0 24 24" aria-hidden="true"><path d=${ICONS[name]}/></svg>`;

export const Logo = () => html`
  <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="8"/><path d="M7 13v6M11.5 9v14M16 12v8M20.5 14.5h5M20.5 19h3"/>
  </svg>`;

export const STATES = {
  queued: "Queued", running: "Running", completed: "Completed", failed: "Failed", cancelled: "Cancelled", skipped: "Not submitted",
};
export const Badge = ({ state, children }) => html`<span class="badge ${state}">${children || STATES[state]}</span>`;

// Code, what happened, what to do.
export const Failure = ({ failure, children }) => html`
  <div class="failure">
    <${Icon} name="alert"/>
    <div>
      <p><strong>${failure.message}</strong> <code>${failure.code}</code></p>
      ${failure.remedy && html`<p class="remedy">${failure.remedy}</p>`}
      ${(failure.errors || []).map((error) => html`<p class="remedy"><b>${error.field}</b>: ${error.message}</p>`)}
    </div>
    ${children}
  </div>`;

const STAGES = [["starting", "Starting"], ["prepare", "Preparing"], ["transcribe", "Transcribing"]];
// The progress of a run: its stage, or for a run over many recordings, the percentage that has ended.
export function Progress({ entry }) {
  if (entry.state === "queued") return html`<${Badge} state="queued">${entry.position ? `No. ${entry.position}` : "Queued"}<//>`;
  if (entry.stage === "cancelling") return html`<${Badge} state="cancelled">Cancelling<//>`;
  const stage = entry.stage === "ingest" || !entry.stage ? "starting" : entry.stage;
  const at = STAGES.findIndex(([name]) => name === stage);
  const text = STAGES[at][1];
  if (!entry.recording) {
    const part = Math.round(entry.progress || 0);
    return html`<span class="progress"><progress max="100" value=${part} aria-label="Progress of ${nameOf(entry.name)}"></progress>
      <span>${part} % · ${text}</span></span>`;
  }
  return html`<span class="progress">
    <span class="track" aria-hidden="true">${STAGES.map((_, n) => html`<i class=${n < at ? "over" : n === at ? "now" : ""}></i>`)}</span>
    <span>${text}</span></span>`;
}

// A button that sends a request: it waits for the response, and shows errors.
export function Action({ act, children, ...rest }) {
  const [busy, setBusy] = useState(false);
  const click = async () => {
    setBusy(true);
    try { await act(); } catch (problem) { complain(problem); } finally { setBusy(false); }
  };
  return html`<button type="button" ...${rest} aria-disabled=${busy} onClick=${busy ? undefined : click}>${children}</button>`;
}

// Polls while the page is visible; `refresh` polls immediately. The last response stays until there is a new one.
export function usePolled(load, seconds) {
  const [state, setState] = useState({ data: null, problem: null });
  const latest = useRef();
  latest.current = load;
  const poke = useRef(() => {});
  useEffect(() => {
    let timer, over = false, again = false, busy = false;
    const run = async () => {
      clearTimeout(timer);
      if (over || document.hidden) return;
      if (busy) { again = true; return; }
      busy = true;
      let wait = seconds;
      try {
        const data = await latest.current();
        if (!over) setState({ data, problem: null });
      } catch (problem) {
        wait = seconds * 3;
        if (!over && problem.status !== 401) setState((before) => ({ ...before, problem }));
      }
      busy = false;
      if (again) { again = false; run(); } else if (!over) timer = setTimeout(run, wait * 1000);
    };
    poke.current = run;
    run();
    document.addEventListener("visibilitychange", run);
    addEventListener("online", run);
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", run);
      removeEventListener("online", run);
    };
  }, [seconds]);
  return { ...state, refresh: useCallback(() => poke.current(), []) };
}
