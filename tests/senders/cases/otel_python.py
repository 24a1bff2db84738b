"""The OTel Python SDK exports logs, metrics and traces over HTTP and gRPC, with gzip and without."""

import archive

COUNT = 1000
READ = {"logs": archive.log_records, "metrics": archive.data_points, "traces": archive.spans}


def run(stage):
    gateway = stage.gateway()
    endpoints = {"http": gateway.url("otlp_http"), "grpc": f"127.0.0.1:{gateway.ports['otlp_grpc']}"}
    for transport, endpoint in endpoints.items():
        for compression in ("none", "gzip"):
            # An account of its own for each way, so that each is counted by itself.
            account = f"{transport}-{compression}"
            made = gateway.cli("account", "create", "--name", account)
            for signal, read in READ.items():
                token_file = stage.folder / f"{account}-{signal}.token"
                token_file.write_text(gateway.new_token(account, signal)["token"])
                sent = stage.client("otel.py", signal, transport, compression, endpoint, token_file, COUNT)
                name = f"OTel Python, {signal} over {transport}, {compression}"
                stage.sent_equals_archived(name, sent, read(gateway.data, made["id"]))
