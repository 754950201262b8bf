# One image for every service; the command says which.
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md ./
RUN python -m venv /opt/anabranch && grep -v -i "pgserver" requirements.lock > runtime.lock \
    && /opt/anabranch/bin/pip install --no-cache-dir -r runtime.lock
COPY contracts contracts
COPY services services
COPY migrations migrations
RUN /opt/anabranch/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin anabranch
COPY --from=build /opt/anabranch /opt/anabranch
ENV PATH=/opt/anabranch/bin:$PATH PYTHONUNBUFFERED=1 ANABRANCH_LOG_FORMAT=json ANABRANCH_METRICS_PORT=9464
USER anabranch
EXPOSE 9464
ENTRYPOINT ["anabranch"]
CMD ["--help"]
