# The command `number7`: docker build -t number7 . && docker run --rm number7 doctor http://host.docker.internal:3000/webhook
FROM rust:1-alpine AS build
# SQLite and the cryptography are in C.
RUN apk add --no-cache build-base
WORKDIR /number7
COPY . .
RUN cargo install --locked --no-track --path number7-cli --root /out

# No shell and no packages, but certificates, and a user that is not root: the program is linked statically.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/bin/number7 /usr/local/bin/number7
USER 65532:65532
# `listen` and `sandbox` end by Ctrl-C.
STOPSIGNAL SIGINT
# There is no HEALTHCHECK, because most commands end by themselves.
ENTRYPOINT ["/usr/local/bin/number7"]
CMD ["--help"]
