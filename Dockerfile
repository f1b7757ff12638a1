# The image of meshup: one static binary, CA certificates and a default configuration.
#
#     docker build --tag meshup .
#     docker build --tag meshup-intercept --target intercept .
#
# Where no engine runs or no base image can be pulled, `make image` builds the files on the host (scripts/image-root) and
# the target `prebuilt` only copies them.

FROM scratch AS settings
ENV XDG_CACHE_HOME=/var/cache
EXPOSE 8080
USER 65532:65532
ENTRYPOINT ["/meshup"]
CMD ["run", "--config", "/etc/meshup/meshup.toml"]

FROM settings AS prebuilt
COPY target/image/root /
COPY --chown=65532:65532 target/image/cache /var/cache

FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN scripts/image-root

# `meshup intercept` with the program that it needs: for an init container, which runs as root with NET_ADMIN alone.
FROM docker.io/library/debian:bookworm-slim AS intercept
RUN apt-get update && apt-get install --yes --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*
COPY --from=build /source/target/image/root/meshup /usr/local/bin/meshup
ENTRYPOINT ["meshup", "intercept"]

FROM settings
COPY --from=build /source/target/image/root /
COPY --from=build --chown=65532:65532 /source/target/image/cache /var/cache
