import type { ChatMessage } from "@darktower/client";
import { ArrowDown, Lock, MessagesSquare, Pin, Search, SendHorizontal } from "lucide-preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { conversation, EVERYONE, pinnedOf } from "../chat.js";
import { characters } from "../format.js";
import type { Session } from "../session.js";
import { text } from "../text.js";
import { Button, IconButton } from "../ui/button.js";
import { Select } from "../ui/field.js";
import { useNow, usePhone } from "../ui/hooks.js";
import { ChatSearch } from "./chat-search.js";
import { MessageItem, MessageText } from "./message-item.js";
import { Panel } from "./panel.js";

/** docs/protocol.md 5.9. */
const MOST_CHARACTERS = 4000;
/** The counter comes when it begins to matter. */
const COUNT_FROM = 3500;
/** Messages of one author that are closer than this belong together. */
const TOGETHER_MS = 120_000;
/** So near to the end, one wants to see what comes. */
const AT_END_PX = 60;

interface Editing {
  readonly message: ChatMessage;
}

function Composer({
  session,
  id,
  editing,
  onEdited,
}: {
  readonly session: Session;
  readonly id: string;
  readonly editing: Editing | undefined;
  readonly onEdited: () => void;
}) {
  const [value, setValue] = useState(editing?.message.text ?? session.chat.draft(id));
  const latest = useRef(value);
  const write = (next: string) => {
    latest.current = next;
    setValue(next);
    if (!editing) session.chat.setDraft(id, next);
  };
  const [busy, setBusy] = useState(false);
  const ref = useRef<HTMLTextAreaElement>(null);
  const phone = usePhone();
  useEffect(() => {
    if (editing || !phone) ref.current?.focus();
  }, []);
  useLayoutEffect(() => {
    const area = ref.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(160, area.scrollHeight + 2)}px`;
  }, [value]);
  const left = MOST_CHARACTERS - characters(value);
  const sendable = value.trim() !== "" && left >= 0 && !busy;
  const send = async () => {
    if (!sendable) return;
    const trimmed = value.trim();
    setBusy(true);
    const done = editing
      ? await session.request((meeting) => meeting.editChat(editing.message.messageId, trimmed))
      : await session.chat.send(trimmed, id);
    setBusy(false);
    // One may have written on meanwhile, or have gone to another conversation.
    if (!done || latest.current !== value) return;
    write("");
    onEdited();
    // The button that was pressed is disabled now, and must not take the focus out of the panel.
    ref.current?.focus();
  };
  const name = id === EVERYONE ? "" : session.nameOf(id);
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      {editing && (
        <div class="composer-editing">
          <span>{text.chat.edit}</span>
          <button type="button" class="link" onClick={onEdited}>
            {text.common.cancel}
          </button>
        </div>
      )}
      <div class="composer-row">
        <textarea
          ref={ref}
          rows={1}
          aria-label={text.chat.label}
          placeholder={id === EVERYONE ? text.chat.placeholder : text.chat.privatePlaceholder(name)}
          value={value}
          onInput={(event) => write(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape" && editing) {
              event.preventDefault();
              onEdited();
            }
            if (event.key !== "Enter" || event.shiftKey || event.isComposing || phone) return;
            event.preventDefault();
            void send();
          }}
        />
        <IconButton
          type="submit"
          tone="on"
          label={editing ? text.chat.save : text.chat.send}
          icon={<SendHorizontal />}
          disabled={!sendable}
        />
      </div>
      {left < MOST_CHARACTERS - COUNT_FROM && (
        <p class={left < 0 ? "composer-count over" : "composer-count"} role="status">
          {text.chat.charactersLeft(left)}
        </p>
      )}
    </form>
  );
}

function Pinned({ session }: { readonly session: Session }) {
  const pinned = pinnedOf(session.chat.state.value);
  const [latest] = pinned;
  if (!latest) return null;
  return (
    <details class="pinned">
      <summary>
        <Pin aria-hidden="true" />
        <span class="pinned-text">{pinned.length === 1 ? latest.text : text.chat.pinned(pinned.length)}</span>
      </summary>
      <ul>
        {pinned.map((message) => (
          <li key={message.messageId}>
            <strong>{message.name}</strong>
            <p>
              <MessageText value={message.text} />
            </p>
            {session.rights.value.runMeeting && (
              <button
                type="button"
                class="link"
                onClick={() => void session.request((m) => m.pinChat(message.messageId, false))}
              >
                {text.chat.unpin}
              </button>
            )}
          </li>
        ))}
      </ul>
    </details>
  );
}

function Messages({
  session,
  id,
  onEdit,
}: {
  readonly session: Session;
  readonly id: string;
  readonly onEdit: (message: ChatMessage) => void;
}) {
  const ref = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [below, setBelow] = useState(false);
  const now = useNow(60_000);
  const { messages, hasMore } = conversation(session.chat.state.value, id);
  const selfId = session.self.value.participantId;
  const { runMeeting } = session.rights.value;
  const loading = session.chat.isLoading(id);
  const first = messages[0]?.messageId;
  const last = messages.at(-1)?.messageId;

  // What comes is seen if one was at the end; what comes above leaves everything where it is.
  const before = useRef({ first, height: 0 });
  useLayoutEffect(() => {
    const list = ref.current;
    if (!list) return;
    if (before.current.first !== first && !atEnd.current) {
      list.scrollTop += list.scrollHeight - before.current.height;
    } else if (atEnd.current) {
      list.scrollTop = list.scrollHeight;
    } else if (messages.at(-1)?.participantId !== selfId) {
      setBelow(true);
    }
    before.current = { first, height: list.scrollHeight };
  }, [first, last]);
  useLayoutEffect(() => {
    atEnd.current = true;
    setBelow(false);
    if (ref.current) ref.current.scrollTop = ref.current.scrollHeight;
  }, [id]);

  const scrolled = () => {
    const list = ref.current;
    if (!list) return;
    atEnd.current = list.scrollHeight - list.scrollTop - list.clientHeight < AT_END_PX;
    if (atEnd.current) setBelow(false);
    if (list.scrollTop < AT_END_PX && hasMore && !loading) void session.chat.load(id);
  };
  if (messages.length === 0 && !loading) {
    return (
      <div class="chat-empty">
        <MessagesSquare aria-hidden="true" />
        <p>
          <strong>{text.chat.empty}</strong>
        </p>
        <p>{id === EVERYONE ? text.chat.emptyText : text.chat.privateHint}</p>
      </div>
    );
  }
  return (
    <div class="messages-holder">
      <div
        class="messages"
        ref={ref}
        onScroll={scrolled}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
        tabIndex={0}
        role="log"
        aria-label={text.chat.title}
      >
        {hasMore && (
          <Button small disabled={loading} onClick={() => void session.chat.load(id)}>
            {loading ? text.chat.loadingEarlier : text.chat.earlier}
          </Button>
        )}
        <ul>
          {messages.map((message, index) => {
            const own = message.participantId === selfId;
            const previous = messages[index - 1];
            const { messageId } = message;
            const request = session.request.bind(session);
            return (
              <MessageItem
                key={messageId}
                message={message}
                own={own}
                continues={
                  previous?.participantId === message.participantId &&
                  message.sentAtMs - previous.sentAtMs < TOGETHER_MS
                }
                nowMs={now}
                onEdit={own ? () => onEdit(message) : undefined}
                onDelete={
                  own || (runMeeting && id === EVERYONE)
                    ? () => void request((m) => m.deleteChat(messageId))
                    : undefined
                }
                onPin={
                  runMeeting && id === EVERYONE
                    ? () => void request((m) => m.pinChat(messageId, !message.pinned))
                    : undefined
                }
              />
            );
          })}
        </ul>
      </div>
      {below && (
        <Button
          small
          icon={<ArrowDown />}
          onClick={() => ref.current?.scrollTo({ top: ref.current.scrollHeight, behavior: "smooth" })}
        >
          {text.chat.newBelow}
        </Button>
      )}
    </div>
  );
}

/** The chat: with everybody, or with one. */
export function ChatPanel({ session }: { readonly session: Session }) {
  const [editing, setEditing] = useState<Editing>();
  const [query, setQuery] = useState<string>();
  const { participants, rights } = session.state.value;
  const id = session.chat.state.value.open ?? EVERYONE;
  const { conversations } = session.chat.state.value;
  const here = new Set(participants.map((p) => p.participantId));
  // Who has left can still be read, under the name of their messages.
  const gone = [...conversations].filter(
    ([other, { messages }]) => other !== EVERYONE && !here.has(other) && messages.length > 0,
  );
  const unread = (other: string) => {
    const count = conversation(session.chat.state.value, other).unread;
    return count > 0 ? ` (${count})` : "";
  };
  const options = [
    { value: EVERYONE, label: `${text.chat.everyone}${unread(EVERYONE)}` },
    ...(rights.chatPrivate || id !== EVERYONE
      ? participants.map((p) => ({ value: p.participantId, label: `${p.name}${unread(p.participantId)}` }))
      : []),
    ...gone.map(([other, { messages }]) => ({
      value: other,
      label: `${messages.find((m) => m.participantId === other)?.name ?? other} (${text.chat.left})`,
    })),
  ];
  const mayWrite = id === EVERYONE ? rights.chatPublic : rights.chatPrivate && here.has(id);
  return (
    <Panel
      title={text.chat.title}
      onClose={() => session.closePanel()}
      actions={
        <IconButton
          label={text.chat.search}
          icon={<Search />}
          tooltip="below"
          pressed={query !== undefined}
          onClick={() => setQuery(query === undefined ? "" : undefined)}
        />
      }
    >
      {options.length > 1 && (
        <div class="chat-to">
          <Select
            label={text.chat.to}
            hideLabel
            value={id}
            options={options}
            onValue={(other) => {
              setEditing(undefined);
              session.openConversation(other);
            }}
          />
        </div>
      )}
      {query !== undefined ? null : id === EVERYONE ? (
        <Pinned session={session} />
      ) : (
        <p class="chat-private">
          <Lock aria-hidden="true" />
          {text.chat.privateHint}
        </p>
      )}
      {query === undefined ? (
        <Messages session={session} id={id} onEdit={(message) => setEditing({ message })} />
      ) : (
        <ChatSearch
          session={session}
          id={id}
          query={query}
          onQuery={setQuery}
          onClose={() => setQuery(undefined)}
        />
      )}
      {query !== undefined ? null : mayWrite ? (
        <Composer
          // Another one for each message: what is written in the others stays there.
          key={editing ? `edit ${editing.message.messageId}` : id}
          session={session}
          id={id}
          editing={editing}
          onEdited={() => setEditing(undefined)}
        />
      ) : (
        <p class="chat-readonly">{text.chat.notAllowed}</p>
      )}
    </Panel>
  );
}
