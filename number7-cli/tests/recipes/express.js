// A receiver as the vendor's documentation shows it for Express: raw body, HMAC, timingSafeEqual,
// and then the JSON. It prints its port. If STORE names a file, each event is on the disk before the 200, once.
const crypto = require("crypto");
const express = require("express");

const { STORE } = process.env;
const store = STORE && require("fs").promises.open(STORE, "a");
const kept = new Map();

function keep(body) {
  const { event, jobId } = JSON.parse(body.toString());
  const key = `${event}:${jobId}`;
  const write = async (file) => {
    await file.appendFile(`${body}\n`);
    await file.datasync();
  };
  if (store && !kept.has(key)) kept.set(key, store.then(write));
  return kept.get(key);
}

const app = express();
app.post("/webhook", express.raw({ type: "application/json" }), async (request, response) => {
  const hmac = crypto.createHmac("sha256", process.env.WEBHOOK_SECRET);
  const expected = Buffer.from(hmac.update(request.body).digest("hex"));
  const signature = Buffer.from(request.headers["x-number7ai-signature"]);
  if (!crypto.timingSafeEqual(expected, signature)) {
    return response.status(401).send("Invalid signature");
  }
  await keep(request.body);
  response.sendStatus(200);
});
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
