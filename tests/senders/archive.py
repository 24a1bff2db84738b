"""What lies in the archive, item by item: every reader gives one identity for each item."""

import json


def lines(data, account, signal, may_be_torn=False):
    """Every line of an account's signal, parsed. An unreadable line is an error.

    So is a last line without its end, unless it may be torn, by a crash or in the writing: it is skipped then.
    """
    folder = data / "gateway" / "archive" / str(account) / signal
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                if may_be_torn:
                    continue
                raise ValueError(f"{path}: the last line is torn")
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None


def bulk(data, account, key, signal="logs"):
    """Bulk lines by their member `key`."""
    return [line[key] for line in lines(data, account, signal)]


def log_records(data, account):
    """OTLP log records by their body."""
    return [body for request in lines(data, account, "logs") for body in _bodies(request)]


def logs(data, account):
    """Bulk lines by number and OTLP log records by body, also while a gateway writes and after its crash."""
    found = []
    for line in lines(data, account, "logs", may_be_torn=True):
        found += [f"line {line['n']}"] if "n" in line else _bodies(line)
    return found


def spans(data, account):
    """OTLP spans by trace, span and name."""
    return [
        f"{span['traceId']}/{span['spanId']}/{span['name']}"
        for request in lines(data, account, "traces")
        for resource in request.get("resourceSpans", ())
        for scope in resource.get("scopeSpans", ())
        for span in scope.get("spans", ())
    ]


def data_points(data, account):
    """OTLP data points by metric, attributes and time."""
    return [
        point_id(metric["name"], _attributes(point), point["timeUnixNano"])
        for request in lines(data, account, "metrics")
        for resource in request.get("resourceMetrics", ())
        for scope in resource.get("scopeMetrics", ())
        for metric in scope.get("metrics", ())
        for kind in ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
        for point in metric.get(kind, {}).get("dataPoints", ())
    ]


def point_id(name, attributes, time):
    """The identity of a data point, the same for sender and archive."""
    labels = ",".join(f"{key}={value}" for key, value in sorted(attributes.items()))
    return f"{name}{{{labels}}}@{time}"


def samples(data, account):
    """Remote-write samples by series and time."""
    return [
        f"{json.dumps(series['labels'], sort_keys=True)}@{sample['timestamp_ms']}"
        for series in lines(data, account, "metrics")
        for sample in series.get("samples", ())
    ]


def _bodies(request):
    return [
        record["body"]["stringValue"]
        for resource in request.get("resourceLogs", ())
        for scope in resource.get("scopeLogs", ())
        for record in scope.get("logRecords", ())
    ]


def _attributes(point):
    return {attribute["key"]: next(iter(attribute["value"].values())) for attribute in point.get("attributes", ())}
