import { create, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import {
  DoubleValueSchema,
  FloatValueSchema,
  SourceCodeInfo_LocationSchema,
  StructSchema,
} from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { SubscribeAutoSchema } from "./gen/darktower/v1/signaling_pb.js";
import { Random, unhex } from "./testing.js";
import { checkWellFormed } from "./well_formed.js";

/** A tree of maps and lists, which the messages of the protocol do not have. */
function nested(random: Random, depth: number): JsonObject {
  const leaf = () => random.pick<JsonObject[string]>([null, true, 1.5, "ä", []]);
  const entries = Array.from({ length: random.below(4) }, (_, i) => [
    `key ${i}`,
    depth > 0 && random.once(2) ? nested(random, depth - 1) : leaf(),
  ]);
  return Object.fromEntries(entries);
}

test("what is encoded is well formed, also with maps of messages", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const bytes = toBinary(StructSchema, fromJson(StructSchema, nested(new Random(seed), 5)));
    checkWellFormed(StructSchema, bytes);
    // Cut anywhere but between the entries, it is not.
    if (bytes.length > 0) expect(() => checkWellFormed(StructSchema, bytes.subarray(0, -1))).toThrow();
  }
  checkWellFormed(DoubleValueSchema, toBinary(DoubleValueSchema, create(DoubleValueSchema, { value: 1 })));
  checkWellFormed(FloatValueSchema, toBinary(FloatValueSchema, create(FloatValueSchema, { value: 1 })));
});

test("messages may be nested 100 deep", () => {
  const deep = (depth: number) => {
    let value: JsonObject = {};
    // Each level is a struct and a value in it.
    for (let level = 1; level < depth; level += 2) value = { a: value };
    return toBinary(StructSchema, fromJson(StructSchema, value));
  };
  checkWellFormed(StructSchema, deep(99));
  expect(() => checkWellFormed(StructSchema, deep(101))).toThrow("nested too deep");
});

test("numbers may be packed or not", () => {
  checkWellFormed(SubscribeAutoSchema, unhex("12020102"));
  checkWellFormed(SubscribeAutoSchema, unhex("10011002"));
  checkWellFormed(SourceCodeInfo_LocationSchema, unhex("0a03018002"));
  expect(() => checkWellFormed(SubscribeAutoSchema, unhex("12028001"))).not.toThrow();
  expect(() => checkWellFormed(SubscribeAutoSchema, unhex("1202018000"))).toThrow("goes on after its end");
  expect(() => checkWellFormed(SubscribeAutoSchema, unhex("120301"))).toThrow("after the end of its message");
});

test("an entry of a map ends where it says", () => {
  checkWellFormed(StructSchema, unhex("0a070a016112022001"));
  // With an unknown field between key and value.
  checkWellFormed(StructSchema, unhex("0a090a0161180512022001"));
  // A value that is longer than its entry, a key that is a number, a key and an unknown field that are longer.
  for (const wire of ["0a070a016112032001", "0a020801", "0a030a0261", "0a040a01611805"]) {
    expect(() => checkWellFormed(StructSchema, unhex(wire))).toThrow();
  }
});
