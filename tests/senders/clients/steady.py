"""Logs COUNT lines by logzio-python-handler and COUNT records by the OTel SDK, at 200 a second each.

BULK OTLP TOKEN_FILE COUNT. Prints the ids of both.
"""

import json
import logging
import pathlib
import sys
import time

from logzio.handler import LogzioHandler
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

bulk, otlp, token_file, count = sys.argv[1:]
token = pathlib.Path(token_file).read_text().strip()
handler = LogzioHandler(token, url=bulk, backup_logs=False, logs_drain_timeout=0.1, retries_no=20, retry_timeout=0.5)
lines = logging.getLogger("steady")
lines.setLevel(logging.INFO)
lines.propagate = False
lines.addHandler(handler)
provider = LoggerProvider()
exporter = OTLPLogExporter(endpoint=f"{otlp}/v1/logs", headers={"Authorization": f"Bearer {token}"}, timeout=60)
provider.add_log_record_processor(BatchLogRecordProcessor(exporter, schedule_delay_millis=100, max_queue_size=1 << 16))
records = provider.get_logger("steady")
for n in range(int(count)):
    lines.info("line %d", n, extra={"n": n})
    records.emit(LogRecord(timestamp=time.time_ns(), body=f"record {n}"))
    time.sleep(0.005)
handler.flush()
provider.force_flush()
provider.shutdown()
print(json.dumps([f"{kind} {n}" for kind in ("line", "record") for n in range(int(count))]))
