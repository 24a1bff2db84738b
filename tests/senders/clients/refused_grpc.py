"""Calls Export with a body of its own making and a bad token and prints how often each status was seen.

ADDRESS TOKEN BODY_FILE COUNT.
"""

import collections
import json
import pathlib
import sys

import grpc

address, token, body_file, count = sys.argv[1:]
body = pathlib.Path(body_file).read_bytes()
outcomes = collections.Counter()
with grpc.insecure_channel(address) as channel:
    export = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
    for _ in range(int(count)):
        try:
            export(body, timeout=20, metadata=(("authorization", f"Bearer {token}"),))
            outcomes["OK"] += 1
        except grpc.RpcError as error:
            outcomes[error.code().name] += 1
print(json.dumps(outcomes))
