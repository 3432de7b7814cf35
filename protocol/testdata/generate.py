#!/usr/bin/env python3
"""Writes the test vectors of this folder and the fuzz seeds made from them.

A second implementation of docs/protocol.md, on purpose without anything of the Rust crate: what
both agree on is not just what the encoder happens to do. Needs only Python's standard library;
nobody needs to run it to build or test. Integers over 2^53 are strings, as in protobuf's JSON.
"""

import json
import pathlib
import struct
import uuid

HERE = pathlib.Path(__file__).resolve().parent
SEEDS = HERE.parent.parent / "fuzz" / "seeds"

# --- units ---------------------------------------------------------------------------------

CAMERA = "0192f0c1-2a3b-7c4d-8e5f-001122334455"
VOICE = "0192f0c1-2a3b-7c4d-8e5f-66778899aabb"
NOON = 1_737_028_800_000_000  # 2025-01-16T12:00:00Z in microseconds
TYPES = {0: "audio", 1: "video_key", 2: "video_delta", 0x80: "attach"}
END, DISCARDABLE = 1, 2


def header(frame_type, stream, timestamp, sequence, length, flags, reserved=bytes(6), version=1):
    out = struct.pack(">BB", version, frame_type) + uuid.UUID(stream).bytes
    out += struct.pack(">QQIH", timestamp, sequence, length, flags) + reserved
    assert len(out) == 46
    return out


def unit(name, frame_type, stream, timestamp, sequence, flags, payload=b"", reserved=bytes(6)):
    return {
        "name": name,
        "frame_type": frame_type,
        "frame_type_name": TYPES.get(frame_type, "unknown"),
        "stream_id": stream,
        "timestamp": str(timestamp),
        "sequence": str(sequence),
        "payload_len": len(payload),
        "flags": flags,
        "reserved": reserved.hex(),
        "payload": payload.hex(),
        "wire": (header(frame_type, stream, timestamp, sequence, len(payload), flags, reserved) + payload).hex(),
    }


OPUS = bytes.fromhex("fcfffe")  # 20 ms of Opus silence
UNITS = [
    unit("unit-video-key", 1, CAMERA, NOON, 0, END, bytes.fromhex("deadbeef")),
    unit("unit-video-delta", 2, CAMERA, NOON + 33_333, 1, END, bytes.fromhex("0102030405")),
    unit("unit-audio", 0, VOICE, NOON, 0, END, OPUS),
    unit("unit-audio-second", 0, VOICE, NOON + 20_000, 1, END, OPUS),
    unit("unit-frame-start", 1, CAMERA, NOON + 66_666, 2, 0, b"first half"),
    unit("unit-frame-end", 1, CAMERA, NOON + 66_666, 3, END, b"second"),
    unit("unit-discardable", 2, CAMERA, NOON + 99_999, 4, END | DISCARDABLE, b"\x00"),
    unit("unit-reserved", 2, CAMERA, NOON, 5, 0xFFFD, b"\xff", bytes.fromhex("a1b2c3d4e5f6")),
    unit("unit-attach", 0x80, CAMERA, 0, 0, 0),
    unit("unit-unknown-type", 0x7F, CAMERA, NOON, 6, END, b"from the future"),
    unit("unit-empty-payload", 2, CAMERA, NOON, 7, END),
    unit("unit-max-values", 2, "ffffffff-ffff-ffff-ffff-ffffffffffff", 2**64 - 1, 2**64 - 1, 0xFFFF, b"", b"\xff" * 6),
]
WIRE = {u["name"]: bytes.fromhex(u["wire"]) for u in UNITS}

AUDIO_MAX, VIDEO_MAX = 64 * 1024, 4 * 1024 * 1024


def bad(name, wire, error, code, refused_after=None):
    """refused_after: bytes after which the error is known; null = only when the stream ends."""
    return {"name": name, "wire": wire.hex(), "error": error, "code": code, "refused_after": refused_after}


def over(frame_type, length):
    return header(frame_type, CAMERA, NOON, 0, length, END)


BAD_UNITS = [
    bad("bad-version-0", header(1, CAMERA, NOON, 0, 0, 1, version=0), "UnsupportedVersion", "UNSUPPORTED_VERSION", 1),
    bad("bad-version-2", header(1, CAMERA, NOON, 0, 0, 1, version=2), "UnsupportedVersion", "UNSUPPORTED_VERSION", 1),
    bad("bad-version-one-byte", b"\xff", "UnsupportedVersion", "UNSUPPORTED_VERSION", 1),
    bad("bad-version-after-unit", WIRE["unit-audio"] + b"\x02", "UnsupportedVersion", "UNSUPPORTED_VERSION", 50),
    bad("bad-preamble-as-unit", b"\xd7\x14", "UnsupportedVersion", "UNSUPPORTED_VERSION", 1),
    bad("bad-truncated-first-byte", b"\x01", "Truncated", "MALFORMED_UNIT"),
    bad("bad-truncated-header", WIRE["unit-video-key"][:45], "Truncated", "MALFORMED_UNIT"),
    bad("bad-truncated-payload", WIRE["unit-video-key"][:49], "Truncated", "MALFORMED_UNIT"),
    bad("bad-truncated-unknown", WIRE["unit-unknown-type"][:50], "Truncated", "MALFORMED_UNIT"),
    bad("bad-truncated-second", WIRE["unit-audio"] + WIRE["unit-audio-second"][:-1], "Truncated", "MALFORMED_UNIT"),
    bad("bad-audio-too-large", over(0, AUDIO_MAX + 1), "PayloadTooLarge", "PAYLOAD_TOO_LARGE", 46),
    bad("bad-key-too-large", over(1, VIDEO_MAX + 1), "PayloadTooLarge", "PAYLOAD_TOO_LARGE", 46),
    bad("bad-delta-too-large", over(2, 2**32 - 1), "PayloadTooLarge", "PAYLOAD_TOO_LARGE", 46),
    bad("bad-unknown-too-large", over(0x7F, VIDEO_MAX + 1), "PayloadTooLarge", "PAYLOAD_TOO_LARGE", 46),
    bad("bad-attach-with-payload", over(0x80, 1), "PayloadTooLarge", "PAYLOAD_TOO_LARGE", 46),
]

# --- group preambles -------------------------------------------------------------------------


def quic_varint(value):
    for bits, prefix, size in ((6, 0, 1), (14, 1, 2), (30, 2, 4), (62, 3, 8)):
        if value < 1 << bits:
            return (value | prefix << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def preamble(name, kind, continuation, discontinuity, stream, group, first, extra=b""):
    body = bytes([{"video": 1, "audio": 3}[kind], continuation | discontinuity << 1])
    body += uuid.UUID(stream).bytes + quic_varint(group) + quic_varint(first) + extra
    return {
        "name": name,
        "kind": kind,
        "continuation": continuation,
        "discontinuity": discontinuity,
        "stream_id": stream,
        "group": str(group),
        "first_sequence": str(first),
        # Has fields of a later version: decoders accept it, encoders do not write it.
        "decode_only": bool(extra),
        "wire": (bytes([0xD7, len(body)]) + body).hex(),
    }


PREAMBLES = [
    preamble("preamble-first-group", "video", False, False, CAMERA, 0, 0),
    preamble("preamble-second-group", "video", False, False, CAMERA, 300, 300),
    preamble("preamble-continuation", "video", True, False, CAMERA, 300, 16384),
    preamble("preamble-discontinuity", "video", False, True, CAMERA, 2**30, 2**30),
    preamble("preamble-audio", "audio", False, False, VOICE, 63, 64),
    preamble("preamble-max-values", "video", True, True, CAMERA, 2**62 - 1, 2**62 - 1),
    preamble("preamble-later-fields", "video", False, False, CAMERA, 300, 300, b"\x01\x02\x03"),
]
PRE = {p["name"]: bytes.fromhex(p["wire"]) for p in PREAMBLES}
CAM16 = uuid.UUID(CAMERA).bytes
BAD_PREAMBLES = [
    bad("bad-preamble-magic", WIRE["unit-video-key"], "BadMagic", "MALFORMED_UNIT", 1),
    bad("bad-preamble-too-short", b"\xd7\x13" + b"\x01\x00" + CAM16 + b"\x00", "BadLength", "MALFORMED_UNIT", 2),
    bad("bad-preamble-length-0", b"\xd7\x00", "BadLength", "MALFORMED_UNIT", 2),
    # The first varint says 8 bytes, the length leaves room for 2.
    bad("bad-preamble-varint", b"\xd7\x14" + b"\x01\x00" + CAM16 + b"\xc0\x00", "BadLength", "MALFORMED_UNIT", 22),
    bad("bad-preamble-kind", b"\xd7\x14" + b"\x02\x00" + CAM16 + b"\x00\x00", "UnknownKind", "MALFORMED_UNIT", 22),
    bad("bad-preamble-truncated", PRE["preamble-first-group"][:-1], "Truncated", "MALFORMED_UNIT"),
    bad("bad-group-empty", b"", "Truncated", "MALFORMED_UNIT"),
    bad("bad-group-wrong-stream", PRE["preamble-first-group"] + WIRE["unit-audio"], "WrongStream", "WRONG_STREAM", 71),
    bad("bad-group-version", PRE["preamble-first-group"] + b"\x02", "UnsupportedVersion", "UNSUPPORTED_VERSION", 23),
    bad("bad-group-unit-truncated", PRE["preamble-first-group"] + WIRE["unit-video-key"][:-1], "Truncated", "MALFORMED_UNIT"),
]

# --- datagrams -------------------------------------------------------------------------------


def datagram(name, wire, units, skipped=0, error=None, code=None):
    return {"name": name, "wire": wire.hex(), "units": units, "skipped": skipped, "error": error, "code": code}


A, B = WIRE["unit-audio"], WIRE["unit-audio-second"]
DATAGRAMS = [
    datagram("datagram-one", A, ["unit-audio"]),
    datagram("datagram-two", A + B, ["unit-audio", "unit-audio-second"]),
    datagram("datagram-empty", b"", []),
    datagram("datagram-unknown-between", A + WIRE["unit-unknown-type"] + B, ["unit-audio", "unit-audio-second"], 1),
    datagram("datagram-truncated", A + B[:-1], ["unit-audio"], 0, "Truncated", "MALFORMED_UNIT"),
    datagram("datagram-short-tail", A + b"\x01\x00", ["unit-audio"], 0, "Truncated", "MALFORMED_UNIT"),
    datagram("datagram-bad-version", A + b"\x03" + B, ["unit-audio"], 0, "UnsupportedVersion", "UNSUPPORTED_VERSION"),
    datagram("datagram-too-large", over(0, AUDIO_MAX + 1), [], 0, "PayloadTooLarge", "PAYLOAD_TOO_LARGE"),
]

# --- messages --------------------------------------------------------------------------------


def leb(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def pb(*fields):
    """(number, value) pairs: int = varint, float = 32 bits, str and bytes = length-delimited."""
    out = b""
    for number, value in fields:
        if isinstance(value, float):
            out += leb(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            out += leb(number << 3) + leb(int(value))
        else:
            data = value.encode() if isinstance(value, str) else value
            out += leb(number << 3 | 2) + leb(len(data)) + data
    return out


def message(name, kind, body, as_json):
    return {"name": name, "type": kind, "wire": (leb(len(body)) + body).hex(), "json": as_json}


MEETING = "550e8400-e29b-41d4-a716-446655440000"
ALICE = "0192f0c1-2a3b-7c4d-8e5f-000000000001"
BOB = "0192f0c1-2a3b-7c4d-8e5f-000000000002"
SESSION = "0192f0c1-2a3b-7c4d-8e5f-000000000003"
URL = "https://meet.example.com:4433/v1/media"


def envelope(name, field, field_name, body, as_json, request_id=0, event=0, also=()):
    head = [(1, 1)] + ([(2, request_id)] if request_id else []) + ([(3, event)] if event else [])
    full = {"version": 1}
    if request_id:
        full["requestId"] = str(request_id)
    if event:
        full["eventSequence"] = str(event)
    full[field_name] = as_json
    return message(name, "Envelope", pb(*head, (field, body), *also), full)


LOW, HIGH = str(uuid.uuid5(uuid.UUID(CAMERA), "low")), str(uuid.uuid5(uuid.UUID(CAMERA), "high"))
VP8 = pb((1, "VP8"), (2, 2_500_000), (3, pb((1, 1280), (2, 720), (3, 30))))
SIMULCAST = pb((1, "VP8"), (2, 2_500_000), (3, pb(
    (1, 1280), (2, 720), (3, 30),
    (4, pb((1, "low"), (2, 320), (3, 180), (4, 150_000))),
    (4, pb((1, "high"), (2, 1280), (3, 720), (4, 2_350_000))),
)))
JOIN = pb(
    (1, MEETING), (2, "eyJhbGciOi.example.token"), (3, "Alice"),
    (4, pb((1, "VP9"), (1, "H264"), (2, "Opus"), (3, 1), (4, 16))), (5, 1), (6, 1),
)
MESSAGES = [
    envelope("message-join-request", 10, "joinRequest", JOIN, {
        "meetingId": MEETING, "joinToken": "eyJhbGciOi.example.token", "participantName": "Alice",
        "capabilities": {"videoCodecs": ["VP9", "H264"], "audioCodecs": ["Opus"], "supportsSimulcast": True, "maxVideoStreams": 16},
        "protocolMin": 1, "protocolMax": 1,
    }, request_id=1),
    envelope("message-join-response", 32, "joinResponse", pb(
        (1, ALICE),
        (2, pb((1, BOB), (2, "Bob"), (3, pb((1, CAMERA), (2, 1), (3, VP8))), (4, NOON), (7, pb((2, 1))))),
        (3, pb((1, URL), (2, "media-token"))), (5, 1), (6, b"\x01\x02\x03\x04"), (7, 1), (8, "Team Standup"), (9, NOON),
    ), {
        "participantId": ALICE,
        "existingParticipants": [{
            "participantId": BOB, "name": "Bob", "joinedAt": str(NOON), "state": {"videoOn": True},
            "streams": [{
                "streamId": CAMERA, "streamType": "VIDEO_CAMERA",
                "metadata": {"codec": "VP8", "maxBitrate": 2_500_000, "video": {"width": 1280, "height": 720, "framerate": 30}},
            }],
        }],
        "mediaServer": {"mediaHandlerUrl": URL, "connectionToken": "media-token"},
        "protocolVersion": 1, "resumeTicket": "AQIDBA==", "role": "HOST",
        "meetingDisplayName": "Team Standup", "serverTime": str(NOON),
    }, request_id=1),
    envelope("message-publish-stream", 11, "publishStream", pb((1, CAMERA), (2, 1), (3, SIMULCAST)), {
        "streamId": CAMERA, "streamType": "VIDEO_CAMERA",
        "metadata": {"codec": "VP8", "maxBitrate": 2_500_000, "video": {
            "width": 1280, "height": 720, "framerate": 30,
            "simulcastLayers": [
                {"layerId": "low", "width": 320, "height": 180, "maxBitrate": 150_000},
                {"layerId": "high", "width": 1280, "height": 720, "maxBitrate": 2_350_000},
            ],
        }},
    }, request_id=2),
    envelope("message-subscribe-stream", 13, "subscribeStream",
             pb((1, CAMERA), (2, pb((1, "low"), (2, 500_000)))),
             {"streamId": CAMERA, "options": {"preferredLayer": "low", "maxBitrate": 500_000}}, request_id=3),
    envelope("message-ack", 30, "ack", pb((1, LOW)), {"wireStreamId": LOW}, request_id=3),
    envelope("message-error", 31, "error",
             pb((1, 4), (2, "stream is not published"), (3, pb((1, "field"), (2, "stream_id")))),
             {"code": "NOT_FOUND", "message": "stream is not published", "details": {"field": "stream_id"}}, request_id=4),
    envelope("message-participant-left", 41, "participantLeft", pb((1, BOB), (2, 2)),
             {"participantId": BOB, "reason": "CONNECTION_LOST"}, event=7),
    envelope("message-quality", 60, "streamQualityUpdate", pb((1, CAMERA), (2, 800_000), (3, 0.25), (4, 45)),
             {"streamId": CAMERA, "availableBitrate": 800_000, "packetLoss": 0.25, "rttMs": 45}, event=8),
    message("message-empty-envelope", "Envelope", b"", {}),
    message("message-media-hello", "MediaClientMessage",
            pb((1, pb((1, "media-token"), (2, 1), (3, 1), (4, "groups"), (4, "audio-datagrams")))),
            {"hello": {"connectionToken": "media-token", "protocolMin": 1, "protocolMax": 1, "features": ["groups", "audio-datagrams"]}}),
    message("message-media-welcome", "MediaServerMessage",
            pb((1, pb((1, SESSION), (2, "groups"), (2, "audio-datagrams"), (3, pb((1, AUDIO_MAX), (2, VIDEO_MAX))), (4, NOON), (5, 1)))),
            {"welcome": {
                "sessionId": SESSION, "features": ["groups", "audio-datagrams"],
                "limits": {"maxAudioPayload": AUDIO_MAX, "maxVideoPayload": VIDEO_MAX},
                "serverTime": str(NOON), "protocolVersion": 1,
            }}),
    message("message-media-feedback", "MediaServerMessage", pb((2, pb((1, CAMERA), (2, 1), (4, 1_200_000)))),
            {"publisherFeedback": {"streamId": CAMERA, "keyFrameRequested": True, "targetBitrate": 1_200_000}}),
    message("message-subscriber-feedback", "MediaClientMessage", pb((2, pb((1, CAMERA), (2, 1)))),
            {"subscriberFeedback": {"streamId": CAMERA, "keyFrameRequested": True}}),
    # As on the return half of a publishing stream. `paused` is written although it is false.
    message("message-publisher-feedback", "PublisherFeedback", pb((1, CAMERA), (2, 1), (3, 0), (4, 1_200_000)),
            {"streamId": CAMERA, "keyFrameRequested": True, "paused": False, "targetBitrate": 1_200_000}),
]
# What a peer of a later version of protocol 1 says: fields, messages and values that this one does not know. `json` is
# what is left of it here.
FUTURE = ((1000, 1), (1001, b"\x01\x02\x03"), (1002, 0.5), (1003, pb((1, pb((1, "deep"))))))
NEW_KIND = 9  # of streams, roles, reasons


def later(*fields):
    """Known fields between unknown ones."""
    return pb(FUTURE[0], *fields, *FUTURE[1:])


def future(name, field, field_name, body, as_json, **numbers):
    return envelope(name, field, field_name, body, as_json, **numbers, also=FUTURE)


FUTURE_MESSAGES = [
    # Of clients. The join needs a token: these fields follow those of a join.
    future("future-join-request", 10, "joinRequest", later((4, later((90, 1)))), {"capabilities": {}}, request_id=1),
    future("future-publish-stream", 11, "publishStream", later((1, VOICE), (3, later((1, "Opus"), (4, later((1, 48_000), (2, 2)))))), {
        "streamId": VOICE, "metadata": {"codec": "Opus", "audio": {"sampleRate": 48_000, "channels": 2}},
    }, request_id=2),
    future("future-publish-stream-of-new-type", 11, "publishStream",
           later((1, CAMERA), (2, NEW_KIND), (3, later((1, "Holo")))),
           {"streamId": CAMERA, "streamType": NEW_KIND, "metadata": {"codec": "Holo"}}, request_id=3),
    future("future-update-participant", 16, "updateParticipant", later((4, later((4, 1), (90, 1)))),
           {"change": {"handRaised": True}}, request_id=4),
    message("future-request", "Envelope", pb((1, 1), (2, 5), (1005, later((1, "?")))), {"version": 1, "requestId": "5"}),
    # Of servers: what follows an answer to a join, events, and an answer.
    future("future-join-response", 32, "joinResponse", later((2, later(
        (1, BOB), (2, "Bob"), (3, later((1, CAMERA), (2, NEW_KIND), (3, later((1, "Holo"))))),
        (3, later((1, VOICE), (3, later((1, "Opus"))))), (5, NEW_KIND), (7, later((2, 1), (9, 1))))),
        (3, later()), (10, later((1, "video_participant"), (2, NEW_KIND)))), {
        "existingParticipants": [{
            "participantId": BOB, "name": "Bob", "role": NEW_KIND, "state": {"videoOn": True},
            "streams": [
                {"streamId": CAMERA, "streamType": NEW_KIND, "metadata": {"codec": "Holo"}},
                {"streamId": VOICE, "metadata": {"codec": "Opus"}},
            ],
        }],
        "mediaServer": {}, "rights": {"preset": "video_participant", "audio": NEW_KIND},
    }, request_id=1),
    message("future-event", "Envelope", pb((1, 1), (3, 1), (1006, later((1, "!")))), {"version": 1, "eventSequence": "1"}),
    future("future-stream-published-of-new-type", 42, "streamPublished",
           later((1, BOB), (2, later((1, HIGH), (2, NEW_KIND), (3, later((1, "Holo")))))),
           {"participantId": BOB, "stream": {"streamId": HIGH, "streamType": NEW_KIND, "metadata": {"codec": "Holo"}}}, event=2),
    future("future-meeting-updated", 48, "meetingUpdated", later((2, 1), (3, BOB)),
           {"locked": True, "spotlightParticipantIds": [BOB]}, event=3),
    message("future-notice", "Envelope", pb((1, 1), (1007, later((1, "?")))), {"version": 1}),
    future("future-participant-left", 41, "participantLeft", later((1, BOB), (2, NEW_KIND)),
           {"participantId": BOB, "reason": NEW_KIND}, event=4),
    message("future-answer", "Envelope", pb((1, 1), (2, 2), (1008, later((1, "!")))), {"version": 1, "requestId": "2"}),
    message("future-media-hello", "MediaClientMessage", pb((1, later((4, "groups"), (4, "teleport")))),
            {"hello": {"features": ["groups", "teleport"]}}),
    message("future-media-client-message", "MediaClientMessage", pb((1005, later((1, "?")))), {}),
    message("future-media-welcome", "MediaServerMessage",
            pb((1, later((1, SESSION), (2, "groups"), (2, "teleport"), (3, later((1, AUDIO_MAX), (2, VIDEO_MAX))), (5, 1)))),
            {"welcome": {
                "sessionId": SESSION, "features": ["groups", "teleport"],
                "limits": {"maxAudioPayload": AUDIO_MAX, "maxVideoPayload": VIDEO_MAX}, "protocolVersion": 1,
            }}),
    message("future-media-server-message", "MediaServerMessage", pb((1006, later((1, "!")))), {}),
]
BAD_MESSAGES = [
    bad("bad-message-too-large", leb(65_537), "TooLarge", "MESSAGE_TOO_LARGE", 3),
    bad("bad-message-huge", leb(2**32 - 1), "TooLarge", "MESSAGE_TOO_LARGE", 5),
    bad("bad-message-prefix", b"\xff" * 5, "Malformed", "MALFORMED_MESSAGE", 5),
    bad("bad-message-garbage", b"\x04\xff\xff\xff\xff", "Malformed", "MALFORMED_MESSAGE", 5),
    bad("bad-message-utf8", leb(5) + pb((10, pb((1, b"\xff")))), "Malformed", "MALFORMED_MESSAGE", 6),
    bad("bad-message-truncated", b"\x04\x08\x01", "Truncated", "MALFORMED_MESSAGE"),
    bad("bad-message-truncated-prefix", b"\x80", "Truncated", "MALFORMED_MESSAGE"),
]

# --- codes and layers ------------------------------------------------------------------------

CODES = {
    "NO_ERROR": 0x00, "CANCELLED": 0x01, "DROPPED_GROUP": 0x02, "LAYER_SWITCHED": 0x03,
    "PUBLISHER_GONE": 0x04, "INTERNAL": 0x05, "GOING_AWAY": 0x06, "PROTOCOL_VIOLATION": 0x10,
    "UNSUPPORTED_VERSION": 0x11, "MALFORMED_UNIT": 0x12, "PAYLOAD_TOO_LARGE": 0x13,
    "STREAM_NOT_REGISTERED": 0x14, "WRONG_STREAM": 0x15, "MALFORMED_MESSAGE": 0x16,
    "MESSAGE_TOO_LARGE": 0x17, "UNAUTHORIZED": 0x18, "TIMED_OUT": 0x19, "RATE_LIMITED": 0x1A,
    "CAPACITY_EXCEEDED": 0x1B, "DUPLICATE": 0x1C, "KICKED": 0x1D, "MEETING_ENDED": 0x1E,
    "TOO_SLOW": 0x1F, "NOT_SUBSCRIBED": 0x20,
}


def webtransport(code):
    """Counts up from the start of the range and leaves out the grease points: no formula."""
    point = 0x52E4A40FA8DB
    while code:
        point += 1
        code -= (point - 0x21) % 0x1F != 0
    return point


ERROR_CODES = [{"name": n, "number": v, "webtransport": webtransport(v)} for n, v in CODES.items()]
LAYERS = [
    {"stream_id": s, "layer_id": name, "wire_stream_id": str(uuid.uuid5(uuid.UUID(s), name))}
    for s in (CAMERA, MEETING) for name in ("low", "mid", "high", "0", "Größe", "")
]

# --- output ----------------------------------------------------------------------------------


def write(name, value):
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in value)
    (HERE / name).write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def seed(target, name, data):
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def chunked(sizes, data):
    """Input of the targets with chunks: how many sizes, sizes minus one (repeated), the bytes."""
    return bytes([len(sizes)]) + bytes(size - 1 for size in sizes) + data


def seeds():
    for name, wire in WIRE.items():
        seed("unit_header", name, wire[:46])
    stream = b"".join(WIRE.values())
    seed("unit_stream", "all", chunked([], stream))
    seed("unit_stream", "all-bytewise", chunked([1], stream))
    seed("unit_stream", "all-mixed", chunked([45, 2, 17], stream))
    seed("group_stream", "bytewise", chunked([1], PRE["preamble-second-group"] + WIRE["unit-video-key"] + WIRE["unit-video-delta"]))
    for name, wire in PRE.items():
        seed("group_stream", name, chunked([], wire + WIRE["unit-video-key"] + WIRE["unit-video-delta"]))
    for row in BAD_UNITS:
        seed("unit_stream", row["name"], chunked([7], bytes.fromhex(row["wire"])))
    for row in BAD_PREAMBLES:
        seed("group_stream", row["name"], chunked([7], bytes.fromhex(row["wire"])))
    for row in DATAGRAMS:
        seed("datagram", row["name"], bytes.fromhex(row["wire"]))
    for row in MESSAGES + FUTURE_MESSAGES + BAD_MESSAGES:
        seed("signaling_envelope", row["name"], chunked([5, 11], bytes.fromhex(row["wire"])))
    for row in MESSAGES:
        if row["name"] == "message-publish-stream":
            whole = bytes.fromhex(row["wire"]) * 3
            seed("signaling_envelope", "three-messages", chunked([1], whole))
    # Four bytes per operation: kind and stream, sequence number, size, milliseconds passed.
    seed("sequencer", "in-order", bytes([0, 0, 0, 0]) + b"".join(bytes([1, n, 3, 1]) for n in range(8)))
    seed("sequencer", "two-groups", bytes([0, 0, 0, 0, 4, 8, 0, 0]) + b"".join(
        bytes([1, n, 3, 0, 5, 8 + n, 3, 0]) for n in range(4)) + bytes([2, 0, 0, 0, 6, 0, 0, 0]))
    seed("sequencer", "gap-and-wait", bytes([0, 0, 0, 0, 1, 0, 1, 0, 4, 9, 0, 0, 5, 9, 200, 10, 3, 0, 0, 250]))


write("units.json", UNITS)
write("bad_units.json", BAD_UNITS)
write("preambles.json", PREAMBLES)
write("bad_preambles.json", BAD_PREAMBLES)
write("datagrams.json", DATAGRAMS)
write("messages.json", MESSAGES)
write("future_messages.json", FUTURE_MESSAGES)
write("bad_messages.json", BAD_MESSAGES)
write("error_codes.json", ERROR_CODES)
write("layers.json", LAYERS)
seeds()
