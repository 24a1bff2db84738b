"""After a mixed load of good and bad requests the books balance to the item, and promtool is content with /metrics."""

import collections
import concurrent.futures
import gzip
import http.client
import random
import re
import socket

import archive
import bodies
from process import wait_for

THREADS = 8
JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
WRITE = {**PROTOBUF, "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
OVERSIZED = b'{"pad":"' + b"x" * 500_001 + b'"}\n'
NINE_BAD = b"no json\n[1]\n" + OVERSIZED * 3 + b"\n  \n{}\n\n"

Kind = collections.namedtuple(
    "Kind", "name times send status signal items delivered refused bytes", defaults=[None, 0, 0, {}, 0]
)


def run(stage):
    gateway = stage.gateway()
    account = gateway.cli("account", "create", "--name", "mixed")["id"]
    tokens = {signal: gateway.new_token("mixed", signal)["token"] for signal in ("logs", "metrics", "traces")}
    kinds = exact(gateway, tokens)
    load(stage, kinds)
    books = gateway.books(account)
    for signal in tokens:
        equals_what_was_sent(stage, signal, books[signal], [kind for kind in kinds if kind.signal == signal])
    in_archive = {
        "logs": len(archive.logs(gateway.data, account)),
        "metrics": len(archive.samples(gateway.data, account)),
        "traces": len(archive.spans(gateway.data, account)),
    }
    for signal, archived in in_archive.items():
        delivered = books[signal]["delivered"]["items"]
        stage.check(
            f"books, {signal}: delivered lies in the archive", delivered == archived > 0, f"{delivered}, {archived}"
        )
    before = books
    load(stage, hostile(gateway, tokens))
    wait_for("the cut-off bodies are filed", lambda: is_filed(gateway.books(account)), 60)
    books = gateway.books(account)
    for signal in tokens:
        balances(stage, signal, books[signal])
    new_items = books["logs"]["delivered"]["items"] - before["logs"]["delivered"]["items"]
    stage.check("books: hostile bodies deliver nothing", new_items == 0, f"{new_items} items")
    metrics_say_the_same(stage, gateway, account)


def exact(gateway, tokens):
    """Requests whose every item is known before: name, how often, how, status, and what they add to the books."""
    bulk, otlp, write = (gateway.ports[door] for door in ("bulk", "otlp_http", "remote_write"))
    logs, metrics, traces = (bearer(tokens[signal]) for signal in ("logs", "metrics", "traces"))
    good, packed = bodies.lines(50), bodies.lines(200, 100)
    mixed, junk = bodies.lines(10) + NINE_BAD, b"no json\n" * 3
    records, spans = bodies.otlp_logs(20), bodies.otlp_traces(30)
    samples = bodies.write_request(10, 5)
    gz = {"Content-Encoding": "gzip"}

    def to(port, path, body, headers):
        return lambda: post(port, path, body, headers)

    return [
        Kind("bulk", 40, to(bulk, "/", good, logs), 200, "logs", 50, 50, {}, len(good)),
        Kind("bulk by query", 10, to(bulk, f"/?token={tokens['logs']}&type=x", good, {}), 200,
             "logs", 50, 50, {}, len(good)),
        Kind("bulk, gzip", 20, to(bulk, "/", gzip.compress(packed), logs | gz), 200, "logs", 200, 200, {}, len(packed)),
        Kind("bulk, empty", 10, to(bulk, "/", b"", logs), 200, "logs", 0, 0, {}, 0),
        Kind("bulk, bad lines among good", 10, to(bulk, "/", mixed, logs), 400, "logs", 19, 10,
             {"too_large": 3, "no_good_line": 6}, len(mixed)),
        Kind("bulk, bad lines alone", 10, to(bulk, "/", junk, logs), 400, "logs", 3, 0, {"no_good_line": 3}, len(junk)),
        Kind("OTLP logs", 20, to(otlp, "/v1/logs", records, logs | JSON), 200, "logs", 20, 20, {}, len(records)),
        Kind("OTLP traces, gzip", 20, to(otlp, "/v1/traces", gzip.compress(spans), traces | JSON | gz), 200,
             "traces", 30, 30, {}, len(spans)),
        Kind("remote write", 20, to(write, "/", bodies.snappy(samples), metrics | WRITE), 204,
             "metrics", 50, 50, {}, len(samples)),
        Kind("wrong signal", 10, to(otlp, "/v1/logs", records, metrics | JSON), 403),
        Kind("unknown token", 10, to(bulk, "/", good, bearer("sendersSendersSendersSendersSend")), 401),
        Kind("no token", 10, to(bulk, "/", good, {}), 401),
        Kind("unknown path", 10, to(bulk, "/nowhere", good, logs), 404),
        Kind("wrong content type", 10, to(otlp, "/v1/logs", records, logs | {"Content-Type": "text/html"}), 415),
        Kind("announced past the ceiling", 5, lambda: announced(bulk, logs, 11 << 20), 413),
    ]  # fmt: skip


def hostile(gateway, tokens):
    """Requests of which only the status is known before: how much of them is read depends on how they arrive."""
    bulk, otlp, write = (gateway.ports[door] for door in ("bulk", "otlp_http", "remote_write"))
    logs, metrics, traces = (bearer(tokens[signal]) for signal in ("logs", "metrics", "traces"))
    bomb = gzip.compress(bytes(64 << 20))
    good = bodies.otlp_traces(1000)
    torn = bodies.snappy(bodies.write_request(10, 5))[:-7]
    gz = {"Content-Encoding": "gzip"}
    return [
        Kind("cut off", 10, lambda: cut_off(bulk, logs, bodies.lines(100)), None),
        Kind("cut off chunk", 10, lambda: cut_off(bulk, logs, bodies.lines(100), is_chunked=True), None),
        Kind("past the ceiling in chunks", 3, lambda: chunked(bulk, logs, bodies.lines(1100, 10_000)), 413),
        Kind("gzip bomb", 3, lambda: post(bulk, "/", bomb, logs | gz), 413),
        Kind("no gzip at all", 5, lambda: post(bulk, "/", b"plain text", logs | gz), 400),
        Kind("OTLP JSON cut short", 5, lambda: post(otlp, "/v1/traces", good[:-9], traces | JSON), 400),
        Kind("OTLP protobuf that is none", 5, lambda: post(otlp, "/v1/traces", b"\xff" * 500, traces | PROTOBUF), 400),
        Kind("snappy cut short", 5, lambda: post(write, "/", torn, metrics | WRITE), 400),
    ]


# === senders ===


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def post(port, path, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def chunked(port, headers, body):
    """In chunks, so that nothing announces how much it will be."""
    return post(port, "/", iter([body[at : at + 65_536] for at in range(0, len(body), 65_536)]), headers)


def announced(port, headers, length):
    """A head that announces more than it may, and never a body."""
    return read_status(port, head(headers, f"Content-Length: {length}"))


def cut_off(port, headers, body, is_chunked=False):
    """Half of a body, then the end of the connection."""
    half = body[: len(body) // 2]
    if is_chunked:
        request = head(headers, "Transfer-Encoding: chunked") + f"{len(body):x}\r\n".encode() + half
    else:
        request = head(headers, f"Content-Length: {len(body)}") + half
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)


def head(headers, length):
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST / HTTP/1.1\r\nHost: localhost\r\n{fields}{length}\r\n\r\n".encode()


def read_status(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        answer = connection.makefile("rb").readline()
        return int(answer.split()[1])


def load(stage, kinds):
    """All of it at once, in an order that is mixed and the same in every run."""
    jobs = [kind for kind in kinds for _ in range(kind.times)]
    random.Random(1).shuffle(jobs)
    seen = collections.defaultdict(collections.Counter)
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for kind, status in zip(jobs, pool.map(outcome, jobs), strict=True):
            seen[kind.name][status] += 1
    for kind in kinds:
        is_good = seen[kind.name] == {kind.status: kind.times}
        stage.check(f"mixed load, {kind.name}", is_good, dict(seen[kind.name]))


def outcome(kind):
    try:
        return kind.send()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


# === what the books must say ===


def equals_what_was_sent(stage, signal, page, kinds):
    want = collections.Counter()
    for kind in kinds:
        want["received"] += kind.times * kind.items
        want["bytes"] += kind.times * kind.bytes
        want["delivered"] += kind.times * kind.delivered
        for reason, items in kind.refused.items():
            want[reason] += kind.times * items
    have = collections.Counter(
        received=page["received"]["items"], bytes=page["received"]["bytes"], delivered=page["delivered"]["items"]
    )
    have.update({reason: tally["items"] for reason, tally in page["refused"].items()})
    stage.check(
        f"books, {signal}: as sent", +have == +want, dict(have) if have == want else f"{dict(have)}, sent {dict(want)}"
    )
    balances(stage, signal, page)


def balances(stage, signal, page):
    for unit in ("items", "bytes"):
        refused = sum(tally[unit] for tally in page["refused"].values())
        carried, delivered, spooled, lost, in_flight = (
            page[column][unit] for column in ("carried", "delivered", "spooled", "lost", "in_flight")
        )
        received = page["received"][unit]
        is_good = received + carried == delivered + spooled + refused + lost + in_flight and in_flight == 0
        detail = (
            f"received {received} + carried {carried} = delivered {delivered} + spooled {spooled}"
            f" + refused {refused} + lost {lost} + in flight {in_flight}"
        )
        stage.check(f"books, {signal}, {unit}: balance", is_good, detail)


def is_filed(books):
    """Whether bodies that were cut off have left a trace of bytes: refused or lost, but not forgotten."""
    page = books["logs"]
    return page["refused"].get("body_cut_off", {"bytes": 0})["bytes"] + page["lost"]["bytes"] > 0


def metrics_say_the_same(stage, gateway, account):
    _, text = gateway.operate("/metrics")
    page = stage.folder / "metrics"
    page.write_text(text)
    done = stage.command(stage.binaries / "promtool", "check", "metrics", text=text)
    said = (done.stdout + done.stderr).strip()
    stage.check(
        "promtool check metrics",
        done.returncode == 0 and not said,
        said or f"content with {len(text.splitlines())} lines",
    )
    books = [gateway.books(number) for number in (1, account)]
    for column in ("received", "delivered", "lost"):
        for signal in ("logs", "metrics", "traces"):
            # What is lost has its reasons beside it.
            found = re.findall(rf'(?m)^wharfinger_items_{column}_total\{{signal="{signal}"[^}}]*\}} (\d+)$', text)
            have = sum(int(items) for items in found)
            want = sum(book[signal][column]["items"] for book in books)
            stage.check(
                f"/metrics, {signal} {column}", found and have == want, f"{have} in {len(found)} series, books {want}"
            )
