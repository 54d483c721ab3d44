# Mis-signs deliveries as people do by hand, with echo, printf, openssl, jq and curl, and prints each
# as one line of JSON, as node.js does. What arrives is what curl really sends: a server on 127.0.0.1
# takes it. It ends with this script, and after two minutes in any case.
#
# It is written for any POSIX sh; its "echo" is that of the shell that runs it.
set -eu
export LC_ALL=C
secret=number7-test-secret-4f9a
old=number7-old-secret-77
staging=number7-staging-secret-b2

dir=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || :; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
cat >"$dir/server.py" <<'END'
import base64, http.server, json, os, sys, threading
folder = sys.argv[1]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = [[name.lower(), value] for name, value in self.headers.items()]
        signature = next(value for name, value in headers if name == "x-number7ai-signature")
        headers = [header for header in headers if header[0] not in ("x-number7ai-signature", "host")]
        got = {"signature": signature, "headers": headers, "body": base64.b64encode(body).decode()}
        with open(folder + "/got", "w") as file:
            file.write(json.dumps(got)[1:])
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
threading.Timer(120, os._exit, [1]).start()
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open(folder + "/port.new", "w") as file:
    file.write(str(server.server_port))
os.rename(folder + "/port.new", folder + "/port")
server.serve_forever()
END
python3 "$dir/server.py" "$dir" &
server=$!
tries=0
until [ -f "$dir/port" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "the server did not start" >&2; exit 1; }
    sleep 0.1
done
url=http://127.0.0.1:$(cat "$dir/port")/webhook

# send RECIPE KIND SECRET CERTAIN SIGNATURE CURL-ARGUMENTS…: KIND may be "A|B" where both are right,
# and "|B" where no kind is quite right.
send() {
    recipe=$1 kind=${2%%|*} or=${2#"${2%%|*}"} secret_name=$3 certain=$4 signature=$5
    shift 5
    curl --silent --show-error --max-time 10 -H "x-number7ai-signature: $signature" "$@" "$url"
    [ -z "$kind" ] && kind=null || kind="\"$kind\""
    [ -z "$secret_name" ] && secret_name=null || secret_name="\"$secret_name\""
    [ -z "$or" ] || or="\"or\": [\"$(printf %s "${or#|}" | sed 's/|/", "/g')\"], "
    printf '{"recipe": "shell: %s", "kind": %s, "secret": %s, "certain": %s, %s' \
        "$(printf %s "$recipe" | sed 's/"/\\"/g')" "$kind" "$secret_name" "$certain" "$or"
    cat "$dir/got"
    echo
    rm "$dir/got"
}
json='content-type: application/json'

# The digits of what is on stdin.
digits() { openssl dgst -sha256 -hmac "${1:-$secret}" | sed 's/^.*= //'; }

completed='{"event":"job.completed","jobId":"job_abc123","fileStatus":"done","documentType":"invoice","timestamp":"2026-04-22T10:00:00.000Z"}'
umlauts='{"event":"job.failed","jobId":"job_sh","fileStatus":"failed","documentType":"grn","timestamp":"2026-04-22T10:00:00.000Z","error":"Größe ungültig"}'
escapes='{"event":"job.failed","jobId":"job_sh","fileStatus":"failed","error":"line 1\nline 2\t<C:\\scans>"}'
printf '%s\n' "$completed" >"$dir/completed.json"
printf '%s\r\n' "$completed" >"$dir/windows.json"
printf '\357\273\277%s\n' "$completed" >"$dir/marked.json"
printf '%s' "$umlauts" >"$dir/umlauts.json"
printf '%s' "$umlauts" | jq . >"$dir/pretty.json"
sed 's/$/\r/' "$dir/pretty.json" >"$dir/pretty-windows.json"
printf '%s\n' "$secret" >"$dir/secret"
printf 'SECRET=%s\r\n' "$secret" >"$dir/windows.env"
cd "$dir"

# The newline at the end.
send 'echo into openssl, curl -d of the variable' FinalNewlineLost primary true \
    "$(echo "$completed" | digits)" -H "$json" -d "$completed"
send 'echo into openssl, curl -d of the variable, umlauts' FinalNewlineLost old true \
    "$(echo "$umlauts" | digits "$old")" -H "$json" -d "$umlauts"
send 'echo into openssl, without a content-type' FinalNewlineLost primary true \
    "$(echo "$completed" | digits)" -d "$completed"
send 'a here-document into openssl, curl -d of the variable' FinalNewlineLost primary true "$(digits <<END
$completed
END
)" -H "$json" -d "$completed"
send 'the file into openssl, curl -d @file' FinalNewlineLost primary true \
    "$(digits <completed.json)" -H "$json" -d @completed.json
send 'the file from Windows into openssl, curl -d @file' FinalNewlineLost primary true \
    "$(digits <windows.json)" -H "$json" -d @windows.json
send 'the file into openssl, curl -d of its cat' FinalNewlineLost primary true \
    "$(digits <completed.json)" -H "$json" -d "$(cat completed.json)"
send 'printf into openssl, echo into curl --data-binary @-' FinalNewlineAdded primary true \
    "$(printf %s "$completed" | digits)" -H "$json" --data-binary @- <<END
$completed
END
send 'printf of the cat into openssl, curl --data-binary @file' FinalNewlineAdded primary true \
    "$(printf %s "$(cat completed.json)" | digits)" -H "$json" --data-binary @completed.json
send 'tr -d of the newline into openssl, curl --data-binary @file' FinalNewlineAdded old true \
    "$(tr -d '\n' <completed.json | digits "$old")" --data-binary @completed.json
send 'tr -d of CR and LF into openssl, the file from Windows' FinalNewlineAdded primary true \
    "$(tr -d '\r\n' <windows.json | digits)" --data-binary @windows.json

# Line ends. curl -d @file takes them all away, which no serializer does.
send 'the pretty file into openssl, curl -d @file' 'Reserialized|LineEndings|FinalNewlineLost' primary true \
    "$(digits <pretty.json)" -H "$json" -d @pretty.json
send 'the pretty file from Windows into openssl, curl -d @file' 'Reserialized|LineEndings|FinalNewlineLost' primary true \
    "$(digits <pretty-windows.json)" -H "$json" -d @pretty-windows.json
send 'compact JSON into openssl, curl -d @pretty' Reserialized primary true \
    "$(digits <umlauts.json)" -H "$json" -d @pretty.json
send 'LF into openssl, CR LF into curl' LineEndings primary true \
    "$(digits <pretty.json)" -H "$json" --data-binary @pretty-windows.json
send 'CR LF into openssl, LF into curl' LineEndings primary true \
    "$(digits <pretty-windows.json)" -H "$json" --data-binary @pretty.json

# The mark of an editor.
send 'the marked file into openssl, the other into curl' ByteOrderMark primary true \
    "$(digits <marked.json)" --data-binary @completed.json
send 'the file into openssl, the marked one into curl' ByteOrderMark primary true \
    "$(digits <completed.json)" --data-binary @marked.json
send 'the variable into openssl, curl -d @marked' ByteOrderMark primary true \
    "$(printf %s "$completed" | digits)" -d @marked.json
send 'the marked file into openssl, curl -d @marked' FinalNewlineLost primary true \
    "$(digits <marked.json)" -d @marked.json

# jq.
send 'jq . into openssl, curl -d of the variable' 'Reserialized|FinalNewlineLost' primary true \
    "$(printf %s "$completed" | jq . | digits)" -H "$json" -d "$completed"
send 'the captured jq . into openssl, curl -d of the variable' Reserialized primary true \
    "$(printf %s "$(printf %s "$umlauts" | jq .)" | digits)" -H "$json" -d "$umlauts"
send 'jq -c into openssl, the pretty file into curl' 'Reserialized|FinalNewlineLost|FinalNewlineAdded' primary true \
    "$(jq -c . pretty.json | digits)" -H "$json" --data-binary @pretty.json
send 'jq -c into openssl, curl -d of the variable' FinalNewlineLost primary true \
    "$(printf %s "$completed" | jq -c . | digits)" -H "$json" -d "$completed"
send 'the captured jq -S -c into openssl' Reserialized primary true \
    "$(printf %s "$(printf %s "$completed" | jq -S -c .)" | digits)" -H "$json" -d "$completed"
send 'the captured jq -a -c into openssl' Reserialized primary true \
    "$(printf %s "$(printf %s "$umlauts" | jq -a -c .)" | digits)" -H "$json" -d "$umlauts"
send 'the captured jq --tab into openssl' Reserialized primary true \
    "$(printf %s "$(printf %s "$completed" | jq --tab .)" | digits)" -H "$json" -d "$completed"
send 'printf into openssl, jq . into curl -d @-' Reserialized primary true \
    "$(printf %s "$umlauts" | digits)" -H "$json" -d @- <<END
$(printf %s "$umlauts" | jq .)
END
send 'printf into openssl, jq . into curl --data-binary @-' 'Reserialized|FinalNewlineAdded' primary true \
    "$(printf %s "$umlauts" | digits)" -H "$json" --data-binary @pretty.json

# echo of dash takes \n and \t for the characters, and no serializer writes that.
send 'echo of escapes into openssl' '|FinalNewlineLost|Reserialized' primary false \
    "$(echo "$escapes" | digits)" -H "$json" -d "$escapes"
send 'printf without a format, which takes the escapes for characters' '|Reserialized' primary false \
    "$(printf "$escapes" | digits)" -H "$json" -d "$escapes"

# Secrets.
send "staging's secret" RecognizedSecret staging true "$(printf %s "$completed" | digits "$staging")" -H "$json" -d "$completed"
send "staging's secret, without a content-type" RecognizedSecret staging true "$(printf %s "$umlauts" | digits "$staging")" -d "$umlauts"
send 'openssl -macopt hexkey of the file with its newline' SecretNewline primary true \
    "$(printf %s "$completed" | openssl dgst -sha256 -mac HMAC -macopt hexkey:"$(od -An -tx1 -v secret | tr -d ' \n')" | sed 's/^.*= //')" \
    -H "$json" -d "$completed"
send 'a .env from Windows' 'SecretNewline|SecretWhiteSpace' primary true \
    "$(printf %s "$completed" | digits "$(sed -n 's/^SECRET=//p' windows.env)")" -H "$json" -d "$completed"
send 'cut of "SECRET = …"' SecretWhiteSpace primary true \
    "$(printf %s "$completed" | digits "$(echo "SECRET = $secret" | cut -d= -f2)")" -H "$json" -d "$completed"
send 'cut of a line in quotes' SecretQuoted primary true \
    "$(printf %s "$completed" | digits "$(echo "SECRET=\"$secret\"" | cut -d= -f2)")" -H "$json" -d "$completed"
send 'an escaped pair of quotes' SecretQuoted old true \
    "$(printf %s "$completed" | digits "'$old'")" -H "$json" -d "$completed"
send 'a Kubernetes secret that was not decoded' SecretEncoded primary true \
    "$(printf %s "$completed" | digits "$(printf %s "$secret" | openssl base64 -A)")" -H "$json" -d "$completed"
send 'a secret that is not set' SecretMissing '' true \
    "$(printf %s "$completed" | openssl dgst -sha256 -hmac "${body_secret-}" | sed 's/^.*= //')" -H "$json" -d "$completed"
send "the name in single quotes" '|SecretMissing' '' false "$(printf %s "$completed" | digits '$secret')" -H "$json" -d "$completed"
send 'a secret that is cut off at its dash' '' '' false "$(printf %s "$completed" | digits "${secret%%-*}")" -H "$json" -d "$completed"
send 'openssl dgst -sha256 without -hmac' NotKeyed '' true \
    "$(printf %s "$completed" | openssl dgst -sha256 | sed 's/^.*= //')" -H "$json" -d "$completed"
send 'echo into openssl dgst -sha256 without -hmac' NotKeyed '' true \
    "$(echo "$completed" | openssl dgst -sha256 | sed 's/^.*= //')" -H "$json" -d "$completed"
send 'the file into openssl dgst -sha256, curl -d @file' NotKeyed '' true \
    "$(openssl dgst -sha256 <completed.json | sed 's/^.*= //')" -H "$json" -d @completed.json

# Nothing.
unset body
send 'a variable that is not set into openssl' SignedNothing primary true \
    "$(printf %s "${body-}" | digits)" -H "$json" -d "$completed"
send 'echo of a variable that is not set into openssl' SignedNothing primary true \
    "$(echo "${body-}" | digits)" -H "$json" -d "$completed"
send 'curl -d of a variable that is not set' EmptyBody '' false \
    "$(printf %s "$completed" | digits)" -H "$json" -d "${body-}"
send 'curl -X POST without -d' EmptyBody '' false "$(printf %s "$completed" | digits)" -X POST

# Forms.
send 'curl --data-urlencode payload=' FormEncoded primary false \
    "$(printf %s "$completed" | digits)" --data-urlencode "payload=$completed"
send 'curl --data-urlencode payload@file' 'FormEncoded' primary false \
    "$(printf %s "$completed" | digits)" --data-urlencode payload@completed.json

# What was made of the body.
gzip -c completed.json >completed.json.gz
send 'gzip into curl' Compressed '' false "$(digits <completed.json)" -H "$json" --data-binary @completed.json.gz
send 'gzip into curl, which says so' Compressed '' false "$(digits <completed.json)" -H "$json" -H 'content-encoding: gzip' \
    --data-binary @completed.json.gz
iconv -f UTF-8 -t ISO-8859-1 umlauts.json >latin1.json
send 'iconv into curl' TextEncoding primary true "$(digits <umlauts.json)" -H "$json" --data-binary @latin1.json
send 'iconv into openssl' TextEncoding primary true "$(digits <latin1.json)" -H "$json" --data-binary @umlauts.json
send 'iconv of what was UTF-8 already into curl' TextEncoding primary true \
    "$(digits <umlauts.json)" -H "$json" -d "$(iconv -f ISO-8859-1 -t UTF-8 umlauts.json)"
send 'head -c 80 into curl' CutOff '' false "$(digits <umlauts.json)" -H "$json" -d "$(head -c 80 umlauts.json)"
send 'single quotes around the JSON, which cmd.exe keeps' '' primary false \
    "$(printf %s "$completed" | digits)" -H "$json" -d "'$completed'"
send 'backslashes in front of the quotes, which single quotes keep' '' primary false \
    "$(printf %s "$completed" | digits)" -H "$json" -d "$(printf %s "$completed" | sed 's/"/\\"/g')"

# Headers.
send 'the whole line of openssl dgst' SignaturePrefix '' false "$(printf %s "$completed" | openssl dgst -sha256 -hmac "$secret")" -d "$completed"
send 'the whole line of openssl dgst file' SignaturePrefix '' false "$(openssl dgst -sha256 -hmac "$secret" completed.json)" --data-binary @completed.json
send 'the whole line of openssl dgst -r' 'SignatureWhiteSpace|SignatureList|SignaturePrefix' '' false \
    "$(printf %s "$completed" | openssl dgst -sha256 -hmac "$secret" -r)" -d "$completed"
send 'the whole line of openssl dgst -c' '|SignaturePrefix' '' false \
    "$(printf %s "$completed" | openssl dgst -sha256 -hmac "$secret" -c)" -d "$completed"
send 'openssl dgst -binary into openssl base64' SignatureBase64 '' false \
    "$(printf %s "$completed" | openssl dgst -sha256 -hmac "$secret" -binary | openssl base64)" -d "$completed"
# Unquoted on purpose: so the shell joins the lines of od with spaces.
send 'openssl dgst -binary into od' SignatureWhiteSpace '' false \
    "$(echo $(printf %s "$completed" | openssl dgst -sha256 -hmac "$secret" -binary | od -An -tx1))" -d "$completed"
send 'openssl dgst -binary into xxd -p, which breaks the line after 60 digits' SignatureWhiteSpace '' false \
    "$(echo $(printf %s "$completed" | digits | fold -w 60))" -d "$completed"
send 'openssl dgst -sha1' SignatureOtherHash '' false "$(printf %s "$completed" | openssl dgst -sha1 -hmac "$secret" | sed 's/^.*= //')" -d "$completed"
send 'openssl dgst -sha512' SignatureOtherHash '' false "$(printf %s "$completed" | openssl dgst -sha512 -hmac "$secret" | sed 's/^.*= //')" -d "$completed"
send 'openssl dgst -md5, the whole line' 'SignatureOtherHash|SignaturePrefix' '' false \
    "$(printf %s "$completed" | openssl dgst -md5 -hmac "$secret")" -d "$completed"
send 'sha256= in front' SignaturePrefix '' false "sha256=$(printf %s "$completed" | digits)" -d "$completed"
send 'quotes around the digits' SignatureQuoted '' false "\"$(printf %s "$completed" | digits)\"" -d "$completed"

# Negatives.
send 'an unknown secret' '' '' false "$(printf %s "$completed" | digits unknown)" -H "$json" -d "$completed"
send 'an unknown secret, without a content-type' '' '' false "$(echo "$completed" | digits unknown)" -d "$completed"
send 'an unknown secret, and a form' '' '' false "$(printf %s "$completed" | digits unknown)" --data-urlencode "payload=$completed"
send 'sed changes the job' '' '' false "$(digits <completed.json)" -d "$(sed s/abc123/abc124/ completed.json)"
send 'another file' '' '' false "$(digits <completed.json)" --data-binary @umlauts.json
