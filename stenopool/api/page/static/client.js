// Requests to the service, with this tab's key. The key is kept only in this tab, until it is closed.

const KEY = "stenopool-key";
let signedOut = () => {};

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};
export const onSignedOut = (handler) => { signedOut = handler; };

// An error response: code, what happened (message), what to do (remedy), and the invalid fields.
export class Problem extends Error {
  constructor(status, { code, detail, remedy, errors } = {}) {
    super(detail || "The service returned an error without details.");
    this.status = status;
    this.code = code || (status ? `HTTP_${status}` : "UNREACHABLE");
    this.remedy = remedy || "";
    this.errors = errors || [];
  }
}

const unreachable = () =>
  new Problem(0, { detail: "The service does not respond.", remedy: "Check the connection, then try again." });

// `used` is the key that was sent. A late response to a request without a key, or with another, does not sign out.
function problem(status, text, used) {
  let said = {};
  try { said = JSON.parse(text); } catch { /* a proxy's page, or nothing */ }
  if (status === 401 && used === key.get()) signedOut();
  return new Problem(status, said);
}

const credentials = (used) => (used ? { Authorization: `Bearer ${used}` } : {});

export async function ask(method, path, { query, body, signal } = {}) {
  const given = Object.entries(query || {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const address = given.length ? `${path}?${new URLSearchParams(given)}` : path;
  const used = key.get();
  const headers = { Accept: "*/*", ...credentials(used), ...(body === undefined ? {} : { "Content-Type": "application/json" }) };
  let answer;
  try {
    answer = await fetch(address, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (!answer.ok) throw problem(answer.status, await answer.text(), used);
  return answer;
}

export const get = async (path, options) => (await ask("GET", path, options)).json();
export async function change(method, path, body) {
  const answer = await ask(method, path, { body });
  return answer.status === 204 ? null : answer.json();
}

// Sends a file with its options and reports progress (0 to 1), which fetch cannot. With the same token it is accepted
// only once, even if a response was lost.
export function send(file, options, token, progress) {
  const used = key.get();
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.open("POST", "/v1/recordings");
    for (const [name, value] of Object.entries({ ...credentials(used), "Idempotency-Key": token })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => request.status < 300
      ? resolve(JSON.parse(request.responseText)) : reject(problem(request.status, request.responseText, used));
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("", "AbortError"));
    const form = new FormData();
    form.append("options", JSON.stringify(options));
    form.append("file", file, file.name);
    request.send(form);
  });
  return { done, stop: () => request.abort() };
}

// Saves content as a file in the browser, although it was fetched with a key.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
