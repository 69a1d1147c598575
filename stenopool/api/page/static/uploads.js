// Files sent from this tab, and their states. They are sent one after another, so that they queue in the order in which
// they were dropped.
import { change, get, send } from "./client.js";
import { nameOf } from "./format.js";
import { store } from "./ui.js";

const list = store([]);
let running = null; // the upload in progress
let count = 0;

const update = (item, changes) => {
  Object.assign(item, changes);
  list.set([...list.get()]);
};

async function next() {
  const [item] = list.get().filter((one) => one.state === "waiting").sort((a, b) => a.order - b.order);
  if (running || !item) return;
  update(item, { state: "sending", progress: 0, problem: null });
  running = { item, ...send(item.file, item.options, item.token, (progress) => update(item, { progress })) };
  try {
    const taken = await running.done;
    update(item, { state: taken.state, id: taken.id, file: null });
  } catch (problem) {
    if (problem.name !== "AbortError") update(item, { state: "refused", problem });
  }
  running = null;
  item.changed();
  next();
}

const FINAL = ["completed", "failed", "cancelled", "skipped", "refused"];

export const uploads = {
  use: list.use,
  busy: () => list.get().some((item) => item.state === "sending" || item.state === "waiting"),

  add(files, options, most, changed) {
    const items = [...files].map((file) => ({
      order: count++, name: file.name, size: file.size, file, options, changed, progress: 0, token: crypto.getRandomValues(new Uint8Array(16)).join("-"),
      ...(file.size > most
        ? { state: "refused", problem: { message: "The file is larger than the service accepts.", code: "TOO_LARGE", remedy: "Split or compress it." } }
        : { state: "waiting" }),
    }));
    list.set([...items, ...list.get()]);
    next();
  },

  async name(uri, options, changed) {
    // An address that ends with "/" becomes a batch of everything below it, which the queue shows.
    if (uri.endsWith("/")) {
      await change("POST", "/v1/batches", { prefix: uri, options });
    } else {
      const taken = await change("POST", "/v1/recordings", { uri, options });
      list.set([{ order: count++, name: nameOf(uri), size: taken.size, changed, options, uri, id: taken.id, state: taken.state }, ...list.get()]);
    }
    changed();
  },

  again(item) { update(item, { state: "waiting", problem: null }); next(); },

  retried(id) {
    for (const item of list.get().filter((one) => one.id === id)) update(item, { state: "queued", problem: null, entry: null });
  },

  drop(item) {
    if (running?.item === item) running.stop();
    list.set(list.get().filter((one) => one !== item));
  },

  tidy: () => list.set(list.get().filter((item) => !FINAL.includes(item.state))),

  forget() {
    running?.stop();
    list.set([]);
  },

  // Updates the states from the queue; files that have left it are requested one by one.
  async follow(queue, announce) {
    if (!queue) return;
    const entries = new Map(queue.data.map((entry) => [entry.recording, entry]));
    const left = [];
    for (const item of list.get()) {
      if (!item.id || FINAL.includes(item.state)) continue;
      const entry = entries.get(item.id);
      if (entry) update(item, { entry, state: entry.state });
      else left.push(item);
    }
    for (const item of left.sort((a, b) => a.order - b.order).slice(0, 10)) {
      try {
        const now = await get(`/v1/recordings/${item.id}`);
        if (now.state !== item.state && FINAL.includes(now.state)) announce(`${item.name}: ${now.state}`);
        update(item, { state: now.state, entry: now.queue, problem: now.failure });
      } catch (problem) {
        if (problem.status === 404) this.drop(item); // removed meanwhile
      }
    }
  },
};
