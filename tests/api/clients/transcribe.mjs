// OpenAI's client for Node against the API: node transcribe.mjs BASE_URL KEY FILE. It prints what it got as JSON.
import fs from "node:fs";
import { Readable } from "node:stream";
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const speech = client.audio.transcriptions;
const model = "whisper-1";
const file = () => fs.createReadStream(path);

const models = [];
for await (const each of client.models.list()) models.push(each.id);
const events = [];
for await (const event of await speech.create({ file: file(), model, stream: true, include: ["logprobs"] })) events.push(event);
let refused;
try {
  await speech.create({ file: file(), model: "nova-2" });
} catch (error) {
  refused = { status: error.status, message: error.message, param: error.param, code: error.code };
}
const answer = {
  models,
  model: await client.models.retrieve(model),
  json: await speech.create({ file: file(), model, language: "en-US", temperature: 0, prompt: "Stenopool" }),
  text: await speech.create({ file: file(), model, response_format: "text" }),
  words: await speech.create({
    file: file(), model, response_format: "verbose_json", timestamp_granularities: ["word", "segment"],
  }),
  diarized: await speech.create({ file: file(), model, response_format: "diarized_json", chunking_strategy: "auto" }),
  chunked: await speech.create({ file: file(), model, chunking_strategy: { type: "server_vad" } }),
  bytes: await speech.create({ file: await toFile(fs.readFileSync(path), "Réunion №1.wav"), model }),
  unnamed: await speech.create({ file: await toFile(Readable.from([fs.readFileSync(path)])), model }),
  translation: await client.audio.translations.create({ file: file(), model, response_format: "verbose_json" }),
  events,
  refused,
};
process.stdout.write(JSON.stringify(answer));
