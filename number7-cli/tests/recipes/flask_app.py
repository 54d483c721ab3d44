"""A receiver as the vendor's documentation shows it for Flask. It prints its port.

If STORE names a file, each event is in that SQLite database before the 200, once.
"""

import hashlib
import hmac
import os
import sqlite3

from flask import Flask, abort, request
from werkzeug.serving import make_server

app = Flask(__name__)
store = os.environ.get("STORE")


def connect():
    return sqlite3.connect(store, timeout=10)


def keep(event):
    database = connect()
    with database:
        key = f"{event['event']}:{event['jobId']}"
        database.execute("INSERT OR IGNORE INTO events VALUES (?, ?)", (key, request.data))
    database.close()


@app.route("/webhook", methods=["POST"])
def webhook():
    key = os.environ["WEBHOOK_SECRET"].encode()
    expected = hmac.new(key, request.data, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("x-number7ai-signature", "")):
        abort(401)
    event = request.get_json(force=True)
    if store:
        keep(event)
    return "", 200


if store:
    with connect() as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE events (key TEXT PRIMARY KEY, body BLOB) STRICT")
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
