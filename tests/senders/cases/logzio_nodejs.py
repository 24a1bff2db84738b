"""logzio-nodejs ships log bulk, compressed and not."""

import archive

COUNT = 1000


def run(stage):
    gateway = stage.gateway()
    for account, compress in (("plain", "false"), ("gzip", "true")):
        token_file = stage.folder / f"{account}.token"
        made = gateway.cli("account", "create", "--name", account)
        token_file.write_text(gateway.new_token(account, "logs")["token"])
        sent = stage.client("logzio_logger.mjs", gateway.ports["bulk"], token_file, COUNT, compress)
        stage.sent_equals_archived(f"logzio-nodejs, {account}", sent, archive.bulk(gateway.data, made["id"], "n"))
