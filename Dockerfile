# syntax=docker/dockerfile:1
# locum as a sidecar. The agent's container shares the volume with the CA's certificate, and sets HTTPS_PROXY to
# http://agent:$LOCUM_PROXY_TOKEN@locum:8787. With OPENAI_API_KEY set:
#
#   docker build -t locum .
#   export LOCUM_PROXY_TOKEN=$(openssl rand -hex 32)
#   docker run --name locum -v locum-state:/var/lib/locum -v locum-ca:/ca -e OPENAI_API_KEY -e LOCUM_PROXY_TOKEN locum
#
# A config of your own, by -v ./locum.toml:/etc/locum/locum.toml:ro, has to be readable by user 10001 and writable by its
# owner alone (chmod 644); read-only, it may belong to any user. So have files with keys, which only that user should read (chown 10001, chmod 400).

FROM rust:1-slim-bookworm AS build
# C for aws-lc and zstd
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY config config
COPY benches benches
COPY tests tests
RUN cargo build --release --locked --bin locum && strip target/release/locum

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /var/lib/locum --no-create-home locum \
    && install -d -o locum -g locum -m 0700 /var/lib/locum \
    && install -d -o locum -g locum -m 0755 /ca \
    && install -d -m 0755 /etc/locum
COPY --from=build /src/target/release/locum /usr/local/bin/locum
# a checkout may be writable by its group, which locum refuses of a config
COPY --chmod=0644 config/locum.toml /etc/locum/locum.toml
COPY certs /etc/locum/certs

# by number, which Kubernetes and Compose know without looking into the image
USER 10001:10001
# Beyond the container's loopback only with agents: give it LOCUM_PROXY_TOKEN or [agent.*], else it does not start.
ENV LOCUM_CONFIG=/etc/locum/locum.toml \
    XDG_STATE_HOME=/var/lib \
    LOCUM_PROXY__LISTEN=0.0.0.0:8787 \
    LOCUM_CA__EXPORT=/ca/locum.pem
VOLUME ["/var/lib/locum", "/ca"]
EXPOSE 8787
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["locum", "serve", "--healthcheck"]
ENTRYPOINT ["locum"]
CMD ["serve"]
