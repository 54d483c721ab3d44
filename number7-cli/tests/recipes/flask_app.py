"""A receiver as the vendor's documentation shows it for Flask. It prints its port."""

import hashlib
import hmac
import os

from flask import Flask, abort, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.route("/webhook", methods=["POST"])
def webhook():
    key = os.environ["WEBHOOK_SECRET"].encode()
    expected = hmac.new(key, request.data, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("x-number7ai-signature", "")):
        abort(401)
    request.get_json(force=True)
    return "", 200


server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
