// The page: the session, the current view, and the queue, which all views share.
import { get, key, onSignedOut } from "./client.js";
import { plural } from "./format.js";
import { Home } from "./home.js";
import { Recordings } from "./recordings.js";
import { SignIn } from "./signin.js";
import { Transcript } from "./transcript.js";
import { Announcements, Failure, Icon, Logo, Question, Session, announce, html, render, useCallback, useEffect, usePolled, useRef, useState } from "./ui.js";
import { uploads } from "./uploads.js";

// #/, #/recordings?q=..., #/recordings/ID
function useRoute() {
  const read = () => {
    const [path, query] = location.hash.replace(/^#/, "").split("?");
    return { parts: path.split("/").filter(Boolean), query: Object.fromEntries(new URLSearchParams(query)) };
  };
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("hashchange", changed);
    changed(); // an effect starts after the first paint, and the address may have changed before it
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function App() {
  const [about, setAbout] = useState(null);
  const [state, setState] = useState("opening"); // opening, signed-out, open, or a Problem
  const [why, setWhy] = useState("");

  const open = useCallback(async () => {
    try {
      const [who, choices] = await Promise.all([get("/v1/about"), get("/v1/options")]);
      setAbout({ ...who, choices, may: (scope) => who.scopes.includes(scope) });
      setState("open");
      return null;
    } catch (problem) {
      setState(problem.status === 401 ? "signed-out" : problem);
      return problem;
    }
  }, []);
  const signOut = useCallback((reason) => { key.forget(); uploads.forget(); setAbout(null); setWhy(reason); setState("signed-out"); }, []);
  useEffect(() => {
    onSignedOut(() => key.get() && signOut("The key is unknown or has expired."));
    open();
  }, []);

  if (state === "opening") return html`<p class="opening" role="status">Opening…</p>`;
  if (state === "signed-out") return html`<${SignIn} open=${open} why=${why}/>`;
  if (state !== "open") {
    return html`<main class="lonely"><${Failure} failure=${state}/><button class="primary" onClick=${open}>Try again</button></main>`;
  }
  return html`<${Shell} about=${about} signOut=${() => signOut("")}/>`;
}

function Shell({ about, signOut }) {
  const route = useRoute();
  const reads = about.may("read");
  const queue = usePolled(() => (reads ? get("/v1/queue", { query: { limit: 200 } }) : null), 2);
  const main = useRef(), first = useRef(true);
  const [section, id] = route.parts;

  // In a new view, set the title, and move the focus for the keyboard and the screen reader.
  useEffect(() => {
    document.title = `${section === "recordings" ? (id ? "Transcript" : "Recordings") : "Queue"} · Stenopool`;
    if (!first.current) { scrollTo(0, 0); main.current.focus({ preventScroll: true }); }
    first.current = false;
  }, [section, id]);
  useEffect(() => {
    const warn = (event) => { if (uploads.busy()) event.preventDefault(); };
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, []);
  useEffect(() => { uploads.follow(queue.data, announce); }, [queue.data]);

  const waiting = queue.data ? queue.data.queued + queue.data.running : 0;
  const current = (yes) => (yes ? "page" : undefined);
  return html`
    <${Session.Provider} value=${{ about, queue }}>
      <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to content</a>
      <header class="top">
        <a class="brand" href="#/"><${Logo}/> Stenopool</a>
        ${reads && html`<nav aria-label="Views">
          <a href="#/" aria-current=${current(!section)}>Queue${waiting > 0 && html` <span class="count" aria-label=${`${plural(waiting, "run")} in the queue`}>${waiting}</span>`}</a>
          <a href="#/recordings" aria-current=${current(section === "recordings")}>Recordings</a>
        </nav>`}
        <span class="who-am-i">
          ${about.with_keys
            ? html`<span class="holder"><${Icon} name="key"/><bdi>${about.name}</bdi></span><button class="quiet" onClick=${signOut}>Sign out</button>`
            : html`<span class="holder">This machine only</span>`}
        </span>
      </header>
      ${queue.problem && html`<div class="stale" role="status"><${Icon} name="alert"/> ${queue.problem.message} ${queue.problem.remedy}</div>`}
      <main id="main" ref=${main} tabindex="-1">
        ${section === "recordings" && id ? html`<${Transcript} key=${id} id=${id}/>`
          : section === "recordings" ? html`<${Recordings} query=${route.query}/>`
          : html`<${Home}/>`}
      </main>
      <${Announcements}/>
      <${Question}/>
    <//>`;
}

document.querySelector("#app").replaceChildren();
render(html`<${App}/>`, document.querySelector("#app"));
