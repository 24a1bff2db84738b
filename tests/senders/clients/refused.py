"""Posts a body COUNT times with a bad token and prints how often each outcome was seen.

LIBRARY URL TOKEN BODY_FILE COUNT.
"""

import collections
import json
import pathlib
import sys
import urllib.error
import urllib.request

import requests

SESSION = requests.Session()


def by_urllib(url, headers, body):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


def by_requests(url, headers, body):
    return requests.post(url, data=body, headers=headers, timeout=20).status_code


def by_session(url, headers, body):
    return SESSION.post(url, data=body, headers=headers, timeout=20).status_code


library, url, token, body_file, count = sys.argv[1:]
post = {"urllib": by_urllib, "requests": by_requests, "session": by_session}[library]
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
body = pathlib.Path(body_file).read_bytes()
outcomes = collections.Counter()
for _ in range(int(count)):
    try:
        outcomes[str(post(url, headers, body))] += 1
    except Exception as error:
        outcomes[f"{type(error).__name__}: {error}"] += 1
print(json.dumps(outcomes))
