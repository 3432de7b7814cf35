import { useState } from "preact/hooks";
import { ApiError, signIn } from "../api.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { TextField } from "../ui/field.js";

function explain(error: unknown): string {
  if (!(error instanceof ApiError)) return text.signIn.failed;
  if (error.status === 0) return text.home.unreachable;
  if (error.code === "RATE_LIMITED") return text.signIn.tooOften;
  return error.status === 401 || error.status === 400
    ? text.signIn.wrong
    : error.message || text.signIn.failed;
}

/** Email and password. `onSignedIn` follows when they are right. */
export function SignInForm({ onSignedIn }: { readonly onSignedIn: () => void }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const submit = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await signIn(email.trim(), password);
      onSignedIn();
    } catch (failure) {
      setError(explain(failure));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <TextField
        label={text.signIn.email}
        type="email"
        autocomplete="username"
        required
        value={email}
        onValue={setEmail}
      />
      <TextField
        label={text.signIn.password}
        type="password"
        autocomplete="current-password"
        required
        value={password}
        onValue={setPassword}
        error={error}
      />
      <Button type="submit" tone="primary" wide busy={busy}>
        {busy ? text.signIn.submitting : text.signIn.submit}
      </Button>
    </form>
  );
}
