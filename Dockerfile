# offshoot with git, bubblewrap and one agent. How to use it, and what was never tried: docs/guides/docker.md.

FROM rust:1-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin offshoot && strip target/release/offshoot

# of the same Debian as above, so of the same C library
FROM node:22-bookworm-slim
ARG AGENT=@anthropic-ai/claude-code@2
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap ca-certificates curl git openssh-client ripgrep tini \
    && rm -rf /var/lib/apt/lists/* \
    && npm install --global --no-audit --no-fund "$AGENT" \
    && npm cache clean --force

# the agent refuses to work without questions as root, and nothing here needs it
RUN useradd --create-home --uid 10001 --shell /bin/bash offshoot \
    && install --directory --owner=offshoot --group=offshoot --mode=0700 \
        /home/offshoot/.config /home/offshoot/.config/offshoot /home/offshoot/.local /home/offshoot/.local/share \
        /home/offshoot/.local/share/offshoot /home/offshoot/.ssh
COPY --from=build /build/target/release/offshoot /usr/local/bin/offshoot
COPY --from=build /build/LICENSE-MIT /build/LICENSE-APACHE /build/NOTICE /usr/share/doc/offshoot/

USER offshoot
WORKDIR /home/offshoot
# all that lasts: the database, clones and worktrees, the configuration, the agent's login, ssh keys
VOLUME /home/offshoot
# in here others are whoever reaches the published port, and the server insists on a secret of 32 characters
ENV HOME=/home/offshoot OFFSHOOT_SERVER_BIND=0.0.0.0 PORT=3456
EXPOSE 3456
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD curl --fail --silent --show-error --output /dev/null "http://127.0.0.1:$PORT/livez"

# agents are started below supervisors that outlive their parent: somebody has to wait for them
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/offshoot"]
CMD ["serve"]
