/** The chat of the meeting one is in: the conversations as a signal, and what is sent and asked for. */

import type { ChatMessage, Meeting } from "@darktower/client";
import { signal } from "@preact/signals";
import * as chat from "./chat.js";
import type { Telling } from "./telling.js";

const HISTORY_PAGE = 50;

/** What of a meeting is needed. */
export type ChatServer = Pick<Meeting, "chatHistory" | "sendChat">;

export class SessionChat {
  readonly state = signal(chat.EMPTY_CHAT);
  readonly loading = signal(false);

  readonly #server: ChatServer;
  readonly #telling: Pick<Telling, "attempt">;
  /** Another one after the meeting was joined anew. */
  readonly #selfId: () => string;

  constructor(server: ChatServer, telling: Pick<Telling, "attempt">, selfId: () => string) {
    this.#server = server;
    this.#telling = telling;
    this.#selfId = selfId;
  }

  /** Shows a conversation, or none: what is shown is read. */
  show(id: chat.ConversationId | undefined): void {
    this.state.value = chat.opened(this.state.peek(), id);
    if (id !== undefined && chat.conversation(this.state.peek(), id).hasMore === undefined)
      void this.load(id);
  }

  /** Loads the page of history before what is known. */
  async load(id: chat.ConversationId): Promise<void> {
    const cursor = chat.historyCursor(this.state.peek(), id);
    if (!cursor || this.loading.peek()) return;
    this.loading.value = true;
    const request = this.#server
      .chatHistory({
        ...cursor,
        limit: HISTORY_PAGE,
        ...(id === chat.EVERYONE ? {} : { withParticipantId: id }),
      })
      .then((history) => {
        this.state.value = chat.loaded(this.state.peek(), id, history);
      });
    // Nobody who is not looking needs to know that it did not work: opening the chat tries again.
    if (this.state.peek().open === undefined) await request.catch(() => undefined);
    else await this.#telling.attempt(request);
    this.loading.value = false;
  }

  /** True if it was sent. */
  send(message: string, to: chat.ConversationId): Promise<boolean> {
    return this.#telling.attempt(this.#server.sendChat(message, to === chat.EVERYONE ? undefined : to));
  }

  /** Takes a new message in. Says of which conversation it is if the user should be told of it. */
  received(message: ChatMessage): chat.ConversationId | undefined {
    this.state.value = chat.received(this.state.peek(), message, this.#selfId());
    const id = chat.conversationOf(message, this.#selfId());
    return message.participantId === this.#selfId() || this.state.peek().open === id ? undefined : id;
  }

  /** Takes in that a message was edited, deleted or pinned. */
  updated(message: ChatMessage): void {
    this.state.value = chat.updated(this.state.peek(), message, this.#selfId());
  }
}
