import type { StreamStatistics } from "@darktower/client";
import { bitrate, milliseconds, percent } from "../format.js";
import type { Session } from "../session.js";
import { text } from "../text.js";
import { Dialog } from "../ui/dialog.js";

const t = text.statistics;

interface Column {
  readonly title: string;
  readonly value: (stream: StreamStatistics, session: Session) => string;
}

const size = (stream: StreamStatistics) => (stream.width > 0 ? `${stream.width}×${stream.height}` : "–");
const rate = (stream: StreamStatistics) => (stream.paused ? t.paused : bitrate(stream.bitrateBps));
const fps = (stream: StreamStatistics) => (stream.type === "audio" ? "–" : stream.framesPerSecond.toFixed(0));

const SENT: readonly Column[] = [
  { title: t.what, value: (stream) => t.kinds[stream.type] },
  { title: t.codec, value: (stream) => stream.codec },
  { title: t.layer, value: (stream) => stream.layerId || "–" },
  { title: t.size, value: size },
  { title: t.fps, value: fps },
  { title: t.rate, value: rate },
  { title: t.dropped, value: (stream) => String(stream.framesDropped) },
];

const RECEIVED: readonly Column[] = [
  { title: t.who, value: (stream, session) => session.nameOf(stream.participantId) },
  { title: t.what, value: (stream) => t.kinds[stream.type] },
  { title: t.codec, value: (stream) => stream.codec },
  { title: t.layer, value: (stream) => stream.layerId || "–" },
  { title: t.size, value: size },
  { title: t.fps, value: fps },
  { title: t.rate, value: rate },
  { title: t.loss, value: (stream) => percent(stream.loss) },
  { title: t.jitter, value: (stream) => milliseconds(stream.jitterMs) },
  { title: t.buffer, value: (stream) => milliseconds(stream.bufferMs) },
  {
    title: t.latency,
    value: (stream) => `${milliseconds(stream.latencyP50Ms)} / ${milliseconds(stream.latencyP95Ms)}`,
  },
  {
    title: t.freezes,
    value: (stream) =>
      stream.type === "audio" ? "–" : `${stream.freezes} (${Math.round(stream.freezeMs)} ms)`,
  },
  {
    title: t.concealed,
    value: (stream) => (stream.type === "audio" ? milliseconds(stream.concealedMs) : "–"),
  },
  {
    title: t.sync,
    value: (stream) => (stream.skewMs === undefined ? "–" : `${Math.round(stream.skewMs)} ms`),
  },
];

function Streams({
  title,
  columns,
  streams,
  session,
}: {
  readonly title: string;
  readonly columns: readonly Column[];
  readonly streams: readonly StreamStatistics[];
  readonly session: Session;
}) {
  if (streams.length === 0) return null;
  return (
    <section>
      <h3>{title}</h3>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by keyboard */}
      <section class="table-holder" tabIndex={0} aria-label={title}>
        <table class="table">
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column.title} scope="col">
                  {column.title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {streams.map((stream) => (
              <tr key={`${stream.streamId} ${stream.layerId}`}>
                {columns.map((column) => (
                  <td key={column.title}>{column.value(stream, session)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </section>
  );
}

/** Figures of every stream, for whoever wants to know. */
export function StatisticsDialog({
  session,
  onClose,
}: {
  readonly session: Session;
  readonly onClose: () => void;
}) {
  const statistics = session.statistics.value;
  return (
    <Dialog title={t.title} onClose={onClose} wide>
      {statistics ? (
        <div class="statistics">
          <dl class="figures-row">
            {[
              [t.rtt, milliseconds(statistics.rttMs)],
              [t.sending, bitrate(statistics.sendBps)],
              [t.receiving, bitrate(statistics.receiveBps)],
              [t.downlink, bitrate(statistics.downlinkBps)],
              [t.loss, percent(statistics.downlinkLoss)],
              [t.score, statistics.score > 0 ? statistics.score.toFixed(1) : "–"],
              [t.joinTime, milliseconds(statistics.joinMs)],
            ].map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
          <Streams
            title={t.outgoing}
            columns={SENT}
            streams={statistics.streams.filter((stream) => stream.direction === "outgoing")}
            session={session}
          />
          <Streams
            title={t.incoming}
            columns={RECEIVED}
            streams={statistics.streams.filter((stream) => stream.direction === "incoming")}
            session={session}
          />
        </div>
      ) : (
        <p class="muted">{t.waiting}</p>
      )}
    </Dialog>
  );
}
