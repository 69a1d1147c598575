// Sending recordings, and the queue.
import { change } from "./client.js";
import { bytes, folderOf, nameOf, plural, span } from "./format.js";
import { Options, chosen } from "./options.js";
import { Action, Badge, Failure, Icon, Progress, Session, announce, confirm, html, useContext, useRef, useState } from "./ui.js";
import { uploads } from "./uploads.js";

export function Home() {
  const { about } = useContext(Session);
  return html`
    <h1 class="unseen">${about.may("read") ? "Queue" : "Send recordings"}</h1>
    <div class="home">
      ${about.may("write") && html`<${Send}/>`}
      ${about.may("read") && html`<${Queue}/>`}
    </div>`;
}

// ---- sending
function Send() {
  const { about, queue } = useContext(Session);
  const picker = useRef();
  const [over, setOver] = useState(false);
  const [refused, setRefused] = useState(false); // whether the current options are invalid
  const take = (files) => {
    if (!files.length) return;
    if (refused) return announce("Correct the options first.");
    uploads.add(files, chosen.get(), about.choices.max_bytes, queue.refresh);
    announce(`Sending ${plural(files.length, "file")}`);
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    take([...event.dataTransfer.files]);
  };
  return html`
    <section class="card send" aria-labelledby="send">
      <h2 id="send">Send recordings</h2>
      <${Options} refused=${setRefused}/>
      <div class="drop ${over ? "over" : ""}" onDragOver=${(event) => { event.preventDefault(); setOver(true); }}
        onDragLeave=${() => setOver(false)} onDrop=${drop}>
        <${Icon} name="up"/>
        <p><strong>Drop audio or video here</strong><br/><span>up to ${bytes(about.choices.max_bytes)} each; they are sent with the options above</span></p>
        <button type="button" class="primary" onClick=${() => picker.current.click()}>Choose files</button>
        <input ref=${picker} type="file" multiple accept="audio/*,video/*,.amr,.opus,.mka,.wma" class="unseen" tabindex="-1"
          aria-label="Recordings to send" onChange=${(event) => { take([...event.target.files]); event.target.value = ""; }}/>
      </div>
      <${Address} refused=${refused}/>
      <${Sent}/>
    </section>`;
}

function Address({ refused }) {
  const { about, queue } = useContext(Session);
  const field = useRef();
  const [problem, setProblem] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    setProblem(null);
    if (refused) return announce("Correct the options first.");
    try {
      await uploads.name(field.current.value.trim(), chosen.get(), queue.refresh);
      announce("Added to the queue.");
      field.current.value = "";
    } catch (error) {
      setProblem(error);
    }
  };
  return html`
    <form class="address" onSubmit=${submit}>
      <label for="uri">Or enter an address below <code>${about.choices.source}/</code></label>
      <div class="row">
        <input id="uri" ref=${field} required spellcheck="false" autocomplete="off" maxlength="4096" placeholder=${`${about.choices.source}/…`}
          aria-invalid=${problem ? "true" : undefined} aria-describedby="uri-said"/>
        <button>Transcribe</button>
      </div>
      <div id="uri-said" role="alert">${problem && html`<${Failure} failure=${problem}/>`}</div>
    </form>`;
}

function Sent() {
  const items = uploads.use();
  if (!items.length) return null;
  return html`
    <div class="sent">
      <div class="row spread"><h3 id="sent">Sent from this tab</h3>
        <button class="quiet" onClick=${uploads.tidy}>Hide finished</button></div>
      <ul class="rows" aria-labelledby="sent">${items.map((item) => html`<${Item} key=${item.order} item=${item} version=${`${item.state}${item.progress}`}/>`)}</ul>
    </div>`;
}

function Item({ item }) {
  const under = { waiting: "Waiting to be sent", sending: `${bytes(item.progress * item.size)} of ${bytes(item.size)}` }[item.state];
  return html`
    <li>
      <div class="what"><span class="name">${item.state === "completed" ? html`<a href=${`#/recordings/${item.id}`}>${item.name}</a>` : item.name}</span>
        <small>${under || (item.size !== undefined && bytes(item.size))}</small></div>
      <div class="how">
        ${item.state === "sending" ? html`<progress max="1" value=${item.progress} aria-label=${`Sending ${item.name}`}></progress>`
          : item.state === "waiting" ? null
          : item.state === "refused" ? html`<${Badge} state="failed">Refused<//>`
          : item.entry && ["queued", "running"].includes(item.state) ? html`<${Progress} entry=${item.entry}/>`
          : html`<${Badge} state=${item.state}/>`}
      </div>
      <div class="do">
        ${item.state === "completed" && html`<a class="button" href=${`#/recordings/${item.id}`}>Open</a>`}
        ${item.state === "refused" && item.file && html`<button onClick=${() => uploads.again(item)} aria-label=${`Send ${item.name} again`}>Send again</button>`}
        ${item.state === "failed" && html`<${Retry} id=${item.id} name=${item.name}/>`}
        ${["sending", "waiting", "refused"].includes(item.state) && html`
          <button class="icon" onClick=${() => uploads.drop(item)} aria-label=${`${item.state === "refused" ? "Hide" : "Do not send"} ${item.name}`}><${Icon} name="cross"/></button>`}
      </div>
      ${item.problem && html`<${Failure} failure=${item.problem}/>`}
    </li>`;
}

export function Retry({ id, name, done }) {
  const { queue } = useContext(Session);
  const act = async () => {
    await change("POST", `/v1/recordings/${id}/retry`);
    announce(`${name} is queued again.`);
    uploads.retried(id);
    queue.refresh();
    done?.();
  };
  return html`<${Action} act=${act} aria-label=${`Retry ${name}`}><${Icon} name="retry"/> Retry<//>`;
}

// ---- the queue
function Queue() {
  const { about, queue } = useContext(Session);
  const { data, refresh } = queue;
  const admin = about.may("admin");
  const pause = async (paused) => {
    await change("PATCH", "/v1/queue", { paused });
    announce(paused ? "The queue is paused." : "The queue is running again.");
    refresh();
  };
  const clear = async () => {
    const yes = await confirm({
      title: `Clear ${plural(data.queued, "waiting run")}?`,
      text: "Runs in progress continue. The recordings are kept, and can be transcribed later.",
      yes: "Clear the queue", no: "Keep them",
    });
    if (!yes) return;
    const { count } = await change("DELETE", "/v1/queue");
    announce(`${plural(count, "run")} cleared.`);
    refresh();
  };
  return html`
    <section class="card queue" aria-labelledby="queue">
      <div class="row spread">
        <h2 id="queue">In the queue</h2>
        ${admin && data && html`<div class="row">
          ${data.paused
            ? html`<${Action} act=${() => pause(false)} class="primary"><${Icon} name="play"/> Resume<//>`
            : html`<${Action} act=${() => pause(true)}><${Icon} name="pause"/> Pause<//>`}
          <${Action} act=${clear} disabled=${!data.queued}><${Icon} name="trash"/> Clear<//>
        </div>`}
      </div>
      ${data && html`<p class="counts">${plural(data.running, "run")} in progress, ${data.queued.toLocaleString()} waiting</p>`}
      ${data?.paused && html`<p class="paused" role="status"><${Icon} name="pause"/> Paused: runs in progress continue, new runs wait.</p>`}
      ${!data ? html`<p class="empty">Loading…</p>`
        : !data.data.length ? html`<div class="empty"><${Icon} name="check"/><p>The queue is empty.</p></div>`
        : html`<ol class="rows" aria-label="In the order in which they will run">
            ${data.data.map((entry) => html`<${Entry} key=${entry.id} entry=${entry} refresh=${refresh}/>`)}
          </ol>`}
      ${data && data.queued + data.running > data.data.length
        && html`<p class="counts">… and ${plural(data.queued + data.running - data.data.length, "more run")}.</p>`}
    </section>`;
}

function Entry({ entry, refresh }) {
  const { about } = useContext(Session);
  const name = nameOf(entry.name), folder = entry.prefix ? "everything below" : folderOf(entry.name);
  const cancel = async () => {
    await change("DELETE", `/v1/queue/${entry.id}`);
    announce(`${name} is cancelled.`);
    refresh();
  };
  const age = `${entry.state === "queued" ? "waiting for" : "submitted"} ${span(entry.age)}${entry.state === "queued" ? "" : " ago"}`;
  return html`
    <li>
      <div class="what">
        <span class="name">${entry.recording ? html`<a href=${`#/recordings/${entry.recording}`}>${name}</a>` : name}</span>
        <small>${folder && `${folder} · `}${age}</small>
      </div>
      <div class="how"><${Progress} entry=${entry}/></div>
      <div class="do">${about.may("delete") && (entry.recording || about.may("batch")) && entry.stage !== "cancelling" && html`
        <${Action} act=${cancel} class="icon" aria-label=${`Cancel ${name}`} title="Cancel"><${Icon} name="cross"/><//>`}</div>
    </li>`;
}
