"""Logs COUNT numbered lines through logzio-python-handler: URL TOKEN_FILE COUNT. Prints the numbers."""

import json
import logging
import pathlib
import sys

from logzio.handler import LogzioHandler

url, token_file, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
handler = LogzioHandler(
    token_file.read_text().strip(), logzio_type="senders", url=url, backup_logs=False, logs_drain_timeout=1
)
logger = logging.getLogger("senders")
logger.setLevel(logging.INFO)
logger.propagate = False
logger.addHandler(handler)
for n in range(count):
    logger.info('line %d says äöü and "quoted"', n, extra={"n": n})
handler.flush()
print(json.dumps(list(range(count))))
