import { ArrowRight, Plus } from "lucide-preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError, type Caller, caller, createMeeting, signOut } from "../api.js";
import { navigate, slugOf } from "../router.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { Checkbox, TextField } from "../ui/field.js";
import { useTitle } from "../ui/hooks.js";
import { Spinner } from "../ui/spinner.js";
import { Frame } from "./frame.js";
import { SignInForm } from "./sign-in.js";

function NewMeeting() {
  const [name, setName] = useState("");
  const [waitingRoom, setWaitingRoom] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const create = async () => {
    setBusy(true);
    setError(undefined);
    try {
      const { slug } = await createMeeting(name.trim() || text.home.defaultMeetingName, waitingRoom);
      navigate(`/m/${slug}`);
    } catch (failure) {
      const unreachable = failure instanceof ApiError && failure.status === 0;
      const said = failure instanceof ApiError ? failure.message : "";
      setError(unreachable ? text.home.unreachable : said || text.home.createFailed);
      setBusy(false);
    }
  };
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        void create();
      }}
    >
      <h2>{text.home.newMeeting}</h2>
      <TextField
        label={text.home.meetingName}
        placeholder={text.home.meetingNamePlaceholder}
        maxLength={120}
        autocomplete="off"
        value={name}
        onValue={setName}
        error={error}
      />
      <Checkbox label={text.home.waitingRoom} checked={waitingRoom} onValue={setWaitingRoom} />
      <Button type="submit" tone="primary" wide busy={busy} icon={<Plus />}>
        {busy ? text.home.creating : text.home.create}
      </Button>
    </form>
  );
}

function JoinByLink() {
  const [link, setLink] = useState("");
  const [error, setError] = useState<string>();
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        event.preventDefault();
        const slug = slugOf(link);
        if (slug === undefined) setError(text.home.badLink);
        else navigate(`/m/${slug}`);
      }}
    >
      <h2>{text.home.joinTitle}</h2>
      <TextField
        label={text.home.link}
        placeholder={text.home.linkPlaceholder}
        autocomplete="off"
        spellcheck={false}
        value={link}
        onValue={(value) => {
          setLink(value);
          setError(undefined);
        }}
        error={error}
      />
      <Button type="submit" wide icon={<ArrowRight />}>
        {text.home.join}
      </Button>
    </form>
  );
}

type Known = Caller | "loading" | "unreachable";

/** The start page: begin a meeting, or go to one. */
export function Home() {
  const [known, setKnown] = useState<Known>("loading");
  useTitle(text.product);
  const ask = async () => {
    try {
      setKnown(await caller());
    } catch {
      setKnown("unreachable");
    }
  };
  useEffect(() => void ask(), []);
  const leave = async () => {
    // Whatever the server says, this browser has forgotten the account.
    await signOut().catch(() => undefined);
    await ask();
  };
  let first = <Spinner large />;
  if (known === "unreachable") {
    first = (
      <div class="stack" role="alert">
        <p>{text.home.unreachable}</p>
        <Button onClick={() => void ask()}>{text.common.tryAgain}</Button>
      </div>
    );
  } else if (known !== "loading") {
    if (known.may_create_meetings) first = <NewMeeting />;
    else if (known.signed_in) first = <p class="muted">{text.home.mayOnlyJoin}</p>;
    else {
      first = (
        <div class="stack">
          <h2>{text.signIn.title}</h2>
          <p class="muted">{text.signIn.lead}</p>
          <SignInForm onSignedIn={() => void ask()} />
        </div>
      );
    }
  }
  return (
    <Frame>
      <div class="home">
        <div class="home-intro">
          <h1>{text.home.title}</h1>
          <p>{text.home.lead}</p>
        </div>
        <div class="home-cards">
          <section class="card home-first" aria-busy={known === "loading"}>
            {first}
          </section>
          <section class="card">
            <JoinByLink />
          </section>
        </div>
        {typeof known === "object" && known.signed_in && (
          <p class="home-account muted">
            {text.home.signedIn}{" "}
            <button type="button" class="link" onClick={() => void leave()}>
              {text.home.signOut}
            </button>
          </p>
        )}
      </div>
    </Frame>
  );
}
