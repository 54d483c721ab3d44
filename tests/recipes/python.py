"""Mis-signs deliveries as apps in Python do, and prints each as one line of JSON, as node.js does."""
import base64
import binascii
import collections
import gzip
import hashlib
import hmac
import io
import json
import math
import quopri
import re
import urllib.parse
import uuid
import zlib
from decimal import Decimal

SECRETS = {
    "primary": "number7-test-secret-4f9a",
    "old": "number7-old-secret-77",
    "staging": "number7-staging-secret-b2",
}
SECRET, OLD, STAGING = SECRETS.values()


# What is delivered.


def event(name, job, status, **rest):
    return {"event": name, "jobId": job, "fileStatus": status, "documentType": "purchase_order",
            "timestamp": "2026-05-03T08:15:42.120Z", **rest}


COMPLETED = {"event": "job.completed", "jobId": "job_abc123", "fileStatus": "done", "documentType": "invoice",
             "timestamp": "2026-04-22T10:00:00.000Z"}
FAILED = event("job.failed", "job_p1", "failed", error="page 2 could not be read")
UMLAUTS = event("job.failed", "job_p2", "failed", error="Für Zeile 3 fehlt der Betrag – erwartet: 1.234,50 €")
LATIN = event("job.failed", "job_p3", "failed", error="Señor Nuñez: ¿dónde está la página 2?")
CJK = event("job.failed", "job_p4", "failed", error="請求書を読み取れません 🧾 第3頁")
QUOTES = event("job.failed", "job_p5", "failed", error='\\\\server\\share\\"new file".pdf isn\'t readable')
LINES = event("job.failed", "job_p6", "failed", error="Traceback:\n\tFile \"a.py\", line 1\r\nValueError: \x1b[31mno\x1b[0m \x7f")
HTML = event("job.failed", "job_p7", "failed", error="<p>see <a href=\"https://example.com/e?id=1&lang=de\">E42</a></p>")
NESTED = event("job.completed", "job_p8", "done", result={
    "vendor": {"name": "Müller & Söhne GmbH", "vat": None, "address": {}},
    "lines": [{"text": "Schrauben 4×30", "amount": 12.5}, {"text": "Dübel", "amount": 7}],
    "pages": [1, 2], "flags": [], "ok": True, "nothing": None, "score": 0.25})
FLOATS = event("job.completed", "job_p9", "done", total=1250.0, tax=237.5, ratio=1e-07, large=1e16, count=3)


# The forms in which Python and similar languages write JSON.


def node(value, indent=None):
    """JSON.stringify, whose numbers have no .0 and other exponents."""
    def number(value):
        if isinstance(value, dict):
            return {key: number(item) for key, item in value.items()}
        if isinstance(value, list):
            return [number(item) for item in value]
        if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
            return int(value)
        return value
    text = json.dumps(number(value), ensure_ascii=False, indent=indent,
                      separators=(",", ":") if indent is None else (",", ": "))
    return text.replace("1e-07", "1e-7")


def spaced(value):
    return json.dumps(value)


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def httpx(value):
    """httpx since 0.28, and orjson."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def drf(value):
    """The JSONRenderer of Django REST framework."""
    return httpx(value).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def ujson(value):
    return compact(value).replace("/", "\\/")


def jsonify(value):
    """Flask's jsonify: sorted, ASCII, with a newline."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n"


def jsonify_debug(value):
    return json.dumps(value, sort_keys=True, indent=2) + "\n"


FORMATS = {
    "json.dumps": spaced,
    "json.dumps with compact separators": compact,
    "json.dumps with ensure_ascii=False": lambda value: json.dumps(value, ensure_ascii=False),
    "json.dumps with sort_keys": lambda value: json.dumps(value, sort_keys=True),
    "json.dumps with sort_keys and compact separators":
        lambda value: json.dumps(value, sort_keys=True, separators=(",", ":")),
    "json.dumps with sort_keys, compact separators and ensure_ascii=False":
        lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    "json.dumps with indent=2": lambda value: json.dumps(value, indent=2),
    "json.dumps with indent=4": lambda value: json.dumps(value, indent=4),
    "json.dumps with indent=4 and ensure_ascii=False":
        lambda value: json.dumps(value, indent=4, ensure_ascii=False),
    "json.dumps with indent=4 and sort_keys": lambda value: json.dumps(value, indent=4, sort_keys=True),
    'json.dumps with indent="\\t"': lambda value: json.dumps(value, indent="\t"),
    "httpx's json=": httpx,
    "JSON.stringify": node,
    "JSON.stringify with 2 spaces": lambda value: node(value, 2),
    "ujson.dumps": ujson,
    "Django REST framework's Response": drf,
    "Flask's jsonify": jsonify,
    "Flask's jsonify in debug mode": jsonify_debug,
}


# How a line is made.

JSON_TYPE = ["content-type", "application/json"]
FORM_TYPE = ["content-type", "application/x-www-form-urlencoded"]


def to_bytes(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def sign(key, data, algorithm="sha256"):
    return hmac.new(to_bytes(key), to_bytes(data), algorithm)


def emit(recipe, kind, signature, body, secret=None, certain=True, headers=(JSON_TYPE,), holds=None, either=None):
    line = {"recipe": "python: " + recipe, "kind": kind, "secret": secret, "certain": kind is not None and certain,
            "signature": signature, "headers": list(headers), "body": base64.b64encode(to_bytes(body)).decode()}
    if holds is not None:
        line["holds"] = base64.b64encode(to_bytes(holds)).decode()
    if either is not None:
        line["or"] = either
    print(json.dumps(line))


def changed(recipe, kind, signed, sent, by="primary", **options):
    """Something was signed with a right secret, and something else arrives."""
    assert to_bytes(signed) != to_bytes(sent), "nothing is changed: " + recipe
    options.setdefault("secret", by)
    emit(recipe, kind, sign(SECRETS[by], signed).hexdigest(), sent, **options)


def keyed(recipe, kind, key, value=COMPLETED, secret="primary", **options):
    """What arrives was signed, but with another key."""
    body = spaced(value)
    emit(recipe, kind, sign(key, body).hexdigest(), body, secret=secret, **options)


def header(recipe, kind, make, value=FAILED, certain=False, **options):
    body = spaced(value)
    emit(recipe, kind, make(sign(SECRET, body)), body, certain=certain, **options)


LIKELY = {"certain": False, "secret": None}
FORM = {"headers": [FORM_TYPE]}

# Secrets.

keyed("staging's secret", "RecognizedSecret", STAGING, secret="staging")
keyed("staging's secret, and emoji", "RecognizedSecret", STAGING, CJK, secret="staging")
keyed("open(path).read() of a secret file", "SecretNewline", SECRET + "\n")
keyed("open(path, 'rb').read() of a secret file from Windows", "SecretNewline", OLD + "\r\n", NESTED, secret="old")
keyed("a here-document around the secret", "SecretWhiteSpace", f"\n{SECRET}\n", either=["SecretNewline"])
keyed("line.split('=')[1] of 'SECRET = …'", "SecretWhiteSpace", " " + SECRET)
keyed("line.split('=')[1] of 'SECRET = …', with its newline", "SecretWhiteSpace", f" {SECRET}\n", either=["SecretNewline"])
keyed("f'{secret:<30}'", "SecretWhiteSpace", f"{SECRET:<30}")
keyed("repr(secret)", "SecretQuoted", repr(SECRET))
keyed("json.dumps(secret)", "SecretQuoted", json.dumps(SECRET), LINES)
keyed("a config file whose quotes configparser keeps", "SecretQuoted", f'"{OLD}"', secret="old")
keyed("typographic quotes around the secret, from a word processor", "SecretQuoted", f"“{SECRET}”")
keyed("the receiver kept the double quotes", "SecretUnquoted", SECRET, holds=f'"{SECRET}"')
RAW = hashlib.sha256(b"another secret's bytes").digest()
HEX, BASE64, URL64 = RAW.hex(), base64.b64encode(RAW).decode(), base64.urlsafe_b64encode(RAW).decode()
keyed("bytes.fromhex(secret)", "SecretDecoded", bytes.fromhex(HEX), holds=HEX)
keyed("binascii.unhexlify of 40 digits", "SecretDecoded", binascii.unhexlify(HEX[:40]), UMLAUTS, holds=HEX[:40])
keyed("base64.b64decode(secret)", "SecretDecoded", base64.b64decode(BASE64), holds=BASE64)
keyed("base64.urlsafe_b64decode(secret)", "SecretDecoded", base64.urlsafe_b64decode(URL64), holds=URL64)
keyed("base64.b64decode(secret + '=='), which has no padding", "SecretDecoded",
      base64.b64decode(BASE64.rstrip("=") + "=="), holds=BASE64.rstrip("="))
keyed("base64.b64decode of a secret that is base64 by chance", "SecretDecoded", base64.b64decode("Number7SecretOfTheApp123"),
      holds="Number7SecretOfTheApp123")
keyed("base64.b64decode(secret.removeprefix('whsec_'))", "SecretDecoded", RAW, CJK, holds="whsec_" + BASE64)
keyed("base64.b32decode(secret)", None, RAW, holds=base64.b32encode(RAW), either=["SecretDecoded"])
keyed("uuid.UUID(secret).bytes", "SecretDecoded", uuid.UUID("0e9d5b4e-6f1c-4f0c-8a7e-2b3c4d5e6f70").bytes,
      holds="0e9d5b4e-6f1c-4f0c-8a7e-2b3c4d5e6f70")
keyed("the receiver decoded the hex", "SecretEncoded", HEX, holds=RAW)
keyed("the receiver decoded the base64", "SecretEncoded", BASE64, NESTED, holds=RAW)
keyed("the receiver decoded the urlsafe base64", "SecretEncoded", URL64, holds=RAW)
keyed("base64.b64encode(secret)", "SecretEncoded", base64.b64encode(SECRET.encode()))
keyed("base64.encodebytes(secret), with its newline", "SecretEncoded", base64.encodebytes(SECRET.encode()), either=["SecretNewline"])
keyed("os.environ.get('SECRET', '')", "SecretMissing", "", secret=None)
keyed("str(os.environ.get('SECRET'))", "SecretMissing", "None", secret=None)
keyed("str(os.environ.get('SECRET')), and umlauts", "SecretMissing", "None", UMLAUTS, secret=None)
keyed("json.dumps(None)", "SecretMissing", "null", secret=None)
keyed("a shell's undefined from a template", "SecretMissing", "undefined", CJK, secret=None)
for value in (COMPLETED, NESTED):
    header(f"hashlib.sha256(body): {value['jobId']}", "NotKeyed",
           lambda _, value=value: hashlib.sha256(spaced(value).encode()).hexdigest(), value, certain=True)
keyed("str(secret.encode())", None, str(SECRET.encode()), either=["SecretQuoted"])
keyed("a secret in UTF-16", None, SECRET.encode("utf-16"))
keyed("a hashed secret", None, hashlib.sha256(SECRET.encode()).digest())
keyed("a secret in upper case", None, SECRET.upper())
keyed("a secret that is cut off", None, SECRET[:-1])
keyed("the URL-quoted secret", None, urllib.parse.quote("a secret/with+signs"), holds="a secret/with+signs")

# The end of the body, its line ends, its mark.

changed("print(body, file=request)", "FinalNewlineAdded", spaced(COMPLETED), spaced(COMPLETED) + "\n")
changed("print(body, file=request) in Windows", "FinalNewlineAdded", httpx(CJK), httpx(CJK) + "\r\n")
changed("signs json.dumps, sends the file that json.dump and a newline wrote", "FinalNewlineAdded",
        json.dumps(NESTED, indent=4), json.dumps(NESTED, indent=4) + "\n", by="old")
changed("signs a file, sends file.read().strip()", "FinalNewlineLost", spaced(UMLAUTS) + "\n", spaced(UMLAUTS))
changed("signs the bytes of a file from Windows, sends file.read().strip()", "FinalNewlineLost", spaced(UMLAUTS) + "\r\n", spaced(UMLAUTS))
changed("signs print's text, sends json=", "FinalNewlineLost", compact(FAILED) + "\n", compact(FAILED), by="old")
changed("signs what open(path) read, sends what open(path, 'rb') read", "LineEndings",
        json.dumps(NESTED, indent=2), json.dumps(NESTED, indent=2).replace("\n", "\r\n"))
changed("signs what open(path, 'rb') read, sends what open(path) read", "LineEndings",
        (json.dumps(HTML, indent=4) + "\n").replace("\n", "\r\n"), json.dumps(HTML, indent=4) + "\n")
changed("signs with LF, sends a file that Windows wrote, with one more line end", "LineEndings",
        json.dumps(HTML, indent=4), (json.dumps(HTML, indent=4) + "\n").replace("\n", "\r\n"),
        either=["FinalNewlineAdded", "Reserialized"])
changed("sends ''.join(file.readlines()) of CR alone", None,
        json.dumps(HTML, indent=2), json.dumps(HTML, indent=2).replace("\n", "\r"), either=["LineEndings", "Reserialized"])
changed("sends body.encode('utf-8-sig')", "ByteOrderMark", spaced(UMLAUTS), spaced(UMLAUTS).encode("utf-8-sig"))
changed("signs body.encode('utf-8-sig')", "ByteOrderMark", spaced(COMPLETED).encode("utf-8-sig"), spaced(COMPLETED), by="old")
changed("signs a file with a mark and a newline, sends it without both", "ByteOrderMark",
        (httpx(NESTED) + "\n").encode("utf-8-sig"), httpx(NESTED), either=["FinalNewlineLost"])
changed("a newline in front of the body", None, spaced(COMPLETED), "\n" + spaced(COMPLETED), either=["OuterWhiteSpace", "Reserialized"])
changed("spaces around the body", None, spaced(COMPLETED), f"  {spaced(COMPLETED)}  ", either=["OuterWhiteSpace", "Reserialized"])
changed("signs a body with trailing spaces", None, spaced(COMPLETED) + "   ", spaced(COMPLETED), either=["Reserialized"])

# JSON that is serialized again: signed in the first form, sent in the second.
changed("a serializer that leaves nulls out", "Reserialized", spaced({**COMPLETED, "error": None}), spaced(COMPLETED))

for signed, sent, value, *rest in [
    ("json.dumps", "httpx's json=", COMPLETED),
    ("json.dumps", "httpx's json=", UMLAUTS),
    ("json.dumps", "httpx's json=", CJK),
    ("json.dumps", "httpx's json=", NESTED),
    ("json.dumps", "json.dumps with compact separators", LINES),
    ("json.dumps", "json.dumps with ensure_ascii=False", UMLAUTS),
    ("json.dumps", "json.dumps with indent=2", NESTED),
    ("json.dumps", "JSON.stringify", COMPLETED),
    ("json.dumps", "JSON.stringify", HTML),
    ("json.dumps", "JSON.stringify", LINES),
    ("json.dumps", "JSON.stringify", FLOATS),
    ("json.dumps", "JSON.stringify with 2 spaces", CJK),
    ("json.dumps with compact separators", "json.dumps", COMPLETED),
    ("json.dumps with compact separators", "json.dumps", QUOTES),
    ("json.dumps with compact separators", "JSON.stringify", UMLAUTS),
    ("json.dumps with compact separators", "httpx's json=", CJK, {"by": "old"}),
    ("json.dumps with ensure_ascii=False", "json.dumps", CJK),
    ("json.dumps with ensure_ascii=False", "JSON.stringify", NESTED),
    ("json.dumps with ensure_ascii=False", "json.dumps with indent=4", UMLAUTS),
    ("json.dumps with sort_keys", "json.dumps", COMPLETED),
    ("json.dumps with sort_keys", "json.dumps", NESTED),
    ("json.dumps with sort_keys", "httpx's json=", UMLAUTS),
    ("json.dumps with sort_keys and compact separators", "json.dumps", NESTED),
    ("json.dumps with sort_keys and compact separators", "JSON.stringify", CJK),
    ("json.dumps with sort_keys, compact separators and ensure_ascii=False", "json.dumps", UMLAUTS),
    ("json.dumps with indent=2", "json.dumps", COMPLETED),
    ("json.dumps with indent=2", "httpx's json=", UMLAUTS),
    ("json.dumps with indent=4", "JSON.stringify", CJK),
    ("json.dumps with indent=4 and ensure_ascii=False", "json.dumps", CJK),
    ("json.dumps with indent=4 and sort_keys", "json.dumps", NESTED),
    ('json.dumps with indent="\\t"', "json.dumps", LINES),
    ("JSON.stringify", "json.dumps", COMPLETED),
    ("JSON.stringify", "json.dumps", UMLAUTS),
    ("JSON.stringify", "json.dumps", CJK),
    ("JSON.stringify", "json.dumps", LINES),
    ("JSON.stringify", "json.dumps with ensure_ascii=False", HTML),
    ("JSON.stringify", "json.dumps with indent=4", NESTED),
    ("JSON.stringify", "json.dumps with sort_keys", COMPLETED),
    ("JSON.stringify", "json.dumps with sort_keys", UMLAUTS),
    ("JSON.stringify with 2 spaces", "Django REST framework's Response", NESTED),
    ("JSON.stringify", "Flask's jsonify", COMPLETED),
    ("JSON.stringify", "Flask's jsonify", UMLAUTS),
    ("JSON.stringify", "Flask's jsonify in debug mode", COMPLETED),
    ("JSON.stringify", "ujson.dumps", HTML),
    ("JSON.stringify with 2 spaces", "json.dumps", UMLAUTS),
    ("httpx's json=", "json.dumps", CJK),
    ("httpx's json=", "json.dumps with indent=4 and ensure_ascii=False", QUOTES),
    ("httpx's json=", "json.dumps with compact separators", UMLAUTS),
    ("ujson.dumps", "json.dumps", HTML),
    ("ujson.dumps", "httpx's json=", UMLAUTS),
    ("Flask's jsonify", "json.dumps", NESTED, {"either": ["FinalNewlineLost"]}),
    ("Flask's jsonify", "httpx's json=", CJK, {"either": ["FinalNewlineLost"]}),
    ("Flask's jsonify in debug mode", "json.dumps", UMLAUTS, {"either": ["FinalNewlineLost"]}),
    ("json.dumps", "httpx's json=", FLOATS),
    ("json.dumps", "json.dumps with sort_keys", NESTED),
    ("json.dumps with indent=2", "json.dumps with sort_keys", COMPLETED),
]:
    options = rest[0] if rest else {}
    changed(f"signs {signed}, sends {sent}: {value['jobId']}", "Reserialized",
            FORMATS[signed](value), FORMATS[sent](value), **options)
changed("signs floats, a proxy in Go writes them", "Reserialized", spaced(FLOATS),
        json.dumps({**FLOATS, "total": 1250, "large": 10**16}, separators=(",", ":"), sort_keys=True).replace("1e-07", "1e-7"))
changed("signs Decimal('1250.00') by simplejson, a proxy parses it", "Reserialized",
        spaced(FAILED).replace("}", f', "total": {Decimal("1250.00")}}}'), spaced({**FAILED, "total": 1250.0}))
changed("signs an OrderedDict with the event at its end, sends the dict", "Reserialized",
        spaced(collections.OrderedDict([*list(COMPLETED.items())[1:], ("event", COMPLETED["event"])])), spaced(COMPLETED))
changed("signs json.dumps of a dict with the event at its end, Go sorts it", "Reserialized",
        spaced(dict([*list(COMPLETED.items())[1:], ("event", COMPLETED["event"])])), compact(dict(sorted(COMPLETED.items()))))
changed("signs re.sub(r'\\s', '', body), which strips the spaces in texts as well", None,
        re.sub(r"\s", "", spaced(FAILED)), spaced(FAILED), either=["Reserialized"])
changed("signs NaN, a proxy writes null", None, spaced({**COMPLETED, "score": math.nan}), compact({**COMPLETED, "score": None}))

# Text.

changed("signs UTF-8, sends body.encode('latin-1')", "TextEncoding", httpx(LATIN), httpx(LATIN).encode("latin-1"))
changed("signs body.encode('latin-1'), sends UTF-8", "TextEncoding", httpx(LATIN).encode("latin-1"), httpx(LATIN), by="old")
changed("signs UTF-8, sends body.encode('cp1252')", "TextEncoding", httpx(UMLAUTS), httpx(UMLAUTS).encode("cp1252"))
changed("signs body.encode('cp1252'), sends UTF-8", "TextEncoding", httpx(UMLAUTS).encode("cp1252"), httpx(UMLAUTS))
changed("signs UTF-8, sends body.encode().decode('latin-1').encode()", "TextEncoding",
        httpx(UMLAUTS), httpx(UMLAUTS).encode().decode("latin-1").encode())
changed("signs body.encode().decode('latin-1').encode(), sends UTF-8", "TextEncoding",
        httpx(CJK).encode().decode("latin-1").encode(), httpx(CJK))
changed("signs UTF-8, sends what was decoded as cp1252", "TextEncoding",
        httpx(UMLAUTS), httpx(UMLAUTS).encode().decode("cp1252").encode())
changed("signs what was decoded as cp1252, sends UTF-8", "TextEncoding",
        httpx(LATIN).encode().decode("cp1252", "replace").encode(), httpx(LATIN))
changed("signs UTF-8, sends json.dumps of texts that were decoded as latin-1", "TextEncoding", httpx(LATIN),
        compact({key: item.encode().decode("latin-1") for key, item in LATIN.items()}), either=["Reserialized"])
changed("signs body.encode('utf-16')", None, httpx(UMLAUTS).encode("utf-16"), httpx(UMLAUTS), either=["TextEncoding"])
changed("sends body.encode('utf-16')", None, httpx(UMLAUTS), httpx(UMLAUTS).encode("utf-16"), either=["TextEncoding", "ByteOrderMark"])
changed("signs str(body_bytes), with its b''", None, str(spaced(COMPLETED).encode()), spaced(COMPLETED), either=["Reserialized"])
changed("signs quoted-printable", None, quopri.encodestring(httpx(UMLAUTS).encode()), httpx(UMLAUTS))

# Forms.

for value in (COMPLETED, UMLAUTS, HTML):
    job = value["jobId"]
    changed(f"signs json.dumps, requests sends data=dict: {job}", "FormEncoded", spaced(value), urllib.parse.urlencode(value),
            **FORM, **LIKELY)
    changed(f"signs json.dumps, sends urlencode({{'payload': …}}): {job}", "FormEncoded", spaced(value),
            urllib.parse.urlencode({"payload": spaced(value)}), **FORM, **LIKELY)

# What nobody looks for.

changed("API Gateway's event['body'] with isBase64Encoded", None, spaced(COMPLETED), base64.b64encode(spaced(COMPLETED).encode()))
changed("requests.post(json=json.dumps(event))", None, spaced(COMPLETED), json.dumps(spaced(COMPLETED)))
changed("signs urlencode(dict), requests sends json=", None, urllib.parse.urlencode(COMPLETED), spaced(COMPLETED))
changed("signs body.hex()", None, spaced(FAILED).encode().hex(), spaced(FAILED))
changed("SQS wraps the body in a message", None, spaced(COMPLETED), spaced({"Records": [{"body": spaced(COMPLETED)}]}),
        either=["Reserialized"])

# Nothing signed, nothing sent.

for what, signed in [("b''", ""), ("Flask's request.data of a form, which is empty", ""), ("str(None)", "None"), ("json.dumps({})", "{}"),
                     ("json.dumps(None)", "null")]:
    changed(f"signs {what}: {len(what)}", "SignedNothing", signed, spaced(COMPLETED))
changed("signs a stream that was read before", "SignedNothing", io.BytesIO().read(), httpx(CJK), by="old")
changed("signs json.dumps([])", "SignedNothing", "[]", httpx(CJK))
changed("a body that was read before is empty", "EmptyBody", spaced(COMPLETED), "", **LIKELY)
changed("a body that was read before is empty, old", "EmptyBody", spaced(NESTED), "", by="old", **LIKELY)
changed("json=None is sent as null", None, spaced(COMPLETED), "null", secret=None)

# Compression, and bodies that are cut off.

changed("gzip.compress without a content-encoding", "Compressed", spaced(COMPLETED), gzip.compress(spaced(COMPLETED).encode(), mtime=0), **LIKELY)
changed("zlib.compress without a content-encoding", "Compressed", spaced(NESTED), zlib.compress(spaced(NESTED).encode()), **LIKELY)
changed("zlib.compress at level 1 without a content-encoding", "Compressed", spaced(NESTED), zlib.compress(spaced(NESTED).encode(), 1), **LIKELY)
changed("gzip.compress in base64", None, spaced(NESTED), base64.b64encode(gzip.compress(spaced(NESTED).encode(), mtime=0)),
        either=["Compressed"])
changed("signs gzip.compress, and a proxy inflates it", "Decompressed", gzip.compress(httpx(UMLAUTS).encode(), mtime=0), httpx(UMLAUTS),
        headers=[["Content-Type", "application/json"], ["Content-Encoding", "gzip"]], **LIKELY)
changed("signs gzip.compress, and a proxy inflates it and says nothing", None, gzip.compress(httpx(UMLAUTS).encode(), mtime=0), httpx(UMLAUTS),
        secret=None)
changed("Content-Length is len(str)", "CutOff", httpx(CJK), httpx(CJK).encode()[:len(httpx(CJK))],
        headers=[JSON_TYPE, ["content-length", str(len(httpx(CJK)))]], **LIKELY)
changed("sock.recv(64) once", "CutOff", spaced(COMPLETED), spaced(COMPLETED)[:64], **LIKELY)
changed("sock.recv(1024) once", "CutOff", spaced({**FAILED, "error": "é" * 900}), spaced({**FAILED, "error": "é" * 900})[:1024], **LIKELY)
changed("body[:-2]", "CutOff", json.dumps(NESTED, indent=2), json.dumps(NESTED, indent=2)[:-2], secret="primary")
changed("body[:-1]", "CutOff", spaced(NESTED), spaced(NESTED)[:-1], secret="primary", certain=True)

# Headers.

header("f'sha256={digest}'", "SignaturePrefix", lambda mac: f"sha256={mac.hexdigest()}")
header("f'v1={digest}'", "SignaturePrefix", lambda mac: f"v1={mac.hexdigest()}", CJK)
header("f'sha256 = {digest}'", "SignaturePrefix", lambda mac: f"sha256 = {mac.hexdigest()}", either=["SignatureWhiteSpace"])
header("f'signature={digest}'", "SignaturePrefix", lambda mac: f"signature={mac.hexdigest()}")
header("hex(int)", "SignaturePrefix", lambda mac: hex(int(mac.hexdigest(), 16)))
header("base64.b64encode(digest).decode()", "SignatureBase64", lambda mac: base64.b64encode(mac.digest()).decode())
header("base64.urlsafe_b64encode(digest)", "SignatureBase64", lambda mac: base64.urlsafe_b64encode(mac.digest()).decode(), NESTED)
header("base64.encodebytes(digest)", "SignatureBase64", lambda mac: base64.encodebytes(mac.digest()).decode(), either=["SignatureWhiteSpace"])
header("f'sha256={base64}'", "SignaturePrefix", lambda mac: "sha256=" + base64.b64encode(mac.digest()).decode(), either=["SignatureBase64"])
header("str(base64.b64encode(digest)), with its b''", "SignatureBase64", lambda mac: str(base64.b64encode(mac.digest())),
       either=["SignatureQuoted", "SignaturePrefix"])
header("str(hexdigest.encode()), with its b''", "SignatureQuoted", lambda mac: str(mac.hexdigest().encode()), either=["SignaturePrefix"])
header("repr(hexdigest)", "SignatureQuoted", lambda mac: repr(mac.hexdigest()))
header("json.dumps([hexdigest])", "SignatureList", lambda mac: json.dumps([mac.hexdigest()]), either=["SignatureQuoted", "SignaturePrefix"])
for algorithm in ("md5", "sha1", "sha512", "sha384"):
    header(algorithm, "SignatureOtherHash", lambda mac, algorithm=algorithm: sign(SECRET, spaced(FAILED), algorithm).hexdigest())
header("sha512= and SHA-512", "SignatureOtherHash", lambda mac: "sha512=" + sign(SECRET, spaced(FAILED), "sha512").hexdigest(),
       either=["SignaturePrefix"])
header("','.join of two", "SignatureList", lambda mac: ",".join([mac.hexdigest(), sign(OLD, spaced(FAILED)).hexdigest()]))
header("t=…,v1=…", "SignatureList", lambda mac: f"t=1776852000,v1={mac.hexdigest()}", either=["SignaturePrefix"])
header("hexdigest + newline", "SignatureWhiteSpace", lambda mac: mac.hexdigest() + "\n")
header("hexdigest(' ')", "SignatureWhiteSpace", lambda mac: mac.digest().hex(" "))
header("hexdigest(' ', 4)", "SignatureWhiteSpace", lambda mac: mac.digest().hex(" ", 4))
header("str(digest)", None, lambda mac: ascii(mac.digest()), either=["SignatureQuoted"])
header("the number that the digest is", None, lambda mac: str(int(mac.hexdigest(), 16)))
header("digest().hex(':')", None, lambda mac: mac.digest().hex(":"))
header("the uncalled method", None, lambda mac: "<built-in method hexdigest of _hashlib.HMAC object at 0x7f3c2c1a5b70>")
header("BLAKE2s", None, lambda mac: sign(SECRET, spaced(FAILED), "blake2s").hexdigest())
header("32 of the digits", None, lambda mac: mac.hexdigest()[:32], either=["SignatureOtherHash"])

# Negatives.

for what, body in [
    ("Latin-1", httpx(LATIN).encode("latin-1")), ("cp1252", httpx(UMLAUTS).encode("cp1252")), ("UTF-16", httpx(LATIN).encode("utf-16")),
    ("a query", urllib.parse.urlencode(FAILED)), ("wrapped base64", base64.encodebytes(spaced(FAILED).encode())),
    ("a zlib stream", zlib.compress(spaced(FAILED).encode())), ("a list", "[1,2,3]"), ("deep nesting", "[" * 200 + "]" * 200),
    ("a number", "17"), ("white space", " \r\n\t"), ("a JSON text", '"text"'), ("percent signs", "%7B%7D%"),
    ("a megabyte's sixteenth", json.dumps({"event": "x" * 65000})), ("many keys", json.dumps({f"k{i}": i for i in range(2000)})),
]:
    emit(f"an unknown secret, and {what}", None, sign("unknown", body).hexdigest(), body)
for what, signed, sent in [
    ("another job", COMPLETED, {**COMPLETED, "jobId": "job_abc124"}),
    ("a changed amount", FLOATS, {**FLOATS, "total": 1.0}),
    ("texts that were trimmed", {**FAILED, "error": " x "}, {**FAILED, "error": "x"}),
    ("a swapped list", {**COMPLETED, "pages": [1, 2]}, {**COMPLETED, "pages": [2, 1]}),
    ("another field name", COMPLETED, {("job_id" if key == "jobId" else key): item for key, item in COMPLETED.items()}),
    ("escaped HTML in a text", HTML, {**HTML, "error": HTML["error"].replace("<", "&lt;").replace(">", "&gt;")}),
]:
    emit(f"changed after the signing: {what}", None, sign(SECRET, spaced(signed)).hexdigest(), spaced(sent))
    emit(f"changed after the signing, and JSON.stringify: {what}", None, sign(OLD, spaced(signed)).hexdigest(), node(sent))
emit("the signature of another delivery", None, sign(SECRET, spaced(FAILED)).hexdigest(), spaced(COMPLETED))
emit("key and message swapped", None, sign(spaced(COMPLETED), SECRET).hexdigest(), spaced(COMPLETED))
emit("HMAC of the hash of the body", None, sign(SECRET, hashlib.sha256(spaced(COMPLETED).encode()).digest()).hexdigest(), spaced(COMPLETED))
emit("a double HMAC", None, sign(SECRET, sign(SECRET, spaced(COMPLETED)).digest()).hexdigest(), spaced(COMPLETED))
for seed in range(3):
    emit(f"a random signature {seed}", None, hashlib.sha256(b"random %d" % seed).hexdigest(), spaced(UMLAUTS))
