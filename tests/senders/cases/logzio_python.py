"""logzio-python-handler ships log bulk."""

import archive

COUNT = 2000


def run(stage):
    gateway = stage.gateway()
    sent = stage.client("logzio_handler.py", gateway.url("bulk"), gateway.token_file("logs"), COUNT)
    stage.sent_equals_archived("logzio-python-handler", sent, archive.bulk(gateway.data, 1, "n"))
    types = {line["type"] for line in archive.lines(gateway.data, 1, "logs")}
    stage.check("logzio-python-handler's type travels", types == {"senders"}, types)
    stage.check("the gateway ends with 0", gateway.stop() == 0)
