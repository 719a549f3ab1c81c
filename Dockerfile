# postbridge in a container: no shell, not root. At build it needs the registries of images and of crates only.
#
#   docker build -t postbridge .
#   docker run -d --name postbridge --network host -v postbridge:/var/lib/postbridge \
#     -v ./postbridge.toml:/etc/postbridge/postbridge.toml:ro postbridge
#   docker exec -it postbridge postbridge account add adele.vance@contoso.example --no-browser
#
# With the host's network it is reached on loopback, as without a container. With one of its own, put its
# addresses under smtp.implicit_tls and caldav.tls, with a certificate that fits the name.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The C compiler of the image suffices for the cryptography.
ENV AWS_LC_SYS_CMAKE_BUILDER=0
RUN cargo build --locked --release --bin postbridge \
    && install -d -m 0700 /made/state \
    && install target/release/postbridge /made/

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /made/postbridge /usr/bin/postbridge
COPY --from=build --chown=nonroot:nonroot /made/state /var/lib/postbridge
ENV STATE_DIRECTORY=/var/lib/postbridge
VOLUME /var/lib/postbridge
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=25s --start-period=60s CMD ["/usr/bin/postbridge", "health"]
ENTRYPOINT ["/usr/bin/postbridge"]
CMD ["serve"]
