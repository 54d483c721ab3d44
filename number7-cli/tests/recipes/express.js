// A receiver as the vendor's documentation shows it for Express: raw body, HMAC, timingSafeEqual,
// and then the JSON. It prints its port.
const crypto = require("crypto");
const express = require("express");

const app = express();
app.post("/webhook", express.raw({ type: "application/json" }), (request, response) => {
  const hmac = crypto.createHmac("sha256", process.env.WEBHOOK_SECRET);
  const expected = Buffer.from(hmac.update(request.body).digest("hex"));
  const signature = Buffer.from(request.headers["x-number7ai-signature"]);
  if (!crypto.timingSafeEqual(expected, signature)) {
    return response.status(401).send("Invalid signature");
  }
  JSON.parse(request.body.toString());
  response.sendStatus(200);
});
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
