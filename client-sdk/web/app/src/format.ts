/** How figures, times and names are shown. Pure: the time and the locale are arguments. */

/** `1:05` or `1:02:03`, of a duration. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number) => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** The time of day, with the day in front if it is not today's. */
export function moment(atMs: number, nowMs: number, locale?: string, timeZone?: string): string {
  const zone = timeZone === undefined ? {} : { timeZone };
  const day = new Intl.DateTimeFormat(locale, { dateStyle: "short", ...zone });
  const today = day.format(atMs) === day.format(nowMs);
  const time = { hour: "2-digit", minute: "2-digit", ...zone } as const;
  return new Intl.DateTimeFormat(locale, today ? time : { ...time, day: "numeric", month: "short" }).format(
    atMs,
  );
}

/** A point in time for people, such as the beginning of a scheduled meeting. */
export function dateAndTime(atMs: number, locale?: string, timeZone?: string): string {
  const zone = timeZone === undefined ? {} : { timeZone };
  return new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "short", ...zone }).format(atMs);
}

/** `840 kbit/s`, `2.4 Mbit/s`; a dash for nothing. */
export function bitrate(bps: number): string {
  if (bps <= 0) return "–";
  if (bps < 1_000_000) return `${Math.round(bps / 1000)} kbit/s`;
  return `${(bps / 1_000_000).toFixed(1)} Mbit/s`;
}

/** `0.4 %` of a share from 0 to 1. */
export function percent(share: number): string {
  const value = share * 100;
  return `${value === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} %`;
}

/** Whole milliseconds; a dash for nothing. */
export function milliseconds(ms: number): string {
  return ms > 0 ? `${Math.round(ms)} ms` : "–";
}

/** One or two letters that stand for a name. */
export function initials(name: string): string {
  const words = name.split(/[\s.\-_]+/u).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const first = (word: string | undefined) => [...(word ?? "").replace(/^[^\p{L}\p{N}]+/u, "")][0] ?? "";
  const letters = words.length > 1 ? first(words[0]) + first(words[words.length - 1]) : first(words[0]);
  if (letters !== "") return letters.toLocaleUpperCase();
  // A name of pictures: its first one, which may be several characters.
  const [picture] = new Intl.Segmenter().segment(name.trim());
  return picture?.segment ?? "?";
}

/** How many colours there are for avatars (`--avatar-0` … in tokens.css). */
export const AVATAR_COLOURS = 10;

/** The colour of a participant: the same for everybody who looks, as far as the id is the same. FNV-1a. */
export function avatarColour(participantId: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < participantId.length; i++) {
    hash = Math.imul(hash ^ participantId.charCodeAt(i), 0x01000193);
  }
  return (hash >>> 0) % AVATAR_COLOURS;
}

/** Characters as people and the server count them: code points. */
export function characters(value: string): number {
  let count = 0;
  for (const _ of value) count++;
  return count;
}
