// Sign-in: checks the key, and keeps it for this tab.
import { key } from "./client.js";
import { Failure, Icon, Logo, html, useRef, useState } from "./ui.js";

export function SignIn({ open, why }) {
  const field = useRef();
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    key.set(field.current.value.trim());
    const refused = await open();
    if (refused) {
      key.forget();
      setBusy(false);
      setProblem(refused);
      field.current?.focus();
    }
  };
  return html`
    <main class="sign-in">
      <form class="card" onSubmit=${submit}>
        <h1><${Logo}/> Stenopool</h1>
        <p>Recordings in, transcripts out. Sign in with a key from the operator of this service.</p>
        <label for="key">Key</label>
        <input id="key" ref=${field} type="password" name="key" autocomplete="current-password" required spellcheck="false"
          maxlength="500" autofocus aria-invalid=${problem ? "true" : undefined} aria-describedby="key-said"/>
        <div id="key-said" role="alert">
          ${problem ? html`<${Failure} failure=${problem.status === 401
            ? { message: "Unknown key.", code: problem.code, remedy: "Check that you copied the whole key." } : problem}/>`
            : why && html`<p class="remedy">${why}</p>`}
        </div>
        <button class="primary" disabled=${busy}><${Icon} name="key"/> ${busy ? "Signing in…" : "Sign in"}</button>
        <p class="remedy">The key is kept only in this tab, until you close it.</p>
      </form>
    </main>`;
}
