/**
 * Whether bytes are a message of Protocol Buffers, as strictly as the server looks at it.
 *
 * The decoder of `@bufbuild/protobuf` replaces bad UTF-8, ignores wire types that do not match, reads nested
 * messages beyond their announced length, and recurses as deep as the bytes say. What has passed here has none of
 * that. Unknown fields are fine (docs/protocol.md 5.2).
 */

import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** How deep messages and groups may be nested; what Protocol Buffers use elsewhere, too. */
const MAX_DEPTH = 100;

const utf8 = /*@__PURE__*/ new TextDecoder("utf-8", { fatal: true });

/** Known fields by number. */
const fieldsOf = /*@__PURE__*/ new WeakMap<DescMessage, Map<number, DescField>>();

/** @throws Error if `bytes` are not a message of type `schema` */
export function checkWellFormed(schema: DescMessage, bytes: Uint8Array): void {
  checkMessage(schema, new BinaryReader(bytes), bytes.length, MAX_DEPTH);
}

function checkMessage(schema: DescMessage, reader: BinaryReader, end: number, depth: number): void {
  if (depth === 0) throw new Error("messages are nested too deep");
  const fields = fieldsByNumber(schema);
  while (reader.pos < end) {
    const [number, wireType] = reader.tag();
    const field = fields.get(number);
    if (field) checkField(field, reader, wireType, end, depth);
    else skipUnknown(reader, number, wireType, depth);
    if (reader.pos > end) throw new Error(`field ${number} goes on after the end of its message`);
  }
}

function checkField(
  field: DescField,
  reader: BinaryReader,
  wireType: WireType,
  end: number,
  depth: number,
): void {
  if (field.fieldKind === "map") {
    const entryEnd = lengthDelimited(reader, wireType, end);
    while (reader.pos < entryEnd) checkMapField(field, reader, entryEnd, depth);
    return;
  }
  if (field.message) {
    checkMessage(field.message, reader, lengthDelimited(reader, wireType, end), depth - 1);
    return;
  }
  const type = field.scalar ?? ScalarType.INT32;
  const isPacked = field.fieldKind === "list" && wireType === WireType.LengthDelimited;
  if (!isPacked || wireTypeOf(type) === WireType.LengthDelimited) {
    checkScalar(type, reader, wireType);
    return;
  }
  const packedEnd = lengthDelimited(reader, wireType, end);
  while (reader.pos < packedEnd) checkScalar(type, reader, wireTypeOf(type));
  if (reader.pos > packedEnd) throw new Error(`packed field ${field.number} goes on after its end`);
}

/** One field of a map entry: 1 is the key, 2 the value. */
function checkMapField(
  map: DescField & { fieldKind: "map" },
  reader: BinaryReader,
  end: number,
  depth: number,
): void {
  const [number, wireType] = reader.tag();
  if (number === 1) checkScalar(map.mapKey, reader, wireType);
  else if (number !== 2) skipUnknown(reader, number, wireType, depth);
  else if (map.message) checkMessage(map.message, reader, lengthDelimited(reader, wireType, end), depth - 1);
  else checkScalar(map.scalar ?? ScalarType.INT32, reader, wireType);
  if (reader.pos > end) throw new Error(`map entry ${map.number} goes on after its end`);
}

/** Whoever calls it sees to it that the value has not gone on after its end. */
function checkScalar(type: ScalarType, reader: BinaryReader, wireType: WireType): void {
  if (wireType !== wireTypeOf(type)) throw new Error(`wire type ${wireType} for a scalar of type ${type}`);
  if (wireType !== WireType.LengthDelimited) {
    skipScalar(reader, wireType);
    return;
  }
  const value = reader.bytes();
  if (type === ScalarType.STRING) utf8.decode(value);
}

function skipUnknown(reader: BinaryReader, number: number, wireType: WireType, depth: number): void {
  if (wireType !== WireType.StartGroup) {
    skipScalar(reader, wireType);
    return;
  }
  if (depth === 0) throw new Error("groups are nested too deep");
  for (;;) {
    const [inner, innerType] = reader.tag();
    if (innerType === WireType.EndGroup) {
      if (inner !== number) throw new Error(`group ${number} ends as ${inner}`);
      return;
    }
    skipUnknown(reader, inner, innerType, depth - 1);
  }
}

function skipScalar(reader: BinaryReader, wireType: WireType): void {
  // Not skip(): it accepts varints of any length.
  if (wireType === WireType.Varint) reader.uint64();
  else reader.skip(wireType);
}

/** Reads the length of what follows and returns where that ends. */
function lengthDelimited(reader: BinaryReader, wireType: WireType, end: number): number {
  if (wireType !== WireType.LengthDelimited) throw new Error(`wire type ${wireType} for what has a length`);
  const valueBytes = reader.uint32();
  if (valueBytes > end - reader.pos) throw new Error("a field goes on after the end of its message");
  return reader.pos + valueBytes;
}

function wireTypeOf(type: ScalarType): WireType {
  switch (type) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return WireType.LengthDelimited;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return WireType.Bit64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return WireType.Bit32;
    default:
      return WireType.Varint;
  }
}

function fieldsByNumber(schema: DescMessage): Map<number, DescField> {
  let fields = fieldsOf.get(schema);
  if (!fields) {
    fields = new Map(schema.fields.map((field) => [field.number, field]));
    fieldsOf.set(schema, fields);
  }
  return fields;
}
