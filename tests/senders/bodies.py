"""Bodies made by hand, where a real sender would not make them: remote write, and bulk lines of every kind."""

import json
import struct


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, payload):
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def write_request(series, samples):
    """`prometheus.WriteRequest` with `series` time series of `samples` samples each."""
    body = b""
    for n in range(series):
        labels = field(1, field(1, b"__name__") + field(2, b"senders_total"))
        labels += field(1, field(1, b"n") + field(2, str(n).encode()))
        points = b"".join(
            field(2, b"\x09" + struct.pack("<d", sample) + b"\x10" + varint(1_700_000_000_000 + sample))
            for sample in range(samples)
        )
        body += field(1, labels + points)
    return body


def snappy(body):
    """Snappy's block format with literals alone."""
    out = varint(len(body))
    for start in range(0, len(body), 60):
        chunk = body[start : start + 60]
        out += bytes([(len(chunk) - 1) << 2]) + chunk
    return out


def lines(count, size=0):
    """`count` good bulk lines, each with a member of `size` bytes."""
    return b"".join(json.dumps({"n": n, "pad": "x" * size}).encode() + b"\n" for n in range(count))


def otlp_logs(count):
    """An OTLP-JSON logs request."""
    records = [{"timeUnixNano": "1", "body": {"stringValue": f"record {n}"}} for n in range(count)]
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).encode()


def otlp_traces(count):
    """An OTLP-JSON traces request."""
    spans = [{"traceId": f"{n + 1:032x}", "spanId": f"{n + 1:016x}", "name": f"span {n}"} for n in range(count)]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
