/** The relay itself, with a server that sends everything back. */

import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { expect, test } from "@playwright/test";
import { Relay, seeded } from "../../harness/relay.js";

interface Peer {
  readonly socket: Socket;
  readonly received: string[];
  readonly port: number;
}

async function peer(onMessage?: (peer: Peer, text: string, port: number) => void): Promise<Peer> {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const self: Peer = { socket, received: [], port: socket.address().port };
  socket.on("message", (packet, from) => {
    self.received.push(packet.toString());
    onMessage?.(self, packet.toString(), from.port);
  });
  return self;
}

function send(from: Peer, port: number, text: string): Promise<void> {
  return new Promise((sent, failed) =>
    from.socket.send(text, port, "127.0.0.1", (error) => (error ? failed(error) : sent())),
  );
}

/** A relay, an echoing server behind it, and two clients. */
async function network(options: Parameters<typeof Relay.start>[0] = {}) {
  const relay = await Relay.start(options);
  const server = await peer((self, text, port) => void send(self, port, `echo ${text}`));
  const [first, second] = [await peer(), await peer()];
  relay.connect(server.port);
  const close = async () => {
    await relay.close();
    for (const { socket } of [server, first, second]) socket.close();
  };
  return { relay, server, first, second, close };
}

test("packets go both ways, each client gets its own", async () => {
  const { relay, server, first, second, close } = await network();
  await send(first, relay.port, "a");
  await send(second, relay.port, "b");
  await expect.poll(() => first.received).toEqual(["echo a"]);
  await expect.poll(() => second.received).toEqual(["echo b"]);
  expect([...server.received].sort()).toEqual(["a", "b"]);
  expect(relay.flows.map(({ up, down, lost }) => ({ up, down, lost }))).toEqual([
    { up: 1, down: 1, lost: 0 },
    { up: 1, down: 1, lost: 0 },
  ]);
  await close();
});

test("a cut loses what is sent meanwhile, and only that", async () => {
  const { relay, server, first, close } = await network();
  await send(first, relay.port, "before");
  await expect.poll(() => first.received).toEqual(["echo before"]);
  relay.cut();
  await send(first, relay.port, "meanwhile");
  await expect.poll(() => relay.flows[0]?.lost).toBe(1);
  relay.restore();
  await send(first, relay.port, "after");
  await expect.poll(() => first.received).toEqual(["echo before", "echo after"]);
  expect(server.received).toEqual(["before", "after"]);
  await close();
});

test("a cut can spare flows by their label", async () => {
  const { relay, first, second, close } = await network();
  await send(first, relay.port, "a");
  await expect.poll(() => first.received).toEqual(["echo a"]);
  relay.label("native");
  relay.cut((flow) => flow.label !== "native");
  await send(second, relay.port, "b");
  await send(first, relay.port, "c");
  await expect.poll(() => first.received).toEqual(["echo a", "echo c"]);
  expect(second.received).toEqual([]);
  expect(relay.flows.map(({ label, lost }) => ({ label, lost }))).toEqual([
    { label: "native", lost: 0 },
    { label: "", lost: 1 },
  ]);
  await close();
});

test("packets are late by the delay each way, in order, and a cut loses those on their way", async () => {
  const { relay, first, server, close } = await network({ delayMs: 100 });
  const began = performance.now();
  await send(first, relay.port, "a");
  await send(first, relay.port, "b");
  await expect.poll(() => first.received.length, { intervals: [1] }).toBe(2);
  // Timers of Node may fire up to a millisecond early.
  expect(performance.now() - began).toBeGreaterThanOrEqual(198);
  expect(first.received).toEqual(["echo a", "echo b"]);
  await send(first, relay.port, "c");
  await expect.poll(() => relay.delayed, { intervals: [1] }).toBe(1);
  relay.cut();
  relay.restore();
  await send(first, relay.port, "d");
  await expect.poll(() => first.received).toEqual(["echo a", "echo b", "echo d"]);
  expect(server.received).toEqual(["a", "b", "d"]);
  expect(relay.flows[0]?.lost).toBe(1);
  await close();
});

test("loss has its share, and the same seed the same fate", async () => {
  const fates: number[][] = [];
  for (const seed of [7, 7, 8]) {
    const relay = await Relay.start({ loss: 0.3, seed });
    const [client, server] = [await peer(), await peer()];
    relay.connect(server.port);
    for (let index = 0; index < 100; index += 1) {
      // One at a time: their order is what the fates depend on.
      await send(client, relay.port, String(index));
      await expect
        .poll(() => (relay.flows[0]?.up ?? 0) + (relay.flows[0]?.lost ?? 0), { intervals: [1] })
        .toBe(index + 1);
    }
    await expect.poll(() => server.received.length).toBe(relay.flows[0]?.up);
    fates.push(server.received.map(Number));
    await relay.close();
    client.socket.close();
    server.socket.close();
  }
  expect(fates[0]).toEqual(fates[1]);
  expect(fates[0]).not.toEqual(fates[2]);
  expect(fates[0]?.length).toBeGreaterThan(55);
  expect(fates[0]?.length).toBeLessThan(85);
});

test("the generator is even", () => {
  const random = seeded(1);
  const values = Array.from({ length: 10_000 }, random);
  expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...values)).toBeLessThan(1);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(mean).toBeGreaterThan(0.48);
  expect(mean).toBeLessThan(0.52);
});
