// The service, asked with the key of this tab. The key is kept for this tab alone, and goes when it is closed.

const KEY = "stenopool-key";
let signedOut = () => {};

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};
export const onSignedOut = (handler) => { signedOut = handler; };

// A refusal: code, what happened (message), what to do (remedy), and the fields that it is about.
export class Problem extends Error {
  constructor(status, { code, detail, remedy, errors } = {}) {
    super(detail || "The service refused without saying why.");
    this.status = status;
    this.code = code || (status ? `HTTP_${status}` : "UNREACHABLE");
    this.remedy = remedy || "";
    this.errors = errors || [];
  }
}

const unreachable = () =>
  new Problem(0, { detail: "The service does not answer.", remedy: "Check the connection, then try again." });

function problem(status, text) {
  let said = {};
  try { said = JSON.parse(text); } catch { /* a proxy's page, or nothing */ }
  if (status === 401) signedOut();
  return new Problem(status, said);
}

const credentials = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

export async function ask(method, path, { query, body, signal } = {}) {
  const given = Object.entries(query || {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const address = given.length ? `${path}?${new URLSearchParams(given)}` : path;
  const headers = { Accept: "*/*", ...credentials(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
  let answer;
  try {
    answer = await fetch(address, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (!answer.ok) throw problem(answer.status, await answer.text());
  return answer;
}

export const get = async (path, options) => (await ask("GET", path, options)).json();
export async function change(method, path, body) {
  const answer = await ask(method, path, { body });
  return answer.status === 204 ? null : answer.json();
}

// A file with its options, sent with progress (0 to 1), which fetch cannot tell. With the same token it is sent once,
// also when an answer was lost on the way.
export function send(file, options, token, progress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.open("POST", "/v1/recordings");
    for (const [name, value] of Object.entries({ ...credentials(), "Idempotency-Key": token })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => request.status < 300
      ? resolve(JSON.parse(request.responseText)) : reject(problem(request.status, request.responseText));
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    const form = new FormData();
    form.append("options", JSON.stringify(options));
    form.append("file", file, file.name);
    request.send(form);
  });
  return { done, stop: () => request.abort() };
}

// What the browser saves as a file, though it was fetched with a key.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
