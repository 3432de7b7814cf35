import { Search } from "lucide-preact";
import { useEffect, useRef } from "preact/hooks";
import { type ConversationId, conversation, found, highlighted } from "../chat.js";
import { moment } from "../format.js";
import type { Session } from "../session.js";
import { text } from "../text.js";
import { Button } from "../ui/button.js";
import { useNow } from "../ui/hooks.js";

/** The messages of a conversation that have the words one looks for, the latest first. */
export function ChatSearch({
  session,
  id,
  query,
  onQuery,
  onClose,
}: {
  readonly session: Session;
  readonly id: ConversationId;
  readonly query: string;
  readonly onQuery: (query: string) => void;
  readonly onClose: () => void;
}) {
  const ref = useRef<HTMLInputElement>(null);
  useEffect(() => ref.current?.focus(), []);
  const now = useNow(60_000);
  const { messages, hasMore } = conversation(session.chat.state.value, id);
  const loading = session.chat.isLoading(id);
  const results = found(messages, query);
  const selfId = session.self.value.participantId;
  return (
    <>
      <search class="panel-search">
        <Search aria-hidden="true" />
        <input
          ref={ref}
          type="search"
          class="input"
          aria-label={text.chat.search}
          placeholder={text.chat.search}
          value={query}
          onInput={(event) => onQuery(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            event.preventDefault();
            onClose();
          }}
        />
      </search>
      <section
        class="chat-found"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard
        tabIndex={0}
        aria-label={text.chat.searchResults}
      >
        <p class="muted" role="status">
          {query.trim() !== "" && text.chat.found(results.length)}
        </p>
        <ul>
          {results.map((message) => (
            <li key={message.messageId}>
              <div class="message-author">
                <strong dir="auto">
                  {message.participantId === selfId ? text.common.you : message.name}
                </strong>
                <time>{moment(message.sentAtMs, now)}</time>
              </div>
              <p dir="auto">
                {highlighted(message.text, query).map((part, index) =>
                  part.hit ? <mark key={`${index}`}>{part.text}</mark> : part.text,
                )}
              </p>
            </li>
          ))}
        </ul>
        {hasMore && (
          <Button small disabled={loading} onClick={() => void session.chat.load(id)}>
            {loading ? text.chat.loadingEarlier : text.chat.searchEarlier}
          </Button>
        )}
      </section>
    </>
  );
}
