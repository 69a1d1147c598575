// Sizes, times and names as people read them.

export function bytes(count) {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) { count /= 1000; unit += 1; }
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function clock(seconds) {
  const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export function when(text) {
  const date = new Date(text), today = new Date().toDateString() === date.toDateString();
  const time = { hour: "2-digit", minute: "2-digit" };
  return today ? date.toLocaleTimeString([], time) : date.toLocaleString([], { day: "numeric", month: "short", year: "numeric", ...time });
}

// Hides the folder of an upload, and invisible characters, which could make one name look like another.
const unseen = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{NChar}]/gu;
const shown = (key) => key.replace(/(^|\/)[0-9a-f]{32}\//, "$1").replace(unseen, "");
export const nameOf = (key) => shown(key).replace(/\/$/, "").split("/").pop();
export const folderOf = (key) => shown(key).split("/").slice(0, -1).join("/");

export const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;
