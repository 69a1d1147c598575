// All recordings, with search, filters and pages.
import { change, get } from "./client.js";
import { bytes, folderOf, nameOf, plural, when } from "./format.js";
import { Retry } from "./home.js";
import { Action, Badge, Failure, Icon, Progress, STATES, Session, announce, confirm, html, useContext, useEffect, useRef, useState } from "./ui.js";

const PAGE = 25;
const RETRIED = ["failed", "cancelled", "skipped"];
const ACTIVE = ["queued", "running"];

export function Recordings({ query }) {
  const { about, queue } = useContext(Session);
  const { q = "", state = "" } = query;
  const [found, setFound] = useState({ recordings: [], cursor: null, busy: true });
  const asked = useRef(0);

  // A page may be short or empty without being the last: load a few more before the user has to.
  const load = async (before, cursor, most = PAGE) => {
    const mine = ++asked.current;
    const recordings = [...before];
    setFound({ recordings, cursor, busy: true });
    try {
      for (let round = 0; round < 5; round += 1) {
        const page = await get("/v1/recordings", { query: { q, state, cursor, limit: most } });
        if (asked.current !== mine) return;
        recordings.push(...page.data);
        cursor = page.next_cursor;
        if (!cursor || recordings.length >= before.length + most) break;
      }
      setFound({ recordings, cursor, busy: false });
      announce(recordings.length ? `${plural(recordings.length, "recording")}${cursor ? " so far" : ""}` : "Nothing found");
    } catch (problem) {
      if (asked.current === mine) setFound({ recordings, cursor, busy: false, problem });
    }
  };
  useEffect(() => { load([], null); }, [q, state]);

  // Refreshes queued and running recordings, and fetches the reasons of failures.
  const put = (one) => setFound((now) => ({ ...now, recordings: now.recordings.map((old) => (old.id === one.id ? one : old)) }));
  const drop = (id) => setFound((now) => ({ ...now, recordings: now.recordings.filter((one) => one.id !== id) }));
  const refresh = async (id) => {
    try { put(await get(`/v1/recordings/${id}`)); } catch (problem) { if (problem.status === 404) drop(id); }
  };
  useEffect(() => {
    for (const one of found.recordings.filter((one) => ACTIVE.includes(one.state)).slice(0, 10)) refresh(one.id);
  }, [queue.data]);

  const all = async () => {
    const { count } = await change("POST", "/v1/queue/retry");
    announce(`${plural(count, "recording")} queued again.`);
    queue.refresh();
    load([], null);
  };
  return html`
    <div class="row spread">
      <h1>Recordings</h1>
      ${about.may("admin") && html`<${Action} act=${all}><${Icon} name="retry"/> Retry all failed<//>`}
    </div>
    <${Search} q=${q} state=${state}/>
    ${found.problem && html`<${Failure} failure=${found.problem}><button onClick=${() => load(found.recordings, found.cursor)}>Try again</button><//>`}
    <ul class="rows card recordings" aria-label="Recordings" aria-busy=${found.busy}>
      ${found.recordings.map((one) => html`<${Row} key=${one.id} one=${one} refresh=${refresh} drop=${drop}/>`)}
      ${!found.recordings.length && !found.problem && html`<li class="empty"><p>${found.busy ? "Loading…"
        : found.cursor ? "No matches so far." : q || state ? "No recordings match." : "There are no recordings yet."}</p></li>`}
    </ul>
    ${found.cursor && html`<div class="row middle"><button onClick=${() => load(found.recordings, found.cursor)} aria-disabled=${found.busy}>
      ${found.busy ? "Loading…" : found.recordings.length ? "Show more" : "Search further"}</button></div>`}`;
}

function Search({ q, state }) {
  const form = useRef(), timer = useRef();
  // The form changes the address, and the address determines the request.
  const go = (event) => {
    event?.preventDefault();
    clearTimeout(timer.current);
    const given = [...new FormData(form.current)].map(([name, text]) => [name, text.trim()]).filter(([, text]) => text);
    history.replaceState(null, "", `#/recordings${given.length ? `?${new URLSearchParams(given)}` : ""}`);
    dispatchEvent(new HashChangeEvent("hashchange"));
  };
  const typed = () => { clearTimeout(timer.current); timer.current = setTimeout(() => go(), 300); };
  useEffect(() => () => clearTimeout(timer.current), []);
  return html`
    <form class="search row" role="search" ref=${form} onSubmit=${go}>
      <label class="grow"><span class="unseen">Search by name or folder</span><${Icon} name="search"/>
        <input type="search" name="q" defaultValue=${q} placeholder="Search by name or folder" maxlength="200" autocomplete="off" onInput=${typed}/></label>
      <label><span class="unseen">State</span>
        <select name="state" value=${state} onChange=${go}>
          <option value="">All states</option>
          ${Object.entries(STATES).map(([name, text]) => html`<option key=${name} value=${name}>${text}</option>`)}
        </select></label>
    </form>`;
}

function Row({ one, refresh, drop }) {
  const { about, queue } = useContext(Session);
  const name = nameOf(one.key), folder = folderOf(one.key), writes = about.may("write"), deletes = about.may("delete");
  useEffect(() => { if (one.state === "failed" && !one.failure) refresh(one.id); }, [one.state, one.id]);
  const cancel = async () => {
    await change("DELETE", `/v1/queue/${one.queue.id}`);
    announce(`${name} is cancelled.`);
    queue.refresh();
  };
  const remove = async () => {
    const yes = await confirm({
      title: `Delete ${name}?`, text: "This deletes the recording, its transcripts and everything else made from it. It cannot be undone.",
      yes: "Delete it", no: "Keep it",
    });
    if (!yes) return;
    await change("DELETE", `/v1/recordings/${one.id}`);
    announce(`${name} is deleted.`);
    drop(one.id);
  };
  return html`
    <li>
      <div class="what"><span class="name"><a href=${`#/recordings/${one.id}`}>${name}</a></span>
        <small>${folder && `${folder} · `}${bytes(one.size)} · ${when(one.modified)}</small></div>
      <div class="how">${ACTIVE.includes(one.state) && one.queue ? html`<${Progress} entry=${one.queue}/>` : html`<${Badge} state=${one.state}/>`}</div>
      <div class="do">
        ${one.state === "completed" && html`<a class="button" href=${`#/recordings/${one.id}`} aria-label=${`Open ${name}`}>Open</a>`}
        ${writes && RETRIED.includes(one.state) && html`<${Retry} id=${one.id} name=${name} done=${() => refresh(one.id)}/>`}
        ${deletes && one.queue?.recording && ACTIVE.includes(one.state) && html`
          <${Action} act=${cancel} class="icon" aria-label=${`Cancel ${name}`} title="Cancel"><${Icon} name="cross"/><//>`}
        ${deletes && !ACTIVE.includes(one.state) && html`<${Action} act=${remove} class="icon" aria-label=${`Delete ${name}`} title="Delete"><${Icon} name="trash"/><//>`}
      </div>
      ${one.failure && html`<${Failure} failure=${one.failure}/>`}
    </li>`;
}
