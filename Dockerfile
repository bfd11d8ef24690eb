# The image of Roomcast: one static binary and the certificates of public authorities.
#
#   docker build --tag roomcast .
#
# docs/decisions/0009-static-image.md says why it is made like this. gateway/image/test tests it.

# A Debian with Rust 1.94 or later, a C compiler and ca-certificates.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm

FROM ${BUILD_IMAGE} AS build
SHELL ["/bin/sh", "-eu", "-c"]
WORKDIR /src
# Relative relocations take an eighth of the room when they are packed.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"

# The dependencies in a layer of their own, which only another Cargo.toml or Cargo.lock makes anew. What the manifests
# say about tests and benchmarks is left out, so that these need not be here.
COPY Cargo.toml Cargo.lock ./
COPY adapter-redis/Cargo.toml adapter-redis/
COPY gateway/Cargo.toml gateway/
COPY loadtest/Cargo.toml loadtest/
COPY loadtest/cli/Cargo.toml loadtest/cli/
RUN sed -i '/^\[\[bench\]\]/,/^$/d; /^\[\[test\]\]/,/^$/d' gateway/Cargo.toml; \
    sed -i '/^default-run/d; /^\[\[/,/^$/d' adapter-redis/Cargo.toml loadtest/Cargo.toml loadtest/cli/Cargo.toml; \
    mkdir adapter-redis/src gateway/src loadtest/src loadtest/cli/src; \
    touch adapter-redis/src/lib.rs gateway/src/lib.rs loadtest/src/lib.rs; \
    echo 'fn main() {}' >gateway/src/main.rs; \
    cp gateway/src/main.rs loadtest/cli/src/; \
    cargo build --release --locked --package gateway --target "$(rustc --print host-tuple)"

COPY adapter-redis/README.md adapter-redis/
COPY adapter-redis/src adapter-redis/src
COPY gateway/src gateway/src
COPY gateway/policies gateway/policies
# Cargo goes by time, and the files may be older than the layer above.
RUN touch adapter-redis/src/lib.rs gateway/src/lib.rs gateway/src/main.rs; \
    cargo build --release --locked --package gateway --target "$(rustc --print host-tuple)"
COPY LICENSE ./
COPY gateway/image/assemble gateway/image/
RUN gateway/image/assemble "target/$(rustc --print host-tuple)/release/roomcast" /image

FROM scratch AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Roomcast" \
      org.opencontainers.image.description="A Socket.IO server that nobody has to program" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
# The operations listener has no key for health and metrics. In a container its loopback is of no use to anybody else:
# publish port 3000 alone, and leave 3001 to the network that the containers share.
ENV PATH=/usr/local/bin \
    ROOMCAST__OPS__LISTEN=0.0.0.0:3001
EXPOSE 3000 3001
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["roomcast", "health"]
ENTRYPOINT ["roomcast"]
CMD ["serve"]
