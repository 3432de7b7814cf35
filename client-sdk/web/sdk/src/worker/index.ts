/** The worker of a meeting: everything but capture, sound output and the page. */

import { errorToData } from "../error.js";
import { MeetingWorker } from "./meeting.js";
import type { Answer, CallName, FromWorker, Parameter, ToWorker } from "./port.js";

const scope = self as unknown as {
  postMessage(message: FromWorker, transfer?: Transferable[]): void;
  onmessage: ((message: MessageEvent<ToWorker>) => void) | null;
};

const meeting = new MeetingWorker((message) => scope.postMessage(message));

type Handlers = { [K in CallName]: (parameter: Parameter<K>) => Answer<K> | Promise<Answer<K>> };

const handlers: Handlers = {
  join: (parameters) => meeting.join(parameters),
  leave: () => nothing(meeting.leave()),
  command: (command) => meeting.command(command),
  chatHistory: (query) => meeting.chatHistory(query),
  publish: ({ stream, source }) => nothing(meeting.publish(stream, source)),
  replaceSource: ({ streamId, source }) => nothing(meeting.replaceSource(streamId, source)),
  setEnabled: ({ streamId, enabled }) => nothing(meeting.setEnabled(streamId, enabled)),
  unpublish: ({ streamId }) => nothing(meeting.unpublish(streamId)),
  subscribe: ({ streamId, options, canvas }) => nothing(meeting.subscribe(streamId, options, canvas)),
  setOptions: ({ streamId, options }) => nothing(meeting.setOptions(streamId, options)),
  unsubscribe: ({ streamId }) => nothing(meeting.unsubscribe(streamId)),
  subscribeAuto: (options) => nothing(meeting.subscribeAuto(options)),
  attach: ({ streamId, canvas }) => nothing(meeting.attach(streamId, canvas)),
  setVolume: ({ participantId, gain }) => nothing(meeting.setVolume(participantId, gain)),
  statistics: () => meeting.statistics(),
};

async function nothing(done: void | Promise<void>): Promise<undefined> {
  await done;
  return undefined;
}

async function answer(id: number, name: CallName, parameter: unknown): Promise<void> {
  try {
    const handler = handlers[name] as (parameter: unknown) => unknown;
    const value = await handler(parameter);
    meeting.flush();
    scope.postMessage({ type: "answer", id, value });
  } catch (error) {
    scope.postMessage({ type: "failed", id, error: errorToData(error) });
  }
}

scope.onmessage = ({ data }) => {
  switch (data.type) {
    case "call":
      void answer(data.id, data.name, data.parameter);
      break;
    case "clock":
      meeting.setClock(data.sample);
      break;
    case "online":
      meeting.hurry();
      break;
    case "abort":
      meeting.abort();
      break;
  }
};
