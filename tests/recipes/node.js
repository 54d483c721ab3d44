// Mis-signs deliveries as apps in JavaScript do, and prints each as one line of JSON: what was done,
// the kind of diagnosis that is right, and the request that arrives. `or` names further kinds that
// are right as well, where two things went wrong or no kind fits exactly; `kind` is null where
// nothing may be called certain (but for what `or` names). Signatures and header values are Latin-1.
//
// What PHP, Go, Ruby, Java and .NET print is written by the functions below, which were
// compared with PHP 8.2, Go 1.19, Ruby 3.1 (json 2.6), Jackson 2.14 and Gson 2.10;
// .NET follows its sources and documentation.
'use strict';

const crypto = require('crypto');
const querystring = require('querystring');
const zlib = require('zlib');

const SECRETS = {
  primary: 'number7-test-secret-4f9a',
  old: 'number7-old-secret-77',
  staging: 'number7-staging-secret-b2',
};
const { primary: SECRET, old: OLD, staging: STAGING } = SECRETS;

// What is delivered.

const head = (event, jobId, fileStatus, rest) =>
  ({ event, jobId, fileStatus, documentType: 'invoice', timestamp: '2026-04-22T10:00:00.000Z', ...rest });
const failed = (jobId, error, rest) => head('job.failed', jobId, 'failed', { error, ...rest });

const COMPLETED = head('job.completed', 'job_abc123', 'done');
const FAILED = failed('job_f00d', 'page 2 could not be read');
const UMLAUTS = failed('job_ü1', 'Seite 2 ist größer als erlaubt – Beträge über 1.000 € prüfen — bitte');
const LATIN = failed('job_l1', 'Größe ungültig: Müller & Söhne, 5 £ à l’unité'.replace('’', "'"));
const CJK = failed('job_cjk', '第2页无法读取 📄 ページを読めません 👩‍💻');
const QUOTES = failed('job_q', 'cannot open "C:\\scans\\new invoice.pdf" – it\'s not a `file`');
const SLASHES = failed('job_s', 'see https://docs.example.com/errors/E42 and a/b/c');
const HTML = failed('job_h', '<b>Q&A</b>: total > 10 & "net" < 5 (see https://example.com/?a=1&b=2+3)');
const CONTROLS = failed('job_c', 'line 1\nline 2\r\n\tindented\b\f \u0001 \u001f \u007f end');
const SEPARATORS = failed('job_u', 'a\u2028b\u2029c');
const NESTED = head('job.completed', 'job_n', 'done', {
  result: {
    total: 1250.5,
    currency: 'EUR',
    lines: [{ sku: 'A-1', quantity: 2, price: 600 }, { sku: 'B/2', quantity: 1, price: 50.5 }],
    notes: null,
    meta: {},
    tags: [],
    paid: false,
    pages: [1, 2, 3],
  },
});
const FLAT = head('job.completed', 'job_m', 'done', { pages: 3, confidence: 0.987, reviewed: true });

// The forms in which others write JSON.

/** A JSON text, in which `escape` may replace what JSON.stringify would write for a character. */
const quote = (text, escape = () => undefined) => '"' + text.split('')
  .map(c => escape(c, c.charCodeAt(0)) ?? JSON.stringify(c).slice(1, -1).replace(/^\\ud[89a-f]..$/, c))
  .join('') + '"';
const lower = code => '\\u' + code.toString(16).padStart(4, '0');
const upper = code => '\\u' + code.toString(16).toUpperCase().padStart(4, '0');
const isShort = c => '\b\t\n\f\r"\\'.includes(c);
const isSeparator = code => code === 0x2028 || code === 0x2029;

const ESCAPES = {
  php: (c, code) => (c === '/' ? '\\/' : code > 0x7f ? lower(code) : undefined),
  phpUnicode: (c, code) => (c === '/' ? '\\/' : isSeparator(code) ? lower(code) : undefined),
  phpSlashes: (c, code) => (code > 0x7f ? lower(code) : undefined),
  phpBoth: (c, code) => (isSeparator(code) ? lower(code) : undefined),
  go: (c, code) => ('<>&\b\f'.includes(c) || isSeparator(code) ? lower(code) : undefined),
  // Since Go 1.22, which is also what Rails' to_json does.
  rails: (c, code) => ('<>&'.includes(c) || isSeparator(code) ? lower(code) : undefined),
  gson: (c, code) => ("<>&='".includes(c) || isSeparator(code) ? lower(code) : undefined),
  jackson: (c, code) => (code < 0x20 && !isShort(c) ? upper(code) : undefined),
  jacksonAscii: (c, code) => ((code < 0x20 && !isShort(c)) || code > 0x7f ? upper(code) : undefined),
  dotnet: (c, code) =>
    ('"\'&+<>`'.includes(c) || code > 0x7e || (code < 0x20 && !isShort(c)) ? upper(code) : undefined),
};

/** Writes JSON with these marks: `indent` is none for one line. */
function write(value, { escape, comma = ',', colon = ':', indent, newline = '\n', empty = ['{}', '[]'],
  inlineArrays = false, number = String } = {}, depth = 0) {
  const options = arguments[1] ?? {};
  if (typeof value === 'string') return quote(value, escape);
  if (typeof value === 'number') return number(value);
  if (value === null || typeof value !== 'object') return String(value);
  const isArray = Array.isArray(value);
  const deeper = isArray && inlineArrays ? depth : depth + 1;
  const items = isArray
    ? value.map(item => write(item, options, deeper))
    : Object.entries(value).map(([key, item]) => quote(key, escape) + colon + write(item, options, deeper));
  const [open, close] = isArray ? '[]' : '{}';
  const line = depth => (indent === undefined ? '' : newline + indent.repeat(depth));
  if (items.length === 0) {
    const nothing = empty[isArray ? 1 : 0];
    return typeof nothing === 'function' ? nothing(line(depth)) : nothing;
  }
  if (isArray && inlineArrays) return '[ ' + items.join(', ') + ' ]';
  return open + line(depth + 1) + items.join(comma + line(depth + 1)) + line(depth) + close;
}

const sorted = value => Array.isArray(value) ? value.map(sorted)
  : value === null || typeof value !== 'object' ? value
    : Object.fromEntries(Object.keys(value).sort().map(key => [key, sorted(value[key])]));
const withoutNulls = value => Array.isArray(value) ? value.map(withoutNulls)
  : value === null || typeof value !== 'object' ? value
    : Object.fromEntries(Object.entries(value).filter(([, item]) => item !== null)
      .map(([key, item]) => [key, withoutNulls(item)]));

const FORMATS = {
  'JSON.stringify(event)': value => JSON.stringify(value),
  'JSON.stringify(event, null, 2)': value => JSON.stringify(value, null, 2),
  'JSON.stringify(event, null, 4)': value => JSON.stringify(value, null, 4),
  "JSON.stringify(event, null, '\\t')": value => JSON.stringify(value, null, '\t'),
  'a sorted JSON.stringify': value => JSON.stringify(sorted(value)),
  'a sorted JSON.stringify with 2 spaces': value => JSON.stringify(sorted(value), null, 2),
  'a formatter that keeps one line (", " and ": ")': value => write(value, { comma: ', ', colon: ': ' }),
  "PHP's json_encode": value => write(value, { escape: ESCAPES.php }),
  "PHP's json_encode with JSON_UNESCAPED_UNICODE": value => write(value, { escape: ESCAPES.phpUnicode }),
  "PHP's json_encode with JSON_UNESCAPED_SLASHES": value => write(value, { escape: ESCAPES.phpSlashes }),
  "PHP's json_encode with JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES":
    value => write(value, { escape: ESCAPES.phpBoth }),
  "PHP's json_encode with JSON_PRETTY_PRINT":
    value => write(value, { escape: ESCAPES.php, indent: '    ', colon: ': ' }),
  "PHP's json_encode with JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES":
    value => write(value, { escape: ESCAPES.phpBoth, indent: '    ', colon: ': ' }),
  "Go's json.Marshal of a struct": value => write(value, { escape: ESCAPES.go }),
  "Go's json.Marshal of a map": value => write(sorted(value), { escape: ESCAPES.go }),
  "Go's json.MarshalIndent of a struct": value => write(value, { escape: ESCAPES.go, indent: '  ', colon: ': ' }),
  "Go's json.MarshalIndent of a map, with tabs":
    value => write(sorted(value), { escape: ESCAPES.go, indent: '\t', colon: ': ' }),
  "Go's json.NewEncoder(w).Encode of a struct": value => write(value, { escape: ESCAPES.go }) + '\n',
  "Rails' to_json": value => write(value, { escape: ESCAPES.rails }),
  "Ruby's JSON.pretty_generate": value => write(value, { indent: '  ', colon: ': ' }),
  Jackson: value => write(value, { escape: ESCAPES.jackson }),
  'Jackson with ESCAPE_NON_ASCII': value => write(value, { escape: ESCAPES.jacksonAscii }),
  "Jackson's default pretty printer": value => write(value, {
    escape: ESCAPES.jackson, indent: '  ', colon: ' : ', empty: ['{ }', '[ ]'], inlineArrays: true,
  }),
  Gson: value => write(withoutNulls(value), { escape: ESCAPES.gson }),
  'Gson with serializeNulls': value => write(value, { escape: ESCAPES.gson }),
  'Gson with setPrettyPrinting and serializeNulls':
    value => write(value, { escape: ESCAPES.gson, indent: '  ', colon: ': ' }),
  'System.Text.Json': value => write(value, { escape: ESCAPES.dotnet }),
  'System.Text.Json with WriteIndented': value =>
    write(value, { escape: ESCAPES.dotnet, indent: '  ', colon: ': ' }),
  'System.Text.Json with WriteIndented on Windows': value =>
    write(value, { escape: ESCAPES.dotnet, indent: '  ', colon: ': ', newline: '\r\n' }),
  'Newtonsoft with Formatting.Indented': value => write(value, { indent: '  ', colon: ': ' }),
  'Newtonsoft with Formatting.Indented on Windows':
    value => write(value, { indent: '  ', colon: ': ', newline: '\r\n' }),
};

if (process.argv[2] === '--formats') {
  // For a comparison with the originals: one value on stdin, every form of it on stdout.
  const value = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  for (const [name, format] of Object.entries(FORMATS)) console.log(JSON.stringify([name, format(value)]));
  process.exit(0);
}

// How a line is made.

const JSON_TYPE = ['content-type', 'application/json'];
const FORM_TYPE = ['content-type', 'application/x-www-form-urlencoded'];
const hmac = (key, data, encoding = 'hex', algorithm = 'sha256') =>
  crypto.createHmac(algorithm, key).update(data).digest(encoding);

const lines = [];
function emit(recipe, kind, signature, body, { secret = null, certain = true, headers = [JSON_TYPE], holds, or } = {}) {
  lines.push(JSON.stringify({
    recipe: 'node: ' + recipe, kind, secret, certain: kind !== null && certain, signature, headers,
    body: Buffer.from(body).toString('base64'),
    ...(holds === undefined ? {} : { holds: Buffer.from(holds).toString('base64') }),
    ...(or === undefined ? {} : { or }),
  }));
}
/** Something was signed with a right secret, and something else arrives. */
function changed(recipe, kind, signed, sent, { by = 'primary', ...options } = {}) {
  if (Buffer.from(signed).equals(Buffer.from(sent))) throw new Error(`nothing is changed: ${recipe}`);
  emit(recipe, kind, hmac(SECRETS[by], signed), sent, { secret: by, ...options });
}
/** What arrives was signed, but with another key. */
const keyed = (recipe, kind, key, options = {}, event = COMPLETED) => {
  const body = JSON.stringify(event);
  emit(recipe, kind, hmac(key, body), body, { secret: 'primary', ...options });
};
const header = (recipe, kind, make, options = {}, event = COMPLETED) => {
  const body = JSON.stringify(event);
  emit(recipe, kind, make(body), body, { certain: false, ...options });
};
const nothing = (recipe, signature, body, options = {}) => emit(recipe, null, signature, body, options);
const compact = JSON.stringify;

// Secrets.

for (const [what, event] of Object.entries({ COMPLETED, FAILED, UMLAUTS, NESTED })) {
  keyed(`staging's secret in production (${what})`, 'RecognizedSecret', STAGING, { secret: 'staging' }, event);
}
keyed('fs.readFileSync of a secret file with its newline', 'SecretNewline', SECRET + '\n');
keyed('fs.readFileSync of a secret file from Windows', 'SecretNewline', SECRET + '\r\n');
keyed('fs.readFileSync of the old secret with its newline', 'SecretNewline', OLD + '\n', { secret: 'old' }, CJK);
keyed("staging's secret with its newline", 'SecretNewline', STAGING + '\n', { secret: 'staging', or: ['RecognizedSecret'] });
keyed('a .env with CR LF, split at the LF', 'SecretNewline', SECRET + '\r', { or: ['SecretWhiteSpace'] });
keyed('a secret file that ends in two newlines', 'SecretNewline', SECRET + '\n\n', { or: ['SecretWhiteSpace'] });
keyed('a secret copied with a space behind it', 'SecretWhiteSpace', SECRET + ' ');
keyed('"KEY= secret" split at the equals sign', 'SecretWhiteSpace', ' ' + SECRET);
keyed('a secret copied with spaces around it', 'SecretWhiteSpace', ' ' + SECRET + ' ');
keyed('a secret copied from a table with its tab', 'SecretWhiteSpace', SECRET + '\t');
keyed('a tab in front of the secret', 'SecretWhiteSpace', '\t' + SECRET, {}, NESTED);
keyed('the old secret with a space behind it', 'SecretWhiteSpace', OLD + ' ', { secret: 'old' }, UMLAUTS);
keyed('a secret copied from a web page with a no-break space', 'SecretWhiteSpace', SECRET + '\u00a0');
keyed('a newline in front of the secret, from a YAML block', 'SecretWhiteSpace', '\n' + SECRET, { or: ['SecretNewline'] });
keyed('docker --env-file, which keeps double quotes', 'SecretQuoted', `"${SECRET}"`);
keyed('docker --env-file, which keeps single quotes', 'SecretQuoted', `'${SECRET}'`);
keyed('JSON.stringify of the secret', 'SecretQuoted', JSON.stringify(OLD), { secret: 'old' }, FAILED);
keyed("staging's secret in quotes", 'SecretQuoted', `"${STAGING}"`, { secret: 'staging', or: ['RecognizedSecret'] });
keyed('backticks around the secret', 'SecretQuoted', '`' + SECRET + '`');
keyed('the receiver kept the double quotes', 'SecretUnquoted', SECRET, { holds: `"${SECRET}"` });
keyed('the receiver kept the single quotes', 'SecretUnquoted', SECRET, { holds: `'${SECRET}'` }, UMLAUTS);

const BYTES = crypto.createHash('sha256').update('the bytes of a secret').digest();
const HEX = BYTES.toString('hex'), BASE64 = BYTES.toString('base64'), URL64 = BYTES.toString('base64url');
keyed("Buffer.from(secret, 'hex')", 'SecretDecoded', Buffer.from(HEX, 'hex'), { holds: HEX });
keyed("Buffer.from(secret, 'hex') of upper-case digits", 'SecretDecoded', BYTES, { holds: HEX.toUpperCase() }, CJK);
keyed("Buffer.from(secret, 'base64')", 'SecretDecoded', Buffer.from(BASE64, 'base64'), { holds: BASE64 });
keyed("Buffer.from(secret, 'base64url')", 'SecretDecoded', Buffer.from(URL64, 'base64url'), { holds: URL64 });
keyed("Buffer.from(secret, 'base64') of text that is no base64", 'SecretDecoded', Buffer.from(SECRET, 'base64'));
keyed("Buffer.from(secret, 'base64') of text that is no base64, old", 'SecretDecoded', Buffer.from(OLD, 'base64'), { secret: 'old' });
keyed("Buffer.from(secret, 'base64') of hex digits", 'SecretDecoded', Buffer.from(HEX, 'base64'), { holds: HEX });
keyed("Buffer.from(secret, 'base64') of text with a dot", 'SecretDecoded',
  Buffer.from('n7.live.0d9f8a7b6c5d4e3f', 'base64'), { holds: 'n7.live.0d9f8a7b6c5d4e3f' });
keyed("Buffer.from(secret.replace('whsec_', ''), 'base64'), as Svix has it", 'SecretDecoded', BYTES, { holds: 'whsec_' + BASE64 });
keyed("Buffer.from(uuid.replaceAll('-', ''), 'hex')", 'SecretDecoded',
  Buffer.from('6f1c1f0e9d5b4e0c8a7e2b3c4d5e6f70', 'hex'), { holds: '6f1c1f0e-9d5b-4e0c-8a7e-2b3c4d5e6f70' });
keyed("Buffer.from(secret, 'hex') of text that begins like hex", 'SecretDecoded',
  Buffer.from('4f9ab2c3-number7', 'hex'), { holds: '4f9ab2c3-number7' });
keyed("Buffer.from(secret, 'hex') of text that is no hex, which is empty", 'SecretMissing',
  Buffer.from(SECRET, 'hex'), { secret: null, or: ['SecretDecoded'] });
keyed('the receiver decoded the hex', 'SecretEncoded', HEX, { holds: BYTES });
keyed('the receiver decoded the upper-case hex', 'SecretEncoded', HEX.toUpperCase(), { holds: BYTES });
keyed('the receiver decoded the base64', 'SecretEncoded', BASE64, { holds: BYTES }, FAILED);
keyed('the receiver decoded the base64url', 'SecretEncoded', URL64, { holds: BYTES });
keyed('the receiver decoded the base64 that has no padding', 'SecretEncoded', BASE64.replace(/=+$/, ''), { holds: BYTES });
keyed('a Kubernetes secret taken from its YAML, in base64', 'SecretEncoded', Buffer.from(SECRET).toString('base64'));
keyed("Buffer.from(secret).toString('hex')", 'SecretEncoded', Buffer.from(OLD).toString('hex'), { secret: 'old' });

keyed("process.env.WEBHOOK_SECRET ?? ''", 'SecretMissing', '', { secret: null });
keyed('`${process.env.WEBHOOK_SECRET}`', 'SecretMissing', 'undefined', { secret: null });
keyed('String(config.secret) of null', 'SecretMissing', 'null', { secret: null }, CJK);
keyed("process.env.WEBHOOK_SECRET || '', NESTED", 'SecretMissing', '', { secret: null }, NESTED);
keyed('JSON.stringify of an empty secret', 'SecretMissing', '""', { secret: null });
for (const event of [COMPLETED, UMLAUTS]) {
  header('createHash instead of createHmac: ' + event.jobId, 'NotKeyed',
    body => crypto.createHash('sha256').update(body).digest('hex'), { certain: true }, event);
}
// No kind is made for these: nothing certain is right, nor is anything likely wrong.
keyed("the secret's name instead of its value", null, 'WEBHOOK_SECRET', { secret: null, or: ['SecretMissing'] });
keyed("'${WEBHOOK_SECRET}' in single quotes", null, '${WEBHOOK_SECRET}', { secret: null, or: ['SecretMissing'] });
keyed('a secret file with a byte order mark', null, '\ufeff' + SECRET, { or: ['SecretWhiteSpace'] });
keyed('a secret with a zero width space behind it', null, SECRET + '\u200b', { or: ['SecretWhiteSpace'] });
keyed('a secret with a backslash and an n behind it', null, SECRET + '\\n', { or: ['SecretNewline'] });
keyed('a secret in UTF-16', null, Buffer.from(SECRET, 'utf16le'), {});
keyed('a hashed secret', null, crypto.createHash('sha256').update(SECRET).digest('hex'), {});

// The end of the body, its line ends, its mark.

changed('signs JSON, sends it with a newline', 'FinalNewlineAdded', compact(COMPLETED), compact(COMPLETED) + '\n');
changed('signs JSON, sends it with CR LF', 'FinalNewlineAdded', compact(UMLAUTS), compact(UMLAUTS) + '\r\n');
changed('signs pretty JSON, writes it as a file with its newline', 'FinalNewlineAdded',
  compact(NESTED, null, 2), compact(NESTED, null, 2) + '\n', { by: 'old' });
changed('a newline is added, and the secret is staging\'s', 'FinalNewlineAdded',
  compact(FAILED), compact(FAILED) + '\n', { by: 'staging', or: ['RecognizedSecret'] });
changed('signs a file, sends it trimmed', 'FinalNewlineLost', compact(COMPLETED) + '\n', compact(COMPLETED));
changed('signs a file from Windows, sends it trimmed', 'FinalNewlineLost', compact(CJK) + '\r\n', compact(CJK));
changed('signs a pretty file, sends it trimmed', 'FinalNewlineLost', compact(NESTED, null, 2) + '\n', compact(NESTED, null, 2));
changed('signs a file with two newlines, sends it trimmed', 'FinalNewlineLost', compact(FAILED) + '\n\n', compact(FAILED));
changed('adds two newlines', 'FinalNewlineAdded', compact(FAILED), compact(FAILED) + '\n\n');
const crlf = text => text.replace(/\n/g, '\r\n');
changed('signs a checkout with CR LF, sends LF', 'LineEndings', crlf(compact(NESTED, null, 2)), compact(NESTED, null, 2));
changed('signs LF, sends a checkout with CR LF', 'LineEndings', compact(NESTED, null, 4), crlf(compact(NESTED, null, 4)));
changed('signs a file with LF, sends its checkout with CR LF', 'LineEndings',
  compact(UMLAUTS, null, 2) + '\n', crlf(compact(UMLAUTS, null, 2) + '\n'));
changed('signs a file with CR LF, sends its checkout with LF', 'LineEndings',
  crlf(compact(COMPLETED, null, '\t') + '\n'), compact(COMPLETED, null, '\t') + '\n', { by: 'old' });
changed('signs a file with CR LF, sends LF and trimmed', 'LineEndings',
  crlf(compact(COMPLETED, null, 2) + '\n'), compact(COMPLETED, null, 2), { or: ['FinalNewlineLost', 'Reserialized'] });
changed('signs a file with its mark, sends it without', 'ByteOrderMark', '\ufeff' + compact(COMPLETED), compact(COMPLETED));
changed('signs JSON, sends a file with a mark', 'ByteOrderMark', compact(UMLAUTS), '\ufeff' + compact(UMLAUTS));
changed('signs pretty JSON, sends a file with a mark', 'ByteOrderMark', compact(NESTED, null, 2), '\ufeff' + compact(NESTED, null, 2));
changed('signs JSON, sends what PowerShell wrote: a mark, and CR LF behind', 'ByteOrderMark',
  compact(COMPLETED), '\ufeff' + compact(COMPLETED) + '\r\n', { or: ['FinalNewlineAdded'] });

// JSON that is serialized again: signed in the first form, sent in the second.

for (const [signed, sent, event, options] of [
  ['JSON.stringify(event)', 'JSON.stringify(event, null, 2)', COMPLETED],
  ['JSON.stringify(event)', 'JSON.stringify(event, null, 4)', NESTED],
  ['JSON.stringify(event)', "JSON.stringify(event, null, '\\t')", FAILED],
  ['JSON.stringify(event, null, 2)', 'JSON.stringify(event)', NESTED],
  ['JSON.stringify(event, null, 2)', 'JSON.stringify(event)', CONTROLS, { by: 'old' }],
  ['JSON.stringify(event, null, 4)', 'JSON.stringify(event)', UMLAUTS],
  ["JSON.stringify(event, null, '\\t')", 'JSON.stringify(event)', COMPLETED],
  ["JSON.stringify(event, null, '\\t')", 'JSON.stringify(event, null, 4)', NESTED],
  ['JSON.stringify(event, null, 2)', 'JSON.stringify(event, null, 4)', QUOTES],
  ['a formatter that keeps one line (", " and ": ")', 'JSON.stringify(event)', NESTED],
  ['a formatter that keeps one line (", " and ": ")', 'JSON.stringify(event)', CJK],
  ['JSON.stringify(event)', 'a formatter that keeps one line (", " and ": ")', HTML],
  ['JSON.stringify(event)', 'JSON.stringify(event, null, 2)', UMLAUTS, { by: 'staging', or: ['RecognizedSecret'] }],
  ['a sorted JSON.stringify', 'JSON.stringify(event)', COMPLETED],
  ['a sorted JSON.stringify', 'JSON.stringify(event)', NESTED],
  ['a sorted JSON.stringify', 'JSON.stringify(event, null, 2)', UMLAUTS],
  ['a sorted JSON.stringify with 2 spaces', 'JSON.stringify(event)', FAILED],
  ['JSON.stringify(event)', 'a sorted JSON.stringify', COMPLETED],
  ['JSON.stringify(event)', 'a sorted JSON.stringify', FAILED],
  ['JSON.stringify(event)', 'a sorted JSON.stringify', NESTED],
  ["PHP's json_encode", 'JSON.stringify(event)', UMLAUTS],
  ["PHP's json_encode", 'JSON.stringify(event)', SLASHES],
  ["PHP's json_encode", 'JSON.stringify(event)', CJK],
  ["PHP's json_encode", 'JSON.stringify(event, null, 2)', NESTED],
  ["PHP's json_encode", "PHP's json_encode with JSON_UNESCAPED_UNICODE", UMLAUTS],
  ["PHP's json_encode", "PHP's json_encode with JSON_UNESCAPED_SLASHES", HTML],
  ["PHP's json_encode with JSON_UNESCAPED_UNICODE", 'JSON.stringify(event)', HTML],
  ["PHP's json_encode with JSON_UNESCAPED_UNICODE", 'JSON.stringify(event)', NESTED],
  ["PHP's json_encode with JSON_UNESCAPED_SLASHES", 'JSON.stringify(event)', CJK],
  ["PHP's json_encode with JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES", "PHP's json_encode", UMLAUTS],
  ["PHP's json_encode with JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES", 'JSON.stringify(event)', SEPARATORS],
  ["PHP's json_encode with JSON_PRETTY_PRINT", 'JSON.stringify(event)', COMPLETED],
  ["PHP's json_encode with JSON_PRETTY_PRINT", "PHP's json_encode", HTML],
  ["PHP's json_encode with JSON_PRETTY_PRINT", 'JSON.stringify(event)', UMLAUTS],
  ["PHP's json_encode with JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES", "PHP's json_encode", NESTED],
  ['JSON.stringify(event)', "PHP's json_encode", UMLAUTS],
  ['JSON.stringify(event)', "PHP's json_encode", SLASHES],
  ['JSON.stringify(event)', "PHP's json_encode with JSON_PRETTY_PRINT", CJK],
  ['JSON.stringify(event)', "PHP's json_encode with JSON_UNESCAPED_UNICODE", HTML],
  ['JSON.stringify(event, null, 2)', "PHP's json_encode", CONTROLS],
  ["Go's json.Marshal of a struct", 'JSON.stringify(event)', HTML],
  ["Go's json.Marshal of a struct", 'JSON.stringify(event)', CONTROLS],
  ["Go's json.Marshal of a struct", 'JSON.stringify(event, null, 2)', HTML],
  ["Go's json.Marshal of a struct", 'JSON.stringify(event)', SEPARATORS],
  ["Go's json.Marshal of a map", 'JSON.stringify(event)', NESTED],
  ["Go's json.Marshal of a map", 'JSON.stringify(event)', HTML],
  ["Go's json.MarshalIndent of a struct", 'JSON.stringify(event)', HTML],
  ["Go's json.MarshalIndent of a map, with tabs", "Go's json.Marshal of a struct", NESTED],
  ["Go's json.NewEncoder(w).Encode of a struct", "Go's json.Marshal of a struct", HTML, { kind: 'FinalNewlineLost' }],
  ["Go's json.Marshal of a struct", "Go's json.NewEncoder(w).Encode of a struct", HTML, { kind: 'FinalNewlineAdded' }],
  ['JSON.stringify(event)', "Go's json.NewEncoder(w).Encode of a struct", HTML, { or: ['FinalNewlineAdded'] }],
  ['JSON.stringify(event)', "Go's json.Marshal of a struct", HTML],
  ['JSON.stringify(event)', "Go's json.Marshal of a map", COMPLETED],
  ['JSON.stringify(event)', "Go's json.Marshal of a map", HTML],
  ["Rails' to_json", 'JSON.stringify(event)', HTML],
  ["Rails' to_json", "Ruby's JSON.pretty_generate", SEPARATORS],
  ["Ruby's JSON.pretty_generate", 'JSON.stringify(event)', NESTED],
  ['Jackson', 'JSON.stringify(event)', CONTROLS],
  ['Jackson with ESCAPE_NON_ASCII', 'Jackson', UMLAUTS],
  ['Jackson with ESCAPE_NON_ASCII', 'JSON.stringify(event)', CJK],
  ['Jackson', 'Jackson with ESCAPE_NON_ASCII', CJK],
  ["Jackson's default pretty printer", 'Jackson', COMPLETED],
  ["Jackson's default pretty printer", 'Jackson', NESTED],
  ["Jackson's default pretty printer", 'JSON.stringify(event, null, 2)', NESTED],
  ['Jackson', "Jackson's default pretty printer", NESTED],
  ['Gson', 'JSON.stringify(event)', HTML],
  ['Gson', 'JSON.stringify(event)', QUOTES],
  ['Gson with serializeNulls', 'Jackson', HTML],
  ['Gson', 'JSON.stringify(event)', NESTED],
  ['Gson with setPrettyPrinting and serializeNulls', 'JSON.stringify(event)', HTML],
  ['Jackson', 'Gson', HTML],
  ['JSON.stringify(event)', 'Gson', NESTED],
  ['System.Text.Json', 'JSON.stringify(event)', HTML],
  ['System.Text.Json', 'JSON.stringify(event)', CJK],
  ['System.Text.Json', 'JSON.stringify(event)', CONTROLS],
  ['System.Text.Json', 'JSON.stringify(event)', QUOTES, { by: 'old' }],
  ['System.Text.Json with WriteIndented', 'System.Text.Json', UMLAUTS],
  ['System.Text.Json with WriteIndented on Windows', 'System.Text.Json', HTML],
  ['JSON.stringify(event)', 'System.Text.Json', UMLAUTS],
  ['JSON.stringify(event)', 'System.Text.Json', HTML],
  ['Newtonsoft with Formatting.Indented', 'JSON.stringify(event)', QUOTES],
  ['Newtonsoft with Formatting.Indented on Windows', 'JSON.stringify(event)', NESTED],
  ['Newtonsoft with Formatting.Indented on Windows', 'System.Text.Json', CJK],
]) {
  const { kind = 'Reserialized', ...rest } = options ?? {};
  changed(`signs ${signed}, sends ${sent}: ${event.jobId}`, kind, FORMATS[signed](event), FORMATS[sent](event), rest);
}
changed('signs JSON, a proxy escapes slashes only', 'Reserialized', compact(SLASHES), compact(SLASHES).replace(/\//g, '\\/'));
const price = compact(NESTED).replace('1250.5', '1250.50').replace('50.5}', '50.50}');
changed('signs prices with two decimals, a proxy in Node parses them', 'Reserialized', price, compact(JSON.parse(price)));
const bigId = '{"event":"job.completed","jobId":"job_b","fileStatus":"done","id":12345678901234567890}';
changed('signs a number of 20 digits, a proxy in Node rounds it', 'Reserialized', bigId, compact(JSON.parse(bigId)));
const floats = '{"event":"job.completed","jobId":"job_e","pages":3.0,"ratio":1e-7,"total":1E+3}';
changed('signs 3.0 and 1E+3, a proxy in Node parses them', 'Reserialized', floats, compact(JSON.parse(floats)));
const twice = '{"event":"job.completed","event":"job.completed","jobId":"job_t"}';
changed('signs a key twice, a proxy in Node keeps one', 'Reserialized', twice, compact(JSON.parse(twice)));
const years = '{"event":"job.completed","jobId":"job_y","totals":{"b":1,"2025":2,"2024":3}}';
changed('signs keys that are numbers, a proxy in Node moves them to the front', 'Reserialized', years, compact(JSON.parse(years)));

// Text.

const latin1 = text => Buffer.from(text, 'latin1'); // as Node: the low byte of what does not fit
const doubled = text => Buffer.from(Buffer.from(text).toString('latin1'));
changed('signs UTF-8, sends Latin-1', 'TextEncoding', compact(LATIN), latin1(compact(LATIN)));
changed('signs Latin-1, sends UTF-8', 'TextEncoding', latin1(compact(LATIN)), compact(LATIN));
changed("signs UTF-8, sends Buffer.from(body, 'latin1') of more than Latin-1", 'TextEncoding',
  compact(UMLAUTS), latin1(compact(UMLAUTS)), { certain: false });
changed('signs UTF-8, sends it encoded twice', 'TextEncoding', compact(LATIN), doubled(compact(LATIN)));
changed('signs UTF-8, sends € encoded twice', 'TextEncoding', compact(UMLAUTS), doubled(compact(UMLAUTS)), { by: 'old' });
changed('signs UTF-8, sends emoji encoded twice', 'TextEncoding', compact(CJK), doubled(compact(CJK)));
changed('signs UTF-8 encoded twice, sends UTF-8', 'TextEncoding', doubled(compact(LATIN)), compact(LATIN));
changed('signs emoji encoded twice, sends UTF-8', 'TextEncoding', doubled(compact(CJK)), compact(CJK));
changed('reads Latin-1 as UTF-8, so that umlauts are lost', 'TextEncoding', latin1(compact(LATIN)),
  latin1(compact(LATIN)).toString(), { certain: false });
changed('signs UTF-16', null, Buffer.from(compact(UMLAUTS), 'utf16le'), compact(UMLAUTS), { or: ['TextEncoding'] });
changed('signs composed umlauts, sends decomposed ones', null, compact(UMLAUTS), compact(UMLAUTS).normalize('NFD'), { or: ['TextEncoding'] });

// Forms.

const form = { headers: [FORM_TYPE], certain: false };
for (const event of [COMPLETED, UMLAUTS]) {
  const json = compact(event);
  changed(`new URLSearchParams({ payload }): ${event.jobId}`, 'FormEncoded', json, String(new URLSearchParams({ payload: json })), form);
  changed(`querystring.stringify({ payload }): ${event.jobId}`, 'FormEncoded', json, querystring.stringify({ payload: json }), form);
  changed(`signs JSON, sends new URLSearchParams(event): ${event.jobId}`, 'FormEncoded', json, String(new URLSearchParams(event)), form);
  changed(`signs JSON, sends querystring.stringify(event): ${event.jobId}`, 'FormEncoded', json, querystring.stringify(event), form);
}
changed('a form whose type says JSON', 'FormEncoded', compact(FAILED), querystring.stringify({ payload: compact(FAILED) }), { certain: false });
changed('signs JSON, sends numbers and booleans as a form', 'FormEncoded', compact(FLAT), querystring.stringify(FLAT), form);

// What nobody looks for.

changed('a lambda gets the body in base64', null, compact(COMPLETED), Buffer.from(compact(COMPLETED)).toString('base64'));
changed('JSON.stringify of the JSON is sent', null, compact(COMPLETED), compact(compact(COMPLETED)));
changed('signs new URLSearchParams(event), sends JSON', null, String(new URLSearchParams(COMPLETED)), compact(COMPLETED));
changed('JSON.stringify(req.body) of a Buffer is signed', null, compact(Buffer.from(compact(COMPLETED))), compact(COMPLETED), { or: ['SignedNothing', 'Reserialized'] });
changed('JSON.stringify of a Buffer is sent', null, compact(COMPLETED), compact(Buffer.from(compact(COMPLETED))), { or: ['Reserialized'] });
changed('the body in hex is signed', null, Buffer.from(compact(COMPLETED)).toString('hex'), compact(COMPLETED));
changed('the body is wrapped in { body }', null, compact(COMPLETED), compact({ body: COMPLETED }), { or: ['Reserialized'] });

// Nothing signed, nothing sent.

for (const [what, signed] of Object.entries({
  'an empty text': '', '{}': '{}', '[object Object], which is `${event}`': `${COMPLETED}`, 'undefined': 'undefined',
  'null': 'null', '[object Promise]': String(Promise.resolve()), 'an empty JSON text': '""', '[]': '[]',
})) {
  changed(`signs ${what}`, 'SignedNothing', signed, compact(COMPLETED));
}
changed('signs an empty text with the old secret', 'SignedNothing', '', compact(UMLAUTS), { by: 'old' });
changed('signs {} because the body was awaited too late', 'SignedNothing', '{}', compact(NESTED, null, 2));
changed('the body was read in front, and none arrives', 'EmptyBody', compact(COMPLETED), '', { certain: false, secret: null });
changed('none arrives, and its length is 0', 'EmptyBody', compact(UMLAUTS), '',
  { certain: false, secret: null, headers: [JSON_TYPE, ['content-length', '0']] });
changed('an empty object arrives', null, compact(COMPLETED), '{}', { secret: null });
emit('a plain SHA-256 of nothing', 'SignedNothing', crypto.createHash('sha256').digest('hex'), compact(COMPLETED), { or: ['NotKeyed'] });

// Compression, and bodies that are cut off.

const likely = { certain: false, secret: null };
changed('gzip without a content-encoding', 'Compressed', compact(COMPLETED), zlib.gzipSync(compact(COMPLETED)), likely);
changed('gzip without a content-encoding, nested', 'Compressed', compact(NESTED), zlib.gzipSync(compact(NESTED), { level: 9 }), likely);
changed('deflate without a content-encoding', 'Compressed', compact(UMLAUTS), zlib.deflateSync(compact(UMLAUTS)), likely);
changed('deflate at its best without a content-encoding', 'Compressed', compact(UMLAUTS), zlib.deflateSync(compact(UMLAUTS), { level: 9 }), likely);
changed('raw deflate without a content-encoding', 'Compressed', compact(FAILED), zlib.deflateRawSync(compact(FAILED)), likely);
changed('Brotli without a content-encoding', 'Compressed', compact(FAILED), zlib.brotliCompressSync(compact(FAILED)), likely);
changed('signs JSON, and a client gzips it and says so', 'Compressed', compact(COMPLETED), zlib.gzipSync(compact(COMPLETED)),
  { ...likely, headers: [JSON_TYPE, ['content-encoding', 'gzip']] });
for (const [coding, compress] of [
  ['gzip', zlib.gzipSync], ['x-gzip', zlib.gzipSync], ['GZIP', zlib.gzipSync], ['deflate', zlib.deflateSync],
  ['br', zlib.brotliCompressSync],
]) {
  changed(`signs what is compressed, and a proxy inflates it: ${coding}`, 'Decompressed', compress(compact(FAILED)),
    compact(FAILED), { ...likely, headers: [JSON_TYPE, ['content-encoding', coding]] });
}
for (const [what, event] of Object.entries({ UMLAUTS, CJK })) {
  const json = compact(event), sent = Buffer.from(json).subarray(0, json.length);
  changed(`'Content-Length': body.length counts characters: ${what}`, 'CutOff', json, sent,
    { ...likely, headers: [JSON_TYPE, ['content-length', String(json.length)]] });
}
for (const length of [1, 20, 64, 100]) {
  changed(`cut off after ${length} bytes`, 'CutOff', compact(COMPLETED), compact(COMPLETED).slice(0, length), likely);
}
changed('cut off in the middle of a character', 'CutOff', compact(CJK), Buffer.from(compact(CJK)).subarray(0, 133), likely);
changed('only the closing brace is cut off', 'CutOff', compact(COMPLETED), compact(COMPLETED).slice(0, -1), { ...likely, secret: 'primary', certain: true });
changed('pretty JSON is cut off behind a comma', 'CutOff', compact(NESTED, null, 2),
  compact(NESTED, null, 2).slice(0, compact(NESTED, null, 2).indexOf(',', 200) + 1), likely);
changed('a large body is cut off at 4096 bytes', 'CutOff', compact(failed('job_big', 'x'.repeat(8000))),
  compact(failed('job_big', 'x'.repeat(8000))).slice(0, 4096), likely);

// Headers.

const signedHex = body => hmac(SECRET, body);
for (const prefix of ['sha256=', 'SHA256=', 'v1=', 'v0=', 'sha256:', 'hmac-sha256=', 'HMAC-SHA256 ', 'Bearer ', 'sha256 ', '0x']) {
  header(`"${prefix}" in front of the digits`, 'SignaturePrefix', body => prefix + signedHex(body));
}
header('"sha256= " with a space', 'SignaturePrefix', body => 'sha256= ' + signedHex(body), { or: ['SignatureWhiteSpace'] });
header('base64', 'SignatureBase64', body => hmac(SECRET, body, 'base64'));
header('base64 of a longer body', 'SignatureBase64', body => hmac(SECRET, body, 'base64'), {}, NESTED);
header('base64url', 'SignatureBase64', body => hmac(SECRET, body, 'base64url'));
header('base64 without padding', 'SignatureBase64', body => hmac(SECRET, body, 'base64').slice(0, -1));
header('base64 with a prefix', 'SignaturePrefix', body => 'sha256=' + hmac(SECRET, body, 'base64'), { or: ['SignatureBase64'] });
header('base64 with v1, as Svix has it', 'SignatureList', body => 'v1,' + hmac(SECRET, body, 'base64'), { or: ['SignaturePrefix', 'SignatureBase64'] });
header('base64 of the hex digits', 'SignatureBase64', body => Buffer.from(signedHex(body)).toString('base64'), { or: ['SignatureOtherHash'] });
header('base64 in encodeURIComponent', 'SignatureBase64', body => encodeURIComponent(hmac(SECRET, body, 'base64')));
header('base64 in quotes', 'SignatureQuoted', body => compact(hmac(SECRET, body, 'base64')), { or: ['SignatureBase64'] });
for (const algorithm of ['sha1', 'sha512', 'md5', 'sha384', 'sha224']) {
  header(`createHmac('${algorithm}')`, 'SignatureOtherHash', body => hmac(SECRET, body, 'hex', algorithm));
}
header('sha1= and SHA-1, as GitHub had it', 'SignatureOtherHash', body => 'sha1=' + hmac(SECRET, body, 'hex', 'sha1'), { or: ['SignaturePrefix'] });
header('SHA-512 in base64', 'SignatureOtherHash', body => hmac(SECRET, body, 'base64', 'sha512'), { or: ['SignatureBase64'] });
header('SHA-1 in base64, as Twilio has it', 'SignatureOtherHash', body => hmac(SECRET, body, 'base64', 'sha1'), { or: ['SignatureBase64'] });
header('t= and v1=, as Stripe has it', 'SignatureList', body => 't=1776852000,v1=' + signedHex(body), { or: ['SignaturePrefix'] });
header('two signatures with a comma', 'SignatureList', body => signedHex(body) + ',' + hmac(OLD, body));
header('two signatures with a comma and a space', 'SignatureList', body => signedHex(body) + ', ' + hmac(OLD, body));
header('two signatures with a space', 'SignatureList', body => signedHex(body) + ' ' + hmac(OLD, body), { or: ['SignatureWhiteSpace'] });
header('two signatures with prefixes', 'SignatureList', body => `v1=${signedHex(body)},v1=${hmac(OLD, body)}`, { or: ['SignaturePrefix'] });
header('two signatures with a semicolon', 'SignatureList', body => signedHex(body) + ';' + hmac(OLD, body));
header('JSON.stringify of the digits', 'SignatureQuoted', body => compact(signedHex(body)));
header('single quotes', 'SignatureQuoted', body => `'${signedHex(body)}'`);
header('a prefix, and quotes', 'SignaturePrefix', body => `sha256="${signedHex(body)}"`, { or: ['SignatureQuoted'] });
header('quotes, and a prefix in them', 'SignatureQuoted', body => `"sha256=${signedHex(body)}"`, { or: ['SignaturePrefix'] });
header('a newline behind the digits', 'SignatureWhiteSpace', body => signedHex(body) + '\n');
header('CR LF behind the digits', 'SignatureWhiteSpace', body => signedHex(body) + '\r\n');
header('a space in front of the digits', 'SignatureWhiteSpace', body => ' ' + signedHex(body));
header('groups of eight digits', 'SignatureWhiteSpace', body => signedHex(body).match(/.{8}/g).join(' '));
header('a newline after 60 digits', 'SignatureWhiteSpace', body => signedHex(body).replace(/^.{60}/, '$&\n'));
header('base64 with a newline behind it', 'SignatureBase64', body => hmac(SECRET, body, 'base64') + '\n', { or: ['SignatureWhiteSpace'] });
header('raw bytes', null, body => hmac(SECRET, body, 'binary'));
header('hmac.digest().toString()', null, body => Buffer.from(hmac(SECRET, body, 'buffer').toString()).toString('latin1'));
header('undefined', null, () => 'undefined');
header('[object Object]', null, () => '[object Object]');
header('an empty header', null, () => '');
header('one digit too few', null, body => signedHex(body).slice(1));
header('63 digits and a letter that is none', null, body => signedHex(body).slice(1) + 'g');
header('pairs of digits with a dash, as BitConverter.ToString has it', null, body => signedHex(body).toUpperCase().match(/../g).join('-'));
header('pairs of digits with a colon', null, body => signedHex(body).match(/../g).join(':'));

// Negatives: nobody here can know the cause.

const stranger = 'a-secret-that-nobody-here-knows';
for (const [what, body, headers] of [
  ['the published event', compact(COMPLETED)],
  ['umlauts', compact(UMLAUTS)],
  ['controls', compact(CONTROLS)],
  ['a final newline', compact(COMPLETED) + '\n'],
  ['CR LF', crlf(compact(NESTED, null, 2))],
  ['a byte order mark', '\ufeff' + compact(COMPLETED)],
  ['Latin-1', latin1(compact(LATIN))],
  ['text that is encoded twice', doubled(compact(UMLAUTS))],
  ['a form', querystring.stringify(COMPLETED), [FORM_TYPE]],
  ['a form with payload=', querystring.stringify({ payload: compact(FAILED) }), [FORM_TYPE]],
  ['base64', Buffer.from(compact(COMPLETED)).toString('base64')],
  ['JSON in text', compact(compact(COMPLETED))],
  ['pretty JSON', compact(NESTED, null, 4)],
  ['sorted JSON', compact(sorted(NESTED))],
  ["PHP's JSON", FORMATS["PHP's json_encode"](HTML)],
  ['JSON that is cut off', compact(COMPLETED).slice(0, 90)],
  ['gzip', zlib.gzipSync(compact(COMPLETED))],
  ['an empty object', '{}'],
  ['plain text', 'hello'],
  ['bytes', crypto.createHash('sha512').update('bytes').digest()],
]) {
  nothing(`an unknown secret, and ${what}`, hmac(stranger, body), body, { headers: headers ?? [JSON_TYPE] });
}
nothing('an unknown secret, and no body', hmac(stranger, ''), '');
nothing('an unknown secret with a newline', hmac(stranger + '\n', compact(COMPLETED)), compact(COMPLETED));
nothing('an unknown secret, and a content-encoding', hmac(stranger, compact(COMPLETED)), compact(COMPLETED),
  { headers: [JSON_TYPE, ['content-encoding', 'gzip']] });
for (const [what, from, to] of [
  ['another job', COMPLETED, { ...COMPLETED, jobId: 'job_abc124' }],
  ['another status', COMPLETED, { ...COMPLETED, fileStatus: 'failed' }],
  ['another event', COMPLETED, { ...COMPLETED, event: 'job.failed' }],
  ['a later timestamp', COMPLETED, { ...COMPLETED, timestamp: '2026-04-22T10:00:01.000Z' }],
  ['a timestamp without its milliseconds', COMPLETED, { ...COMPLETED, timestamp: '2026-04-22T10:00:00Z' }],
  ['a larger amount', NESTED, { ...NESTED, result: { ...NESTED.result, total: 9250.5 } }],
  ['a field more', COMPLETED, { ...COMPLETED, paid: true }],
  ['a field less', FAILED, COMPLETED],
  ['another case of letters', COMPLETED, { ...COMPLETED, jobId: 'JOB_ABC123' }],
  ['a space in a value', FAILED, { ...FAILED, error: 'page 2 could not be read ' }],
  ['a number that becomes a text', FLAT, { ...FLAT, pages: '3' }],
  ['umlauts that become ASCII', UMLAUTS, { ...UMLAUTS, error: 'Seite 2 ist groesser als erlaubt' }],
]) {
  nothing(`changed after the signing: ${what}`, hmac(SECRET, compact(from)), compact(to));
  nothing(`changed after the signing, and pretty: ${what}`, hmac(SECRET, compact(from)), compact(to, null, 2) + '\n');
}
nothing('zeros', '0'.repeat(64), compact(COMPLETED));
nothing('a wrong first digit', signedHex(compact(COMPLETED)).replace(/^./, digit => (digit === 'f' ? '0' : 'f')), compact(COMPLETED));
nothing('reversed digits', signedHex(compact(COMPLETED)).split('').reverse().join(''), compact(COMPLETED));
nothing('key and message swapped', hmac(compact(COMPLETED), SECRET), compact(COMPLETED));
nothing('SHA-256 of the secret and the body', crypto.createHash('sha256').update(SECRET + compact(COMPLETED)).digest('hex'), compact(COMPLETED));
nothing('SHA-256 of the body and the secret', crypto.createHash('sha256').update(compact(COMPLETED) + SECRET).digest('hex'), compact(COMPLETED));
nothing('SHA3-256', hmac(SECRET, compact(COMPLETED), 'hex', 'sha3-256'), compact(COMPLETED));
nothing('a timestamp is signed in front of the body, as Stripe has it', hmac(SECRET, '1776852000.' + compact(COMPLETED)), compact(COMPLETED));
nothing('method and path are signed in front of the body', hmac(SECRET, 'POST\n/webhook\n' + compact(COMPLETED)), compact(COMPLETED));
nothing('only the id of the job is signed', hmac(SECRET, COMPLETED.jobId), compact(COMPLETED));
for (const seed of ['a', 'b', 'c']) {
  nothing(`a random signature ${seed}`, crypto.createHash('sha256').update(seed).digest('hex'), compact(NESTED));
}

console.log(lines.join('\n'));
