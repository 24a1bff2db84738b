"""Exports COUNT numbered items with the OTel SDK and prints their ids.

SIGNAL TRANSPORT COMPRESSION ENDPOINT TOKEN_FILE COUNT.

Data points are counted in the exporter, at every export; records and spans where they are made.
"""

import importlib
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import grpc
from opentelemetry.exporter.otlp.proto.http import Compression

from archive import point_id

LONG_MS = 3_600_000


def main():
    signal, transport, compression, endpoint, token_file, count = sys.argv[1:]
    token = pathlib.Path(token_file).read_text().strip()
    exporter = make_exporter(signal, transport, compression, endpoint, token)
    results = watch(exporter)
    ids = {"logs": export_logs, "traces": export_spans, "metrics": export_metrics}[signal](exporter, int(count))
    failed = [result for result in results if result.name != "SUCCESS"]
    if failed or not results:
        sys.exit(f"{len(failed)} of {len(results)} exports failed")
    print(json.dumps(ids))


def make_exporter(signal, transport, compression, endpoint, token):
    package, name = {
        "logs": ("_log_exporter", "OTLPLogExporter"),
        "metrics": ("metric_exporter", "OTLPMetricExporter"),
        "traces": ("trace_exporter", "OTLPSpanExporter"),
    }[signal]
    exporter = getattr(importlib.import_module(f"opentelemetry.exporter.otlp.proto.{transport}.{package}"), name)
    if transport == "grpc":
        compressions = {"gzip": grpc.Compression.Gzip, "none": grpc.Compression.NoCompression}
        return exporter(
            endpoint=endpoint,
            insecure=True,
            headers=(("authorization", f"Bearer {token}"),),
            compression=compressions[compression],
        )
    return exporter(
        endpoint=f"{endpoint}/v1/{signal}",
        headers={"Authorization": f"Bearer {token}"},
        compression=Compression(compression),
    )


def watch(exporter):
    """The result of each export, as they come."""
    results, export = [], exporter.export

    def watched(*arguments, **options):
        results.append(export(*arguments, **options))
        return results[-1]

    exporter.export = watched
    return results


def export_logs(exporter, count):
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("senders")
    bodies = [f"record {n}" for n in range(count)]
    for body in bodies:
        now = time.time_ns()
        logger.emit(
            LogRecord(
                timestamp=now,
                observed_timestamp=now,
                severity_text="INFO",
                severity_number=SeverityNumber.INFO,
                body=body,
                attributes={"ratio": 0.5, "is_good": True, "list": ["ä", "b"]},
            )
        )
    provider.force_flush()
    provider.shutdown()
    return bodies


def export_spans(exporter, count):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("senders")
    ids = []
    with tracer.start_as_current_span("root") as root:
        ids.append(span_id(root))
        for n in range(count - 1):
            with tracer.start_as_current_span(f"span {n}", attributes={"n": n}) as span:
                span.add_event("event", {"ratio": 0.25})
                ids.append(span_id(span))
    provider.force_flush()
    provider.shutdown()
    return ids


def span_id(span):
    context = span.get_span_context()
    return f"{context.trace_id:032x}/{context.span_id:016x}/{span.name}"


def export_metrics(exporter, count):
    """Four kinds of points with ten attribute sets, exported until `count` points are reached."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    ids, export = [], exporter.export

    def counted(data, *arguments, **options):
        ids.extend(
            point_id(metric.name, point.attributes, point.time_unix_nano)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        )
        return export(data, *arguments, **options)

    exporter.export = counted
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=LONG_MS)])
    meter = provider.get_meter("senders")
    counter = meter.create_counter("requests", unit="1")
    balance = meter.create_up_down_counter("balance")
    gauge = meter.create_gauge("temperature", unit="Cel")
    histogram = meter.create_histogram("latency", unit="s")
    while len(ids) < count:
        for n in range(10):
            attributes = {"worker": f"w{n}"}
            counter.add(n, attributes)
            balance.add(-n, attributes)
            gauge.set(n / 3, attributes)
            histogram.record(n / 10, attributes)
        provider.force_flush()
    provider.shutdown()
    return ids


main()
