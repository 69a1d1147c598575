// A transcript: player, text, names of speakers, and downloads. It shares its style and player with the HTML
// transcripts: transcript.css and reader.js.
import { ask, change, get, save } from "./client.js";
import { bytes, clock, folderOf, nameOf } from "./format.js";
import { Retry } from "./home.js";
import { read } from "./reader.js";
import { Action, Badge, Failure, Icon, Progress, Session, announce, complain, html, useCallback, useContext, useEffect, useLayoutEffect, useRef, useState } from "./ui.js";

export function Transcript({ id }) {
  const { about, queue } = useContext(Session);
  const [recording, setRecording] = useState(null);
  const [view, setView] = useState(null);
  const [problem, setProblem] = useState(null);

  // While a recording is transcribed again, its earlier transcript remains, so request it once whatever the state.
  const first = useRef(true);
  const look = useCallback(async () => {
    try {
      const one = await get(`/v1/recordings/${id}`);
      setRecording(one);
      if (first.current || one.state === "completed") setView(await get(`/v1/recordings/${id}/view`));
      setProblem(null);
    } catch (error) {
      setProblem(error.code === "NOT_COMPLETED" ? null : error);
    }
    first.current = false;
  }, [id]);
  useEffect(() => { if (!view) look(); }, [queue.data]);
  useEffect(() => { if (recording) document.title = `${nameOf(recording.key)} · Stenopool`; }, [recording]);

  const back = html`<a class="back" href="#/recordings"><${Icon} name="back"/> Recordings</a>`;
  const narrow = (inside) => html`<div class="narrow">${back}${inside}</div>`;
  if (view) return narrow(html`<${Reader} view=${view} setView=${setView}/>`);
  if (problem) return narrow(html`<${Failure} failure=${problem}><button onClick=${look}>Try again</button><//>`);
  if (!recording) return narrow(html`<p class="empty" role="status">Opening…</p>`);
  return narrow(html`
    <h1 dir="auto">${nameOf(recording.key)}</h1>
    <div class="card pending">
      <p class="row">${recording.queue ? html`<${Progress} entry=${recording.queue}/>` : html`<${Badge} state=${recording.state}/>`}</p>
      ${recording.failure && html`<${Failure} failure=${recording.failure}/>`}
      ${["queued", "running"].includes(recording.state) ? html`<p>The transcript will appear here.</p>`
        : about.may("write") && html`<${Retry} id=${id} name=${nameOf(recording.key)} done=${look}/>`}
    </div>`);
}

const LARGE = 64e6; // bytes; larger audio is fetched only on request

function Reader({ view, setView }) {
  const { about } = useContext(Session);
  const root = useRef();
  const sound = useSound(view.id);
  const folder = folderOf(view.key);
  // After a rename, the text is rendered again, and the player attached again.
  const version = view.voices.map((voice) => `${voice.name}/${voice.labels}`).join("|");
  const load = useRef();
  load.current = sound.load;
  useEffect(() => read(root.current, { missing: (seconds) => load.current(seconds) }), [version]);

  const rename = async (voice, name) => {
    const { names } = await get(`/v1/recordings/${view.id}/speakers`);
    const next = Object.fromEntries(Object.entries(names).filter(([label, given]) => given && !voice.labels.includes(label)));
    for (const label of name ? voice.labels : []) next[label] = name;
    await change("PUT", `/v1/recordings/${view.id}/speakers`, { names: next });
    setView(await get(`/v1/recordings/${view.id}/view`));
    announce(name ? `${voice.name} is ${name} now.` : `${voice.name} no longer has a name.`);
  };
  const download = async (format) => {
    const answer = await ask("GET", `/v1/recordings/${view.id}/transcript`, { query: { format } });
    save(await answer.blob(), `${view.title}.${format}`);
  };
  return html`
    <article class="reader" ref=${root}>
      <header>
        <h1 dir="auto">${view.title}</h1>
        ${folder && html`<p class="folder" dir="auto">${folder}</p>`}
        <dl>${view.facts.map(([name, value]) => html`<div key=${name} class=${name === "Note" ? "note" : undefined}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
        <div class="downloads" role="group" aria-label="Download">
          <span><${Icon} name="down"/> Download</span>
          ${about.choices.formats.map((format) => html`<${Action} key=${format} act=${() => download(format)} aria-label=${`Download as ${format.toUpperCase()}`}>${format}<//>`)}
        </div>
      </header>
      ${view.paragraphs.length ? html`
        <${Timeline} view=${view} rename=${about.may("edit") ? rename : null}/>
        <${Bar} sound=${sound}/>
        <${Text} key=${version} view=${view}/>
        <p id="keys">Select a word to hear it. Keys: <kbd>←</kbd> <kbd>→</kbd> word, <kbd>Enter</kbd> play from word, <kbd>Space</kbd> play or pause, <kbd>/</kbd> search.</p>`
        : html`<p class="empty">No speech was found in this recording.</p>`}
    </article>`;
}

// ---- audio: fetched with the key, which therefore never appears in a URL
function useSound(id) {
  const [state, setState] = useState({ now: "loading" }); // loading, large, there, or a problem
  const wanted = useRef(null), address = useRef(null), control = useRef(null);
  const fetchIt = async (most) => {
    control.current?.abort();
    const mine = control.current = new AbortController();
    setState({ now: "loading" });
    try {
      let answer;
      try {
        answer = await ask("GET", `/v1/recordings/${id}/playback`, { signal: mine.signal });
      } catch (problem) {
        if (problem.status !== 404) throw problem;
        answer = await ask("GET", `/v1/recordings/${id}/audio`, { signal: mine.signal }); // as it was sent
      }
      const size = Number(answer.headers.get("Content-Length") || 0);
      if (size > most) {
        mine.abort();
        setState({ now: "large", size });
        return;
      }
      address.current = URL.createObjectURL(await answer.blob());
      setState({ now: "there", src: address.current, begin: wanted.current });
    } catch (problem) {
      if (problem.name !== "AbortError") setState({ now: "missing", problem });
    }
  };
  useEffect(() => {
    fetchIt(LARGE);
    return () => { control.current?.abort(); URL.revokeObjectURL(address.current); };
  }, [id]);
  // Plays from this time once the audio is loaded.
  const load = (seconds) => {
    wanted.current = seconds;
    if (state.now !== "loading" && state.now !== "there") fetchIt(Infinity);
  };
  return { ...state, load, unplayable: () => setState({ now: "missing", problem: { message: "Your browser cannot play this recording.", code: "", remedy: "" } }) };
}

function Bar({ sound }) {
  const audio = useRef();
  useEffect(() => {
    if (sound.now !== "there") return;
    audio.current.src = sound.src;
    if (sound.begin !== null && sound.begin !== undefined) {
      audio.current.currentTime = sound.begin;
      audio.current.play().catch(() => {});
    }
  }, [sound.src]);
  return html`
    <section id="bar" aria-label="Player and search">
      <audio id="audio" ref=${audio} controls preload="metadata" aria-label="Recording" hidden=${sound.now !== "there"}
        onError=${() => sound.now === "there" && sound.unplayable()}></audio>
      ${sound.now !== "there" && html`<div class="sound" role="status">
        ${sound.now === "loading" ? "Loading the audio…"
          : sound.now === "large" ? html`<button onClick=${() => sound.load(0)}><${Icon} name="play"/> Load the audio (${bytes(sound.size)})</button>`
          : html`${sound.problem.message} <button onClick=${() => sound.load(0)}>Try again</button>`}
      </div>`}
      <form id="search" role="search">
        <input type="search" placeholder="Search" aria-label="Search the transcript" autocomplete="off"/>
        <output aria-live="polite"></output>
        <button type="button" data-step="-1" aria-label="Previous match" disabled>↑</button>
        <button type="submit" data-step="1" aria-label="Next match" disabled>↓</button>
        <label class="follow"><input type="checkbox" id="follow" defaultChecked/> Follow</label>
      </form>
    </section>`;
}

// ---- the timeline and the names of the speakers
function Timeline({ view, rename }) {
  const several = view.voices.length > 1;
  return html`
    <section id="timeline" aria-label="Who speaks when">
      ${view.voices.map((voice, number) => html`<${Voice} key=${voice.labels.join() || number} voice=${voice} duration=${view.duration} several=${several} rename=${rename}/>`)}
      <div class="lane ends" aria-hidden="true"><span></span><span>0:00</span><span>${clock(view.duration)}</span></div>
    </section>`;
}

function Voice({ voice, duration, several, rename }) {
  const [naming, setNaming] = useState(false);
  const field = useRef(), opener = useRef();
  useLayoutEffect(() => { if (naming) field.current.select(); }, [naming]);
  const end = () => { setNaming(false); setTimeout(() => opener.current?.focus()); };
  const submit = async (event) => {
    event.preventDefault();
    try {
      await rename(voice, field.current.value.trim());
      end();
    } catch (problem) {
      complain(problem);
    }
  };
  const called = voice.name ?? (several ? "Unknown" : "Speech");
  const given = voice.labels.length && !voice.labels.includes(voice.name);
  return html`
    <div class="lane c${voice.colour}">
      ${naming ? html`
        <form class="naming" onSubmit=${submit} onKeyDown=${(event) => { if (event.key === "Escape") end(); }}>
          <label><span class="unseen">Name of ${called}</span>
            <input ref=${field} defaultValue=${given ? voice.name : ""} placeholder=${called} maxlength="100" autocomplete="off"/></label>
          <button class="icon" aria-label="Save the name"><${Icon} name="check"/></button>
          <button type="button" class="icon" aria-label="Cancel" onClick=${end}><${Icon} name="cross"/></button>
        </form>` : html`
        <span class="who"><span class="called"><bdi>${called}</bdi>
          ${rename && voice.labels.length > 0 && html`<button ref=${opener} class="icon small" onClick=${() => setNaming(true)} title="Rename"
            aria-label=${`Rename ${called}`}><${Icon} name="pencil"/></button>`}</span>
          <small>${clock(voice.seconds)}</small></span>`}
      <svg viewBox=${`0 0 ${duration || 1} 1`} preserveAspectRatio="none" aria-hidden="true">
        <rect class="rail" width="100%" height="1"/>
        ${voice.spans.map(([start, stop]) => html`<rect x=${start} width=${stop - start} height="1"/>`)}
        <line class="playhead" y2="1" vector-effect="non-scaling-stroke"/>
      </svg>
    </div>`;
}

// ---- the words
function Text({ view }) {
  const voices = view.voices.filter((voice) => voice.name);
  let speaker; // of the previous paragraph
  let language = view.language;
  return html`
    <div id="text" role="region" class=${voices.length ? "voices" : undefined} lang=${view.language || undefined} aria-label="Transcript" aria-describedby="keys">
      ${view.paragraphs.map((paragraph, number) => {
        const changed = number === 0 || paragraph.speaker !== speaker;
        speaker = paragraph.speaker;
        const voice = speaker === null ? null : view.voices[speaker];
        const colour = voice ? voice.colour : voices.length ? 7 : 0;
        return html`
          <div class="paragraph ${changed ? "change" : ""} c${colour}">
            ${changed && voice && html`<h2><bdi>${voice.name}</bdi></h2>`}
            <button class="time" type="button" data-t=${paragraph.start} aria-label=${`Play from ${clock(paragraph.start)}`}>${clock(paragraph.start)}</button>
            <p dir=${paragraph.direction}>${paragraph.stretches.map((stretch, at) => {
              const code = stretch.language || view.language;
              const switched = code !== language;
              language = code;
              return html`${at > 0 && stretch.words[0][1] ? " " : ""}<span class=${stretch.doubt ? "doubt" : undefined} title=${stretch.doubt || undefined}
                lang=${code !== view.language ? code : undefined} dir=${stretch.direction !== paragraph.direction ? stretch.direction : undefined}>${switched && html`<abbr dir="ltr">${code}</abbr>`}${stretch.words.map(([text, space, start, stop], nth) =>
                  html`${space && nth > 0 ? " " : ""}<span data-t=${start} data-e=${stop}>${text}</span>`)}${stretch.doubt && html`<small class="why" dir="ltr"> (${stretch.doubt})</small>`}</span>`;
            })}</p>
          </div>`;
      })}
    </div>`;
}
