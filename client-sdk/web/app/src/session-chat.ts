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
  /** Conversations of which history is on its way. */
  readonly #loading = signal<ReadonlySet<chat.ConversationId>>(new Set());
  /** What is written and not sent yet, by conversation. */
  readonly #drafts = new Map<chat.ConversationId, string>();

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

  isLoading(id: chat.ConversationId): boolean {
    return this.#loading.value.has(id);
  }

  draft(id: chat.ConversationId): string {
    return this.#drafts.get(id) ?? "";
  }

  setDraft(id: chat.ConversationId, draft: string): void {
    if (draft === "") this.#drafts.delete(id);
    else this.#drafts.set(id, draft);
  }

  /** Loads the page of history before what is known. */
  async load(id: chat.ConversationId): Promise<void> {
    const cursor = chat.historyCursor(this.state.peek(), id);
    if (!cursor || this.#loading.peek().has(id)) return;
    this.#loading.value = new Set(this.#loading.peek()).add(id);
    const request = this.#history(id, cursor.before).then((history) => {
      this.state.value = chat.loaded(this.state.peek(), id, history);
    });
    // Nobody who is not looking needs to know that it did not work: opening the chat tries again.
    if (this.state.peek().open === undefined) await request.catch(() => undefined);
    else await this.#telling.attempt(request);
    const left = new Set(this.#loading.peek());
    left.delete(id);
    this.#loading.value = left;
  }

  /** After a lost connection: what was written meanwhile, in the conversations of which history is known. */
  async catchUp(): Promise<void> {
    const known = [...this.state.peek().conversations].filter(([, { hasMore }]) => hasMore !== undefined);
    await Promise.all(known.map(([id]) => this.#catchUp(id)));
  }

  async #catchUp(id: chat.ConversationId): Promise<void> {
    const { messages } = chat.conversation(this.state.peek(), id);
    const last = messages.at(-1)?.messageId ?? 0;
    try {
      const latest = await this.#history(id, undefined);
      this.state.value = chat.caughtUp(this.state.peek(), id, latest, last, this.#selfId());
    } catch {
      // The connection is gone again: the next one brings it.
    }
  }

  #history(id: chat.ConversationId, before: number | undefined): ReturnType<ChatServer["chatHistory"]> {
    return this.#server.chatHistory({
      ...(before === undefined ? {} : { before }),
      limit: HISTORY_PAGE,
      ...(id === chat.EVERYONE ? {} : { withParticipantId: id }),
    });
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
